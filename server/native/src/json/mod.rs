//! Transcodes JSON to protobuf messages and back, in the same way as the gateway's transcoder does for the other hosts.
//!
//! The keys, their types and the error texts come from Python as data (`schema.rs`).

mod classes;
mod lists;
mod numbers;
mod places;
mod reader;
mod scalars;
mod schema;
mod text;
mod tokens;
mod wire;
mod writer;

pub use classes::{JsonReader, JsonWriter, UnreadBody, json_text};
pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
