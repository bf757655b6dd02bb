//! Calls and events as Python tuples.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::grpc::{Flaw, Metadata};
use crate::handover::{CallId, Event, Refusal};
use crate::json::{Reader, UnreadBody};

type Object<'py> = Bound<'py, PyAny>;

/// Caches the last string that was made: most calls of a cycle have the same token.
#[derive(Default)]
pub struct LastText<'py>(Option<(Vec<u8>, Object<'py>)>);

impl<'py> LastText<'py> {
    /// The string for these bytes.
    pub fn of(&mut self, py: Python<'py>, value: &[u8]) -> Object<'py> {
        match &self.0 {
            Some((last, made)) if last == value => made.clone(),
            _ => self.0.insert((value.to_vec(), text(py, value))).1.clone(),
        }
    }
}

/// The tuple of a unary call: number, method, whether its token is known; message, token; metadata.
pub fn call_tuple<'py>(
    py: Python<'py>,
    (id, method, known): (CallId, usize, bool),
    (message, authorization): (Object<'py>, Object<'py>),
    metadata: &Metadata,
    now: Instant,
) -> PyResult<Bound<'py, PyTuple>> {
    let (request_id, remaining, body_bytes, waited, address, trace) = metadata_parts(py, metadata, now);
    (id, method, known, message, authorization, request_id, remaining, body_bytes, waited, address, trace)
        .into_pyobject(py)
}

/// A call's message; or an `UnreadBody`, if it has a reader; or the tuple that says what is wrong with it.
pub fn message_of(py: Python<'_>, message: Result<Bytes, Flaw>, reader: Option<Arc<Reader>>) -> PyResult<Object<'_>> {
    Ok(match (message, reader) {
        (Ok(text), Some(reader)) => Bound::new(py, UnreadBody { text, reader })?.into_any(),
        (Ok(message), None) => PyBytes::new(py, &message).into_any(),
        (Err(flaw), _) => flaw_tuple(py, flaw)?.into_any(),
    })
}

/// The tuple of an event.
pub fn event_tuple(py: Python<'_>, event: Event, now: Instant) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Refused { id, method, metadata, why } => {
            ("refused", id, method, text(py, metadata.request_id()), name_of(why)).into_pyobject(py)
        }
        Event::Misread { id, method, metadata, text: wrong } => {
            let authorization = text(py, metadata.authorization());
            let (request_id, remaining, body_bytes, waited, address, trace) = metadata_parts(py, &metadata, now);
            ("misread", id, method, wrong, authorization, request_id, remaining, body_bytes, waited, address, trace)
                .into_pyobject(py)
        }
        Event::Noted { method, metadata, why } => {
            let authorization = text(py, metadata.authorization());
            ("noted", method, text(py, metadata.request_id()), authorization, name_of(why)).into_pyobject(py)
        }
        Event::Opened { id, method, metadata } => {
            let authorization = text(py, metadata.authorization());
            let (request_id, remaining, body_bytes, waited, address, trace) = metadata_parts(py, &metadata, now);
            let by_gateway = metadata.by_gateway;
            ("opened", id, method, authorization, request_id, remaining, body_bytes, waited, address, trace, by_gateway)
                .into_pyobject(py)
        }
        Event::Message { id, message } => ("message", id, PyBytes::new(py, &message)).into_pyobject(py),
        Event::HalfClosed { id, flaw } => {
            let flaw = flaw.map(|flaw| flaw_tuple(py, flaw)).transpose()?;
            ("half_closed", id, flaw).into_pyobject(py)
        }
        Event::Sent { id } => ("sent", id).into_pyobject(py),
        Event::Gone { id } => ("gone", id).into_pyobject(py),
        Event::Drained => ("drained",).into_pyobject(py),
    }
}

fn name_of(why: Refusal) -> &'static str {
    match why {
        Refusal::NoSuchMethod => "no_such_method",
        Refusal::NoTrailers => "no_trailers",
        Refusal::NotReceived => "not_received",
        Refusal::ForGateway => "for_gateway",
        Refusal::NoCredential => "no_credential",
    }
}

fn flaw_tuple(py: Python<'_>, flaw: Flaw) -> PyResult<Bound<'_, PyTuple>> {
    flaw.parts().into_pyobject(py)
}

type Parts<'py> = (Object<'py>, Option<f64>, u64, f64, Object<'py>, Object<'py>);

fn metadata_parts<'py>(py: Python<'py>, metadata: &Metadata, now: Instant) -> Parts<'py> {
    let waited = metadata.waited_seconds(now);
    (
        text(py, metadata.request_id()),
        metadata.remaining_seconds(waited),
        metadata.body_bytes,
        waited,
        text(py, metadata.address()),
        text(py, metadata.trace_parent()),
    )
}

/// Decodes a header value as Latin-1.
pub fn text<'py>(py: Python<'py>, value: &[u8]) -> Object<'py> {
    match str::from_utf8(value) {
        Ok(ascii) if ascii.is_ascii() => PyString::new(py, ascii).into_any(),
        _ => PyString::new(py, &value.iter().copied().map(char::from).collect::<String>()).into_any(),
    }
}
