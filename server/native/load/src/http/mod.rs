//! Clients for HTTP/1.1 and HTTP/2, without I/O.

mod frame;
mod hpack;
mod hpack_tables;
mod http1;
mod http2;
mod streams;

pub use frame::error;
pub use hpack::Head;
pub use http1::Http1;
pub use http2::{Event, Http2, PREFIX_BYTES};
