//! Writes protobuf messages as JSON, as the gateway's transcoder does: under the fields' original names, with zeros and
//! empty lists, and without fields that the schema does not have.

use std::collections::HashMap;
use std::fmt::Write;

use crate::json::numbers::put_double;
use crate::json::schema::{Field, Kind, Row, Schema};
use crate::json::wire::{Fields, Malformed, Value};

/// Maximum nesting in a `google.protobuf.Struct`.
const MOST_DEPTH: usize = 100;
/// Initial size of the output; a response without warnings has some 100 bytes.
const USUAL_BYTES: usize = 256;

/// Field numbers of `google.protobuf.Struct` and the messages that it contains.
mod numbers {
    pub const ENTRY: u64 = 1;
    pub const KEY: u64 = 1;
    pub const VALUE: u64 = 2;
    pub const ITEM: u64 = 1;
    pub const NULL: u64 = 1;
    pub const NUMBER: u64 = 2;
    pub const TEXT: u64 = 3;
    pub const BOOL: u64 = 4;
    pub const STRUCT: u64 = 5;
    pub const LIST: u64 = 6;
}

/// Writes messages of one type.
#[derive(Debug)]
pub struct Writer {
    schema: Schema,
}

impl Writer {
    /// A writer for the message `root`.
    pub fn new(rows: HashMap<String, Vec<Row>>, root: &str) -> Result<Self, String> {
        Ok(Self { schema: Schema::new(rows, root)? })
    }

    /// A message as JSON.
    pub fn write(&self, message: &[u8]) -> Result<String, Malformed> {
        let mut out = String::with_capacity(USUAL_BYTES.max(2 * message.len()));
        self.put_message(&mut out, self.schema.root(), message)?;
        Ok(out)
    }

    fn put_message(&self, out: &mut String, place: usize, message: &[u8]) -> Result<(), Malformed> {
        let mut separator = '{';
        for field in self.schema.fields(place) {
            let mut values = values(message, u64::from(field.number));
            if field.is_list {
                put_key(out, separator, &field.key);
                let mut separator = '[';
                for value in values {
                    out.push(separator);
                    self.put(out, field, Some(value?))?;
                    separator = ',';
                }
                *out += if separator == '[' { "[]" } else { "]" };
            } else {
                let last = values.try_fold(None, |_, value| value.map(Some))?;
                if last.is_none() && matches!(field.kind, Kind::Message(_) | Kind::Struct) {
                    continue;
                }
                put_key(out, separator, &field.key);
                self.put(out, field, last)?;
            }
            separator = ',';
        }
        *out += if separator == '{' { "{}" } else { "}" };
        Ok(())
    }

    fn put(&self, out: &mut String, field: &Field, value: Option<Value<'_>>) -> Result<(), Malformed> {
        match (field.kind, value) {
            (Kind::Text, None) => *out += "\"\"",
            (Kind::Text, Some(Value::Delimited(text))) => put_text(out, utf8(text)?),
            (Kind::Int32, None) => out.push('0'),
            (Kind::Int32, Some(Value::Varint(number))) => put_int32(out, number),
            (Kind::Message(place), Some(Value::Delimited(message))) => self.put_message(out, place, message)?,
            (Kind::Struct, Some(Value::Delimited(message))) => put_struct(out, message, MOST_DEPTH)?,
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// The values of the field with this number.
fn values(message: &[u8], number: u64) -> impl Iterator<Item = Result<Value<'_>, Malformed>> {
    Fields(message).filter_map(move |field| match field {
        Ok((found, value)) => (found == number).then_some(Ok(value)),
        Err(malformed) => Some(Err(malformed)),
    })
}

fn put_key(out: &mut String, separator: char, key: &str) {
    out.push(separator);
    out.push('"');
    *out += key;
    *out += "\":";
}

fn put_int32(out: &mut String, number: u64) {
    // Negative int32 values are encoded in 64 bits. Writing to a String cannot fail.
    let _ = write!(out, "{}", number.cast_signed());
}

fn put_struct(out: &mut String, message: &[u8], depth: usize) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut separator = '{';
    for entry in values(message, numbers::ENTRY) {
        let Value::Delimited(entry) = entry? else { return Err(Malformed) };
        let Some(Value::Delimited(value)) = last(entry, numbers::VALUE)? else { continue };
        let Some(kind) = Fields(value).last().transpose()? else { continue };
        out.push(separator);
        separator = ',';
        match last(entry, numbers::KEY)? {
            Some(Value::Delimited(key)) => put_text(out, utf8(key)?),
            _ => *out += "\"\"",
        }
        out.push(':');
        put_value(out, kind, depth)?;
    }
    *out += if separator == '{' { "{}" } else { "}" };
    Ok(())
}

fn put_list(out: &mut String, message: &[u8], depth: usize) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut separator = '[';
    for item in values(message, numbers::ITEM) {
        let Value::Delimited(value) = item? else { return Err(Malformed) };
        let Some(kind) = Fields(value).last().transpose()? else { continue };
        out.push(separator);
        separator = ',';
        put_value(out, kind, depth)?;
    }
    *out += if separator == '[' { "[]" } else { "]" };
    Ok(())
}

fn put_value(out: &mut String, kind: (u64, Value<'_>), depth: usize) -> Result<(), Malformed> {
    match kind {
        (numbers::NULL, Value::Varint(_)) => *out += "null",
        (numbers::NUMBER, Value::Fixed64(bytes)) => put_double(out, f64::from_le_bytes(bytes)),
        (numbers::TEXT, Value::Delimited(text)) => put_text(out, utf8(text)?),
        (numbers::BOOL, Value::Varint(value)) => *out += if value == 0 { "false" } else { "true" },
        (numbers::STRUCT, Value::Delimited(message)) => put_struct(out, message, depth)?,
        (numbers::LIST, Value::Delimited(message)) => put_list(out, message, depth)?,
        _ => return Err(Malformed),
    }
    Ok(())
}

fn last(message: &[u8], number: u64) -> Result<Option<Value<'_>>, Malformed> {
    values(message, number).try_fold(None, |_, value| value.map(Some))
}

fn utf8(text: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(text).map_err(|_| Malformed)
}

/// Appends a string, escaping characters that are dangerous in web pages and terminals (source: `json_escaping.cc` in
/// protobuf).
pub fn put_text(out: &mut String, text: &str) {
    let mut rest = text;
    out.push('"');
    while let Some((place, character)) = rest.char_indices().find(|(_, character)| needs_escape(*character)) {
        let (plain, escaped) = rest.split_at(place);
        *out += plain;
        put_escape(out, character);
        rest = escaped.get(character.len_utf8()..).unwrap_or_default();
    }
    *out += rest;
    out.push('"');
}

fn needs_escape(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f' | '"' | '<' | '>' | '\\' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{600}'..='\u{603}' | '\u{6dd}'
            | '\u{70f}' | '\u{17b4}' | '\u{17b5}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}'
    )
}

fn put_escape(out: &mut String, character: char) {
    let short = match character {
        '"' | '\\' => character,
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
            return;
        }
    };
    out.push('\\');
    out.push(short);
}
