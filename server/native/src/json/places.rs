//! The reader's position in a body, and how error texts describe it.

use std::fmt::Write;

use crate::json::schema::{Field, Kind};

/// What is allowed next.
#[derive(Clone, Copy)]
pub enum Due<'a> {
    /// Any value, since the key is unknown.
    Any,
    /// The object that is the whole body.
    Root,
    /// The value of a known key.
    Value(&'a Field),
    /// An element of a known key's list.
    Element(&'a Field),
}

/// The JSON type of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Any,
    Text,
    Number,
    List,
    Object,
}

impl Due<'_> {
    /// The type that the value must have.
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

/// An open container.
#[derive(Clone)]
pub enum Level<'a> {
    /// `fields` are the known keys, `key` is the current one, `seen` has the bits of those that had a value. `start` is
    /// where the content of a nested message begins in the output.
    Object { fields: &'a [Field], key: Option<&'a Field>, seen: u64, start: Option<usize> },
    /// `index` is that of the current element, from 0. `began` is where the list began in the body and in the output.
    List { elements: Option<&'a Field>, index: usize, began: (usize, usize) },
}

/// An error text: the path of the current position, and the rule that is broken.
pub fn fault(levels: &[Level<'_>], rule: &str) -> String {
    let mut text = String::new();
    for (depth, level) in levels.iter().enumerate() {
        match level {
            Level::List { index, .. } => {
                // Writing to a String cannot fail.
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
