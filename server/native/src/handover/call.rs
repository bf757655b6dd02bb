//! A unary call on its way to Python.

use std::sync::Arc;

use bytes::Bytes;

use crate::grpc::{Flaw, Metadata};
use crate::json::Reader;

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
    /// Reads the message, if it is a body of JSON that must not be read before the caller's token is verified.
    pub reader: Option<Arc<Reader>>,
    /// Whether the caller's token is known to be valid.
    pub known: bool,
    /// Whether it is carried out together with other calls of its caller.
    pub gathered: bool,
}
