//! Which messages there are, and what they hold.

use std::collections::HashMap;

/// A field as Python gives it: its key, its number, whether it is a list, and what it holds: the name of a scalar type
/// or of a message.
pub type Row = (String, u32, bool, String);

const STRUCT: &str = "google.protobuf.Struct";
/// How many fields a message may have: a bit of a word stands for each.
const MOST_FIELDS: usize = 64;

/// What a field holds; a list of it where `Field::is_list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int32,
    /// A message, by its place in the schema.
    Message(usize),
    /// Any JSON object.
    Struct,
}

/// A key of a JSON object.
#[derive(Debug)]
pub struct Field {
    pub key: String,
    /// The key as protobuf's JSON spells it (source: protobuf.dev/programming-guides/json), which will do as well.
    pub json_name: String,
    pub number: u32,
    pub is_list: bool,
    pub kind: Kind,
    /// Its own among those of its message.
    pub bit: u64,
}

/// The fields of a message.
pub type Message = Vec<Field>;

/// The messages that can be in a message, and that one.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
    root: usize,
}

impl Schema {
    /// The schema of the message `root` and of all that it can hold; the error says what is missing.
    pub fn new(rows: HashMap<String, Vec<Row>>, root: &str) -> Result<Self, String> {
        let (names, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let places: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        let root = *places.get(root).ok_or_else(|| format!("there is no message {root}"))?;
        let messages = rows.into_iter().map(|rows| fields(rows, &places)).collect::<Result<_, _>>()?;
        Ok(Self { messages, root })
    }

    /// The outermost message.
    pub fn root(&self) -> usize {
        self.root
    }

    /// The fields of the message at a place.
    pub fn fields(&self, place: usize) -> &[Field] {
        self.messages.get(place).map_or(&[], Vec::as_slice)
    }

    /// Whether a field somewhere holds this.
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
