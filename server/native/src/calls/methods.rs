//! The methods that can be called.

use std::sync::Arc;

use http::header::HeaderName;

use crate::handover::Failure;
use crate::json::{Reader, Writer};

/// A method.
#[derive(Clone, Copy)]
pub struct Method {
    /// Index in the list of methods that Python passed.
    pub number: usize,
    pub kind: Kind,
}

/// How a method's calls are scheduled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unary; calls wait for capacity (admission).
    Queued,
    /// As `Queued`; calls of one caller are carried out together.
    Gathered,
    /// Unary; open to everyone, and not subject to admission.
    Express,
    Stream,
}

/// How a method's messages are read from and written as JSON.
pub struct JsonForm {
    /// Maximum size of a body.
    pub limit_bytes: usize,
    pub reader: Arc<Reader>,
    pub writer: Arc<Writer>,
    /// The response to a body that does not arrive in time.
    pub too_slow: Arc<Failure>,
    /// The response to other requests for this path on a port: with another HTTP method, or with parameters.
    pub elsewhere: Arc<Failure>,
    /// The response to calls without a credential on a port.
    pub no_credential: Arc<Failure>,
    /// Header of failures that is for the gateway alone.
    pub for_gateway: HeaderName,
}
