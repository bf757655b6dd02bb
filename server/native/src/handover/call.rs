//! A unary call on its way to Python.

use bytes::Bytes;

use crate::grpc::{Flaw, Metadata};

/// A call's number, which is never reused.
pub type CallId = u64;

/// A unary call that has been received.
pub struct UnaryCall {
    pub id: CallId,
    /// Index in the list of methods that Python passed.
    pub method: usize,
    pub metadata: Box<Metadata>,
    /// The message, or why there is none.
    pub message: Result<Bytes, Flaw>,
    /// Whether the caller's token is known to be valid.
    pub known: bool,
    /// Whether it is carried out together with other calls of its caller.
    pub gathered: bool,
}
