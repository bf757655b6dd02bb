//! Regular calls that are carried out together, grouped by caller and with their users already located, so that Python
//! can process a whole group at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::grpc::{Flaw, Metadata};
use crate::handover::{CallId, Event, Refusal, UnaryCall};
use crate::json::{Reader, UnreadBody};
use crate::requests::EncodedUsers;

/// How long a call may take; set by Python.
#[derive(Clone, Copy)]
pub struct Budget {
    /// Maximum, in seconds.
    pub call_seconds: f64,
    /// Share of the caller's remaining time that is kept for the response's way back.
    pub kept_share: f64,
    /// Upper bound of that, in seconds.
    pub kept_seconds: f64,
}

impl Budget {
    /// How many seconds are left for a call; 0 or less if it is too late.
    fn left(&self, waited_seconds: f64, remaining_seconds: Option<f64>) -> f64 {
        let most = self.call_seconds - waited_seconds;
        let of_caller = |remaining: f64| remaining - self.kept_seconds.min(remaining * self.kept_share);
        remaining_seconds.map_or(most, |remaining| most.min(of_caller(remaining)))
    }
}

/// What the messages of a method begin with that were made from JSON.
pub struct FromJson {
    /// Encoded fields.
    pub start: Vec<u8>,
    /// What they say of the warnings' parts, in Python a `memberships.reading.skipped.WarningForm`.
    pub warning_form: Py<PyAny>,
}

/// A regular call; in Python, a `memberships.posts.Post`.
#[pyclass]
pub struct GatheredCall {
    method: usize,
    metadata: Box<Metadata>,
    authorization: Py<PyAny>,
    #[pyo3(get)]
    number: CallId,
    #[pyo3(get)]
    users: Py<EncodedUsers>,
    #[pyo3(get)]
    user_count: usize,
    #[pyo3(get)]
    size_bytes: usize,
    /// Size of the body that the caller sent: JSON, if the message was made from that.
    #[pyo3(get)]
    sent_bytes: usize,
    /// None: all parts of warnings.
    #[pyo3(get)]
    warning_form: Option<Py<PyAny>>,
    #[pyo3(get)]
    waited_seconds: f64,
    /// When the call was received, by the event loop's clock.
    #[pyo3(get)]
    came: f64,
    #[pyo3(get)]
    deadline: f64,
    #[pyo3(get, set)]
    ended: bool,
    #[pyo3(get, set)]
    owner: Option<Py<PyAny>>,
}

#[pymethods]
impl GatheredCall {
    #[classattr]
    #[allow(non_upper_case_globals, reason = "a name in Python")]
    const validate_only: bool = false;
    #[classattr]
    #[allow(non_upper_case_globals, reason = "a name in Python")]
    const span: Option<bool> = None;

    #[getter]
    fn request_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        text(py, self.metadata.request_id())
    }

    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let message = self.users.get().message(py).clone().into_any();
        let authorization = self.authorization.bind(py).clone();
        call_tuple(py, (self.number, self.method, true), (message, authorization), &self.metadata, Instant::now())
    }
}

/// A method's number, a token, and the calls of both.
pub type GatheredCalls<'py> = (usize, Bound<'py, PyAny>, Bound<'py, PyList>);

/// Groups the calls that are taken in one cycle of the event loop.
pub struct Gathering<'py, 'a> {
    py: Python<'py>,
    budget: Budget,
    at: Instant,
    /// The same time by the event loop's clock.
    now: f64,
    from_json: &'a HashMap<usize, FromJson>,
    last: LastText<'py>,
    gathered: Vec<GatheredCalls<'py>>,
    /// Tokens of calls in this cycle that are not grouped; later calls with the same token must not overtake them.
    alone: HashSet<Vec<u8>>,
}

impl<'py, 'a> Gathering<'py, 'a> {
    /// Empty groups; `now` is the time `at` by the event loop's clock. `from_json` is by method number.
    pub fn new(
        py: Python<'py>,
        budget: Budget,
        at: Instant,
        now: f64,
        from_json: &'a HashMap<usize, FromJson>,
    ) -> Self {
        let (last, gathered, alone) = (LastText::default(), Vec::new(), HashSet::new());
        Self { py, budget, at, now, from_json, last, gathered, alone }
    }

    /// Adds a call to its group; returns one that cannot be grouped as a tuple for Python.
    pub fn add(&mut self, call: UnaryCall) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let UnaryCall { id, method, metadata, message, reader, known, gathered } = call;
        let authorization = self.last.of(self.py, metadata.authorization());
        let message = message_of(self.py, message, reader)?;
        let waited_seconds = metadata.waited_seconds(self.at);
        let left = self.budget.left(waited_seconds, metadata.remaining_seconds(waited_seconds));
        let in_time = gathered && left > 0.0;
        let follows = in_time && self.alone.contains(metadata.authorization());
        let from_json = self.from_json.get(&method);
        let start = from_json.map(|made| made.start.as_slice());
        let regular = if in_time && known && !follows { EncodedUsers::alone_in(&message, start)? } else { None };
        let Some((users, starts)) = regular else {
            if in_time && !follows {
                self.alone.insert(metadata.authorization().to_vec());
            }
            let call = (id, method, known);
            return call_tuple(self.py, call, (message, authorization), &metadata, self.at).map(Some);
        };
        let size_bytes = message.len()?;
        let sent_bytes = usize::try_from(metadata.body_bytes).unwrap_or(usize::MAX);
        let gathered = GatheredCall {
            number: id,
            method,
            user_count: users.get().len(),
            users: users.unbind(),
            size_bytes,
            sent_bytes: size_bytes.max(sent_bytes),
            warning_form: from_json.filter(|_| starts).map(|made| made.warning_form.clone_ref(self.py)),
            waited_seconds,
            came: self.now - waited_seconds,
            deadline: self.now + left,
            ended: false,
            owner: None,
            authorization: authorization.clone().unbind(),
            metadata,
        };
        let alike = |of: &&GatheredCalls<'py>| of.0 == method && of.1.is(&authorization);
        let gathered = Bound::new(self.py, gathered)?;
        if let Some((_, _, calls)) = self.gathered.iter().rev().find(alike) {
            calls.append(gathered)?;
        } else {
            self.gathered.push((method, authorization, PyList::new(self.py, [gathered])?));
        }
        Ok(None)
    }

    /// The groups.
    pub fn finish(self) -> Vec<GatheredCalls<'py>> {
        self.gathered
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_what_is_left_to_it_without_the_answers_way_back() {
        let budget = Budget { call_seconds: 5.0, kept_share: 0.25, kept_seconds: 0.5 };
        let cases = [
            ((0.0, None), 5.0),
            ((1.5, None), 3.5),
            ((6.0, None), -1.0),
            ((0.0, Some(4.0)), 3.5),
            ((0.0, Some(1.0)), 0.75),
            ((4.0, Some(4.0)), 1.0),
            ((0.0, Some(0.0)), 0.0),
        ];
        for ((waited, remaining), left) in cases {
            assert!((budget.left(waited, remaining) - left).abs() < 1e-9, "{waited} {remaining:?}");
        }
    }
}
