//! gRPC over HTTP/2: message framing, and what the headers of a request and its connection say about the caller.

mod framing;
mod metadata;

pub use framing::{Encoding, Flaw, Messages, PREFIX_BYTES, Packed, frame, only_message};
pub use metadata::{Metadata, Name, Origin, Patience, Peer, encoding, network_of, said};
