//! What Python sees of the host (`instantaudience_native.pyi` describes it): the host itself, and what it hands over.

mod gathered;
mod host;
mod tuples;

pub use gathered::GatheredCall;
pub use host::{FailedAnswer, Host};
