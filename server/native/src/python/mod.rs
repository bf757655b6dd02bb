//! The Python classes of the host and what it passes to Python (`instantaudience_native.pyi` describes them).

mod gathered;
mod host;

pub use gathered::GatheredCall;
pub use host::{FailedAnswer, Host};
