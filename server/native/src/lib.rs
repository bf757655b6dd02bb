//! The native host: gRPC's transport and framing for the service in Python, and the JSON of some of its calls. And what
//! is regular in requests to apply memberships, and in files of them, read and packed.
//!
//! It knows HTTP/2, gRPC's frames and the form of JSON, and no rule of the contract: what a call may do, how it ends and
//! what is said of it is Python's. `instantaudience_native.pyi` describes what Python sees.
//!
//! A folder uses only those that stand behind it: `python`, `connections`, `calls`, `handover` and `bounds`, `grpc`; and
//! `requests`, `files` and `json`, which know nothing of calls, `cluster`.

mod bounds;
mod calls;
mod cluster;
mod connections;
mod files;
mod grpc;
mod handover;
mod json;
mod locks;
mod peers;
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
    module.add_class::<requests::UserKeys>()?;
    module.add_class::<requests::SpreadCommands>()?;
    module.add_class::<requests::KeySet>()?;
    module.add_function(wrap_pyfunction!(requests::encoded_users, module)?)?;
    module.add_function(wrap_pyfunction!(requests::different_users, module)?)?;
    module.add_function(wrap_pyfunction!(requests::users_together, module)?)?;
    module.add_class::<json::JsonReader>()?;
    module.add_class::<json::JsonWriter>()?;
    module.add_function(wrap_pyfunction!(json::json_text, module)?)
}
