//! A unary call, as it waits for Python.

use bytes::Bytes;

use crate::grpc::{Flaw, Metadata};

/// A call's number; none is given twice.
pub type CallId = u64;

/// A unary call, whole.
pub struct UnaryCall {
    pub id: CallId,
    /// The method, by its place in the list that Python gave.
    pub method: usize,
    pub metadata: Box<Metadata>,
    /// Its message, or why there is none.
    pub message: Result<Bytes, Flaw>,
    /// Whether it is known whose token it has.
    pub known: bool,
    /// Whether it is carried out together with others of its caller.
    pub gathered: bool,
}
