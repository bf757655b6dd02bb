//! The host's network thread and its connections: listening, connection limits, TLS and HTTP/2.

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
