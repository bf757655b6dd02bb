//! Bounds on the memory, host thread time and decompression that one caller's calls can take from the others'.

mod aside;
mod inflations;
mod rooms;
mod unwritten;

pub use aside::Aside;
pub use inflations::Inflations;
pub use rooms::{Held, Room, Rooms};
pub use unwritten::{Piece, Turn, Unwritten};
