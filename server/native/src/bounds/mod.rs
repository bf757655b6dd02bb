//! What calls take of a worker, so that none of them takes it from others: memory, the host's thread, and decompression.

mod aside;
mod inflations;
mod rooms;
mod unwritten;

pub use aside::Aside;
pub use inflations::Inflations;
pub use rooms::{Held, Room, Rooms};
pub use unwritten::{Piece, Turn, Unwritten};
