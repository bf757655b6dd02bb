//! Where in a body the reader is, and how that is written.

use std::fmt::Write;

use crate::json::schema::{Field, Kind};

/// What may stand at a place.
#[derive(Clone, Copy)]
pub enum Due<'a> {
    /// Any value: the key is not known.
    Any,
    /// The object that is the body.
    Root,
    /// The value of a known key.
    Value(&'a Field),
    /// An element of its list.
    Element(&'a Field),
}

/// The form of what may stand at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Any,
    Text,
    Number,
    List,
    Object,
}

impl Due<'_> {
    /// Which form it must have.
    pub fn form(self) -> Form {
        match self {
            Due::Any => Form::Any,
            Due::Root => Form::Object,
            Due::Value(field) if field.is_list => Form::List,
            Due::Value(field) | Due::Element(field) => match field.kind {
                Kind::Text => Form::Text,
                Kind::Int32 => Form::Number,
                Kind::Message(_) | Kind::Struct => Form::Object,
            },
        }
    }
}

/// A container that is open.
#[derive(Clone)]
pub enum Level<'a> {
    /// `fields` are the known keys, `key` is the one being read, `seen` has the bits of those that had a value. The
    /// message's content begins at `start` where it has a length before it.
    Object { fields: &'a [Field], key: Option<&'a Field>, seen: u64, start: Option<usize> },
    /// `index` counts elements from 0. The list began at these places in the body and in the message.
    List { elements: Option<&'a Field>, index: usize, began: (usize, usize) },
}

/// What is wrong at a place: its path and the rule that is broken.
pub fn fault(levels: &[Level<'_>], rule: &str) -> String {
    let mut text = String::new();
    for (depth, level) in levels.iter().enumerate() {
        match level {
            Level::List { index, .. } => {
                // A String takes all that is written to it.
                let _ = write!(text, "[{index}]");
            }
            Level::Object { key, .. } => {
                text += if depth > 0 { "." } else { "" };
                text += key.map_or("", |field| field.key.as_str());
            }
        }
    }
    text += if levels.is_empty() { "The body " } else { ": " };
    text + rule + "."
}
