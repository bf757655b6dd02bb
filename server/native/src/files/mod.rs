//! Files of memberships: rows that are regular beyond doubt are read here, and packed as commands. All others are
//! Python's, and so are the rules: what a segment of a row means is said by Python, once for each text.

mod classes;
mod commands;
mod known;
mod lines;
mod read;
mod records;
mod rows;

pub use classes::{LineReader, RecordReader};
pub use commands::PackedCommands;
pub use read::ReadRows;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
