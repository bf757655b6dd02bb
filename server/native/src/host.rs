//! What Python sees: `instantaudience_native.pyi` describes it.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::answers::{Answers, Failure, Order};
use crate::arrivals::{Arrivals, CallId, Event, Refusal, UnaryCall};
use crate::callers::Callers;
use crate::calls::{Kind, Service};
use crate::framing::{Flaw, frame};
use crate::json::{JsonReader, JsonWriter};
use crate::listening::Sockets;
use crate::locks::lock;
use crate::metadata::Metadata;
use crate::refusals::Refusals;
use crate::rest::JsonForm;
use crate::running::Running;
use crate::tls::{Files, Tls};
use crate::waiting::{Impatience, Patience, Prices, Who};

/// How a call fails: made once, and used for many.
#[pyclass(frozen)]
pub struct FailedAnswer(Arc<Failure>);

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

#[pymethods]
impl FailedAnswer {
    #[new]
    fn new(trailers: Fields, http_status: u16, http_headers: Fields, http_body: Vec<u8>) -> PyResult<Self> {
        Ok(Self(Arc::new(Failure {
            trailers: header_map(trailers)?,
            status: StatusCode::from_u16(http_status).map_err(value_error)?,
            headers: header_map(http_headers)?,
            body: http_body.into(),
        })))
    }
}

fn header_map(fields: Fields) -> PyResult<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    for (name, value) in fields {
        let name = HeaderName::from_bytes(&name).map_err(value_error)?;
        headers.append(name, HeaderValue::from_bytes(&value).map_err(value_error)?);
    }
    Ok(headers)
}

fn value_error(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

enum State {
    Bound(Sockets),
    Running(Running),
    Closed,
}

/// The host.
#[pyclass(frozen)]
pub struct Host {
    service: Arc<Service>,
    state: Mutex<State>,
    callers: Arc<Callers>,
    tls: Arc<Tls>,
    age: Duration,
}

#[pymethods]
impl Host {
    #[new]
    #[pyo3(signature = (methods, addresses, *, message_limit_bytes, call_timeout_seconds, connections, waiting, refusals))]
    fn new(
        methods: Vec<(String, String, Option<JsonClasses<'_>>)>,
        addresses: Vec<String>,
        message_limit_bytes: usize,
        call_timeout_seconds: f64,
        connections: (usize, usize, f64),
        waiting: (usize, f64, f64),
        refusals: Vec<PyRef<'_, FailedAnswer>>,
    ) -> PyResult<Self> {
        let (mut by_path, mut json_forms) = (HashMap::new(), HashMap::new());
        for (number, (path, name, json)) in methods.into_iter().enumerate() {
            by_path.insert(path, (number, kind(&name)?));
            json_forms.extend(json.map(|classes| (number, json_form(&classes))));
        }
        let (most_calls, share, most_seconds) = waiting;
        let (most, most_of_one, age) = connections;
        let service = Service {
            methods: by_path,
            json_forms,
            message_limit_bytes,
            call_timeout_seconds,
            patience: Patience { share, most: seconds(most_seconds)? },
            arrivals: Arrivals::new(most_calls)?,
            answers: Answers::default(),
            tokens: Mutex::default(),
            refusals: Refusals::new(refusals.into_iter().map(|answer| Arc::clone(&answer.0)).collect()),
        };
        let bound = Sockets::to(addresses)?;
        Ok(Self {
            service: Arc::new(service),
            state: Mutex::new(State::Bound(bound)),
            callers: Callers::new(most, most_of_one),
            tls: Arc::default(),
            age: seconds(age)?,
        })
    }

    fn fileno(&self) -> i32 {
        self.service.arrivals.fd()
    }

    #[pyo3(signature = (chain, key, *, client_ca, client_crl, required))]
    fn secure(
        &self,
        chain: Vec<u8>,
        key: Vec<u8>,
        client_ca: Option<Vec<u8>>,
        client_crl: Option<Vec<u8>>,
        required: bool,
    ) -> PyResult<()> {
        let files = Files { chain, key, client_ca, client_crl, required };
        self.tls.secure(&files).map_err(|unusable| value_error(unusable.text()))
    }

    fn start(&self) -> PyResult<()> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Closed) {
            State::Bound(bound) => {
                *state = State::Running(Running::start(
                    bound,
                    Arc::clone(&self.service),
                    Arc::clone(&self.callers),
                    Arc::clone(&self.tls),
                    self.age,
                )?);
                Ok(())
            }
            other => {
                *state = other;
                Err(PyRuntimeError::new_err("the host has been started"))
            }
        }
    }

    fn drain(&self, grace_seconds: f64) -> PyResult<()> {
        match &*lock(&self.state) {
            State::Running(running) => running.drain(seconds(grace_seconds)?),
            _ => return Err(PyRuntimeError::new_err("the host does not run")),
        }
        Ok(())
    }

    fn close(&self, py: Python<'_>) {
        let state = std::mem::replace(&mut *lock(&self.state), State::Closed);
        if let State::Running(running) = state {
            py.detach(|| running.close());
        }
    }

    fn take<'py>(
        &self,
        py: Python<'py>,
        room: usize,
        prices: (usize, usize, usize, usize, usize),
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>, usize)> {
        let (call, first_more, small_bytes, place_bytes, most) = prices;
        let prices = Prices { call, first_more, small_bytes, place_bytes, most };
        let taken = self.service.arrivals.take(room, &prices);
        let (calls, events) = (PyList::empty(py), PyList::empty(py));
        let now = Instant::now();
        let mut last = LastText::default();
        for call in &taken.calls {
            calls.append(call_tuple(py, call, now, &mut last)?)?;
        }
        for event in taken.events {
            events.append(event_tuple(py, event, now)?)?;
        }
        Ok((calls, events, taken.left))
    }

    fn learn(&self, authorization: &str, member: Option<u64>) {
        let who = member.map_or(Who::Admin, Who::Member);
        lock(&self.service.tokens).learn(authorization.as_bytes(), who, Instant::now());
    }

    fn take_refused(&self) -> Vec<(usize, Option<u64>, &'static str, u64)> {
        let why = |why| match why {
            Impatience::Waited => "waited",
            Impatience::Full => "full",
        };
        let counts = self.service.refusals.take().into_iter();
        counts.map(|((method, turn, reason), count)| (method, turn, why(reason), count)).collect()
    }

    fn flush(&self, answers: Vec<(CallId, Bound<'_, PyBytes>)>) -> PyResult<()> {
        let framed: Vec<_> =
            answers.into_iter().map(|(id, message)| Ok((id, send(&message, false)?))).collect::<PyResult<_>>()?;
        self.service.answers.say_all(framed.into_iter());
        self.service.answers.wake();
        Ok(())
    }

    fn fail(&self, id: CallId, answer: &FailedAnswer) {
        self.service.answers.say(id, Order::Fail(Arc::clone(&answer.0)));
    }

    fn send(&self, id: CallId, message: &Bound<'_, PyBytes>, asked: bool) -> PyResult<()> {
        self.service.answers.say(id, send(message, asked)?);
        Ok(())
    }

    fn read(&self, id: CallId) {
        self.service.answers.say(id, Order::Read);
    }

    fn end(&self, id: CallId) {
        self.service.answers.say(id, Order::End);
    }
}

