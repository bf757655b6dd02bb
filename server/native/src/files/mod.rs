//! Fast path for files of memberships: rows that are certainly regular are read here and encoded as commands. Python
//! reads all others, and has the rules: it tells once for each distinct segment text what it means.

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
