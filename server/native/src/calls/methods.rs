//! What can be called.

use std::sync::Arc;

use crate::handover::Failure;
use crate::json::{Reader, Writer};

/// A method.
#[derive(Clone, Copy)]
pub struct Method {
    /// Its place in the list that Python gave.
    pub number: usize,
    pub kind: Kind,
}

/// What kind of method one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unary, and its calls wait for their turn.
    InTurn,
    /// As `InTurn`, and calls of one caller are carried out together.
    Gathered,
    /// Unary, and everybody may call it at once.
    Express,
    Stream,
}

/// How a method's messages look in JSON.
pub struct JsonForm {
    pub reader: Arc<Reader>,
    pub writer: Arc<Writer>,
    /// The answer to a body that is not there in time.
    pub too_slow: Arc<Failure>,
}
