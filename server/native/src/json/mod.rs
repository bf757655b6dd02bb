//! JSON to protobuf messages and back, as the transcoder of the gateway in front of the other hosts has it.
//!
//! Which keys there are, what they hold and what is said of them comes from Python as data (`schema.rs`).

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

pub use classes::{JsonReader, JsonWriter, json_text};
pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
