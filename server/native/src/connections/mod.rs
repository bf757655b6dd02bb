//! The host's network thread and its connections: listening, connection limits, TLS and HTTP/2.

mod http2;
mod limits;
mod listening;
mod running;
mod tls;

pub use limits::Callers;
pub use listening::Sockets;
pub use running::{Door, Running};
pub use tls::Files;
