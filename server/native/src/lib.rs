//! The native host: HTTP/2 and gRPC framing for the Python service, JSON transcoding for some of its calls, and the
//! fast path that reads regular requests and batch files of memberships and packs their Redis commands.
//!
//! It implements HTTP/2, gRPC framing and JSON syntax, and none of the contract's rules: what a call may do, how it
//! ends and which error text it gets is decided in Python. `instantaudience_native.pyi` describes the interface that
//! Python sees.
//!
//! Modules depend on those to their right only: `python`, `connections`, `calls`, `handover` and `bounds`, `grpc`; and
//! `requests`, `files` and `json`, which know nothing of calls, then `cluster`.

mod bounds;
mod calls;
mod cluster;
mod connections;
mod files;
mod grpc;
mod handover;
mod json;
mod locks;
mod python;
mod requests;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The extension module.
#[pymodule]
fn instantaudience_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<python::Host>()?;
    module.add_class::<python::FailedAnswer>()?;
    module.add_class::<python::GatheredCall>()?;
    module.add_class::<files::LineReader>()?;
    module.add_class::<files::RecordReader>()?;
    module.add_class::<files::ReadRows>()?;
    module.add_class::<files::PackedCommands>()?;
    module.add_class::<requests::EncodedUsers>()?;
    module.add_class::<requests::UsersTogether>()?;
    module.add_class::<requests::KnownRanks>()?;
    module.add_class::<requests::UserKeys>()?;
    module.add_class::<requests::SpreadCommands>()?;
    module.add_class::<requests::KeySet>()?;
    module.add_function(wrap_pyfunction!(requests::encoded_users, module)?)?;
    module.add_function(wrap_pyfunction!(requests::different_users, module)?)?;
    module.add_function(wrap_pyfunction!(requests::users_together, module)?)?;
    module.add_class::<json::JsonReader>()?;
    module.add_class::<json::JsonWriter>()?;
    module.add_class::<json::UnreadBody>()?;
    module.add_function(wrap_pyfunction!(json::json_text, module)?)
}
