//! gRPC over HTTP/2: message framing, request headers and responses.

mod framing;
mod metadata;
mod responses;

pub use framing::{Encoding, Flaw, Messages, PREFIX_BYTES, Packed, frame, only_message};
pub use metadata::{Metadata, Patience, encoding, said};
pub use responses::{Gone, MEDIA_TYPE, end, fail, start};
