//! HTTP as a client speaks it: bytes in, bytes out, and what became of each call.

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
