//! The message types and their fields.

use std::collections::HashMap;

/// A field as Python describes it: its key, its number, whether it is a list, and its type, the name of a scalar type
/// or of a message.
pub type Row = (String, u32, bool, String);

const STRUCT: &str = "google.protobuf.Struct";
/// Maximum number of fields of a message: each has a bit of a word.
const MOST_FIELDS: usize = 64;

/// The type of a field, or of its elements if `Field::is_list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int32,
    /// A message, by its index in the schema.
    Message(usize),
    /// Any JSON object.
    Struct,
}

/// A field, which is a key of a JSON object.
#[derive(Debug)]
pub struct Field {
    pub key: String,
    /// The key in lowerCamelCase, which is accepted too (source: protobuf.dev/programming-guides/json).
    pub json_name: String,
    pub number: u32,
    pub is_list: bool,
    pub kind: Kind,
    /// The field's bit, unique in its message.
    pub bit: u64,
}

/// The fields of a message.
pub type Message = Vec<Field>;

/// A message type and all that it can contain.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
    root: usize,
}

impl Schema {
    /// The schema of the message `root` and all that it can contain; the error tells what is missing.
    pub fn new(rows: HashMap<String, Vec<Row>>, root: &str) -> Result<Self, String> {
        let (names, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let places: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        let root = *places.get(root).ok_or_else(|| format!("there is no message {root}"))?;
        let messages = rows.into_iter().map(|rows| fields(rows, &places)).collect::<Result<_, _>>()?;
        Ok(Self { messages, root })
    }

    /// Index of the outermost message.
    pub fn root(&self) -> usize {
        self.root
    }

    /// The fields of the message with an index.
    pub fn fields(&self, place: usize) -> &[Field] {
        self.messages.get(place).map_or(&[], Vec::as_slice)
    }

    /// Whether any field has this type.
    pub fn has(&self, kind: Kind) -> bool {
        self.messages.iter().flatten().any(|field| field.kind == kind)
    }
}

fn fields(rows: Vec<Row>, places: &HashMap<&str, usize>) -> Result<Message, String> {
    if rows.len() > MOST_FIELDS {
        return Err(format!("a message has more than {MOST_FIELDS} fields"));
    }
    let field = |(index, (key, number, is_list, held)): (usize, Row)| {
        let kind = match held.as_str() {
            "STRING" => Kind::Text,
            "INT32" => Kind::Int32,
            STRUCT => Kind::Struct,
            name => places.get(name).map(|place| Kind::Message(*place)).ok_or(format!("{key}: no form of {name}"))?,
        };
        Ok(Field { json_name: json_name(&key), key, number, is_list, kind, bit: 1 << index })
    };
    rows.into_iter().enumerate().map(field).collect()
}

fn json_name(key: &str) -> String {
    let mut words = key.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        name += &first.to_ascii_uppercase();
        name += rest;
    }
    name
}
