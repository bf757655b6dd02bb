//! Bounds on the memory, host thread time and decompression that one caller's calls can take from the others'.

mod background;
mod decompression;
mod memory_budget;

pub use background::BackgroundThread;
pub use decompression::DecompressionLimit;
pub use memory_budget::{MemoryBudget, MemoryBudgets, Reservation};