type JsonClasses<'py> = (Bound<'py, JsonReader>, Bound<'py, JsonWriter>, Bound<'py, FailedAnswer>);

fn json_form((reader, writer, too_slow): &JsonClasses<'_>) -> JsonForm {
    JsonForm {
        reader: Arc::clone(&reader.get().0),
        writer: Arc::clone(&writer.get().0),
        too_slow: Arc::clone(&too_slow.get().0),
    }
}

type Object<'py> = Bound<'py, PyAny>;

fn kind(name: &str) -> PyResult<Kind> {
    match name {
        "in_turn" => Ok(Kind::InTurn),
        "gathered" => Ok(Kind::Gathered),
        "express" => Ok(Kind::Express),
        "stream" => Ok(Kind::Stream),
        _ => Err(PyValueError::new_err("a method is 'in_turn', 'gathered', 'express' or 'stream'")),
    }
}

fn seconds(count: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(count).map_err(value_error)
}

fn send(message: &Bound<'_, PyBytes>, asked: bool) -> PyResult<Order> {
    let message = frame(message.as_bytes()).ok_or_else(|| PyValueError::new_err("the message has 4 GB or more"))?;
    Ok(Order::Send { message, asked })
}

/// The text that was made last: most calls of a turn have the same token.
#[derive(Default)]
struct LastText<'a, 'py>(Option<(&'a [u8], Object<'py>)>);

impl<'a, 'py> LastText<'a, 'py> {
    fn of(&mut self, py: Python<'py>, value: &'a [u8]) -> Object<'py> {
        match &self.0 {
            Some((last, made)) if *last == value => made.clone(),
            _ => self.0.insert((value, text(py, value))).1.clone(),
        }
    }
}

fn call_tuple<'a, 'py>(
    py: Python<'py>,
    call: &'a UnaryCall,
    now: Instant,
    last: &mut LastText<'a, 'py>,
) -> PyResult<Bound<'py, PyTuple>> {
    let message = match &call.message {
        Ok(message) => PyBytes::new(py, message).into_any(),
        Err(flaw) => flaw_tuple(py, *flaw)?.into_any(),
    };
    let authorization = last.of(py, call.metadata.authorization());
    let (request_id, remaining, body_bytes, waited, address, trace) = metadata_parts(py, &call.metadata, now);
    let (id, method, known) = (call.id, call.method, call.known);
    (id, method, known, message, authorization, request_id, remaining, body_bytes, waited, address, trace)
        .into_pyobject(py)
}

fn event_tuple(py: Python<'_>, event: Event, now: Instant) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Refused { id, method, metadata, why } => {
            let why = match why {
                Refusal::NoSuchMethod => "no_such_method",
                Refusal::NoTrailers => "no_trailers",
                Refusal::NotReceived => "not_received",
            };
            ("refused", id, method, text(py, metadata.request_id()), why).into_pyobject(py)
        }
        Event::Misread { id, method, metadata, text: wrong } => {
            let authorization = text(py, metadata.authorization());
            let (request_id, remaining, body_bytes, waited, address, trace) = metadata_parts(py, &metadata, now);
            ("misread", id, method, wrong, authorization, request_id, remaining, body_bytes, waited, address, trace)
                .into_pyobject(py)
        }
        Event::Opened { id, method, metadata } => {
            let authorization = text(py, metadata.authorization());
            let (request_id, remaining, body_bytes, waited, address, trace) = metadata_parts(py, &metadata, now);
            ("opened", id, method, authorization, request_id, remaining, body_bytes, waited, address, trace)
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

/// Bytes of a header as Latin-1.
fn text<'py>(py: Python<'py>, value: &[u8]) -> Object<'py> {
    match str::from_utf8(value) {
        Ok(ascii) if ascii.is_ascii() => PyString::new(py, ascii).into_any(),
        _ => PyString::new(py, &value.iter().copied().map(char::from).collect::<String>()).into_any(),
    }
}
