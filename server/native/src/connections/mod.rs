//! The host's own thread, and the connections on it: where they come in, how many there may be, TLS, and the bounds of
//! HTTP/2.

mod allowance;
mod callers;
mod header_blocks;
mod http2;
mod listening;
mod presence;
mod running;
mod sharing;
mod tls;

pub use callers::Callers;
pub use listening::Sockets;
pub use running::{Door, Running};
pub use tls::Files;
