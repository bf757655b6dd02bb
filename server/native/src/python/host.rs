//! The `Host` class that Python sees.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::bounds::{BackgroundThread, DecompressionLimit, MemoryBudgets};
use crate::calls::{JsonForm, Kind, Method, RequestIds, Service};
use crate::connections::{Callers, Door, Files, Running, Sockets};
use crate::grpc::{Patience, frame};
use crate::handover::{Answers, Arrivals, CallId, Capacity, Failure, Order, Prices, Refusals, Spent, Who, Why};
use crate::json::{JsonReader, JsonWriter};
use crate::locks::lock;
use crate::python::gathered::{Budget, FromJson, GatheredCalls, Gathering, event_tuple};

/// A failure, built once and used for many calls.
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

#[pyclass(frozen)]
pub struct Host {
    service: Arc<Service>,
    state: Mutex<State>,
    door: Door,
    age: Duration,
    budget: Budget,
    /// By method number.
    from_json: HashMap<usize, FromJson>,
}

#[pymethods]
impl Host {
    #[new]
    #[pyo3(signature = (methods, addresses, *, message_limit_bytes, budget, connections, waiting, refusals))]
    fn new(
        methods: Vec<(String, String, Option<RestForm<'_>>)>,
        addresses: Vec<String>,
        message_limit_bytes: usize,
        budget: (f64, f64, f64),
        connections: (usize, usize, f64, u32, u32),
        waiting: (usize, f64, f64),
        refusals: Vec<PyRef<'_, FailedAnswer>>,
    ) -> PyResult<Self> {
        let (mut by_path, mut rest_methods) = (HashMap::new(), HashMap::new());
        let (mut json_forms, mut from_json) = (HashMap::new(), HashMap::new());
        for (number, (path, name, rest)) in methods.into_iter().enumerate() {
            let method = Method { number, kind: kind(&name)? };
            by_path.insert(path, method);
            if let Some(form) = rest {
                json_forms.insert(number, form.json_form()?);
                rest_methods.insert(form.path, method);
                let start = form.start;
                from_json.extend(form.warning_form.map(|warning_form| (number, FromJson { start, warning_form })));
            }
        }
        let (most_calls, share, most_seconds) = waiting;
        let (most, most_of_one, age, most_streams, headers_bytes) = connections;
        let (call_seconds, kept_share, kept_seconds) = budget;
        let service = Service {
            methods: by_path,
            json_forms,
            rest_methods,
            request_ids: RequestIds::default(),
            message_limit_bytes,
            most_streams,
            headers_bytes,
            call_timeout_seconds: call_seconds,
            patience: Patience { share, most: seconds(most_seconds)? },
            arrivals: Arrivals::new(most_calls)?,
            answers: Answers::default(),
            tokens: Mutex::default(),
            refusals: Refusals::new(refusals.into_iter().map(|answer| Arc::clone(&answer.0)).collect()),
            budgets: MemoryBudgets::default(),
            unsent: MemoryBudgets::default(),
            standstill: seconds(age)?,
            decompression: DecompressionLimit::default(),
            background: BackgroundThread::start()?,
        };
        let bound = Sockets::to(addresses)?;
        Ok(Self {
            service: Arc::new(service),
            state: Mutex::new(State::Bound(bound)),
            door: Door { callers: Callers::new(most, most_of_one), tls: Arc::default() },
            age: seconds(age)?,
            budget: Budget { call_seconds, kept_share, kept_seconds },
            from_json,
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
        client_ca: Option<Vec<(Vec<u8>, u64)>>,
        client_crl: Option<Vec<u8>>,
        required: bool,
    ) -> PyResult<()> {
        let files = Files { chain, key, client_ca, client_crl, required };
        self.door.tls.secure(&files).map_err(|unusable| value_error(unusable.text()))
    }

    fn start(&self) -> PyResult<()> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Closed) {
            State::Bound(bound) => {
                let (service, door) = (Arc::clone(&self.service), self.door.clone());
                *state = State::Running(Running::start(bound, service, door, self.age)?);
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
        capacity: (usize, usize, Vec<u64>, bool),
        prices: (usize, usize, usize, usize, usize, usize),
        now: f64,
    ) -> PyResult<Handed<'py>> {
        let (call, first_more, small_bytes, place_bytes, most, quantum) = prices;
        let prices = Prices { call, first_more, small_bytes, place_bytes, most, quantum };
        let (free, kept, running, wait) = capacity;
        let capacity = Capacity { free, kept, running: running.into_iter().collect(), wait };
        let taken = self.service.arrivals.take(&capacity, &prices);
        let (calls, events) = (PyList::empty(py), PyList::empty(py));
        let at = Instant::now();
        let mut gathering = Gathering::new(py, self.budget, at, now, &self.from_json);
        for call in taken.calls {
            if let Some(other) = gathering.add(call)? {
                calls.append(other)?;
            }
        }
        for event in taken.events {
            events.append(event_tuple(py, event, at)?)?;
        }
        Ok((calls, gathering.finish(), events, taken.left))
    }

    fn learn(&self, authorization: &str, member: Option<u64>) {
        let who = member.map_or(Who::Admin, Who::Member);
        lock(&self.service.tokens).learn(authorization.as_bytes(), who, Instant::now());
    }

    fn spend(&self, method: usize, member: u64, quota: &str, seconds_left: f64, answer: &FailedAnswer) -> PyResult<()> {
        let until = Instant::now().checked_add(seconds(seconds_left)?).ok_or_else(|| value_error("it never ends"))?;
        let spent = Spent { quota: quota.into(), until, failure: Arc::clone(&answer.0) };
        let service = &self.service;
        service.refusals.spend(method, member, spent, &service.arrivals, &service.answers);
        Ok(())
    }

    fn take_refused(&self) -> Vec<(usize, Option<u64>, String, u64)> {
        let why = |why| match why {
            Why::Waited => "waited".to_owned(),
            Why::Full => "full".to_owned(),
            Why::Spent(quota) => quota.to_string(),
        };
        let counts = self.service.refusals.take().into_iter();
        counts.map(|((method, key, reason), count)| (method, key, why(reason), count)).collect()
    }

    fn take_refused_connections(&self) -> (u64, u64) {
        let refused = self.door.callers.take_refused();
        (refused.connections, refused.certificates)
    }

    fn flush(&self, answers: Vec<(Vec<CallId>, Bound<'_, PyBytes>)>) -> PyResult<()> {
        let answers = answers.into_iter().map(|(ids, message)| Ok((ids, framed(&message)?)));
        let answers: Vec<_> = answers.collect::<PyResult<_>>()?;
        let send = |message: &Bytes| Order::Send { message: message.clone(), asked: false };
        let said = answers.iter().flat_map(|(ids, message)| ids.iter().map(move |id| (*id, send(message))));
        self.service.answers.say_all(said);
        self.service.answers.wake();
        Ok(())
    }

    fn fail(&self, id: CallId, answer: &FailedAnswer) {
        self.service.answers.say(id, Order::Fail(Arc::clone(&answer.0)));
    }

    fn send(&self, id: CallId, message: &Bound<'_, PyBytes>, asked: bool) -> PyResult<()> {
        self.service.answers.say(id, Order::Send { message: framed(message)?, asked });
        Ok(())
    }

    fn read(&self, id: CallId) {
        self.service.answers.say(id, Order::Read);
    }

    fn end(&self, id: CallId) {
        self.service.answers.say(id, Order::End);
    }
}

/// Calls, grouped calls, events, and the number of calls that still wait.
type Handed<'py> = (Bound<'py, PyList>, Vec<GatheredCalls<'py>>, Bound<'py, PyList>, usize);

/// A method's REST form, with the names that Python gives its parts (`RestForm` in the stub file).
#[derive(FromPyObject)]
struct RestForm<'py> {
    path: String,
    limit_bytes: usize,
    reader: Bound<'py, JsonReader>,
    writer: Bound<'py, JsonWriter>,
    too_slow: Bound<'py, FailedAnswer>,
    elsewhere: Bound<'py, FailedAnswer>,
    no_credential: Bound<'py, FailedAnswer>,
    for_gateway: String,
    start: Vec<u8>,
    warning_form: Option<Py<PyAny>>,
}

impl RestForm<'_> {
    /// The part that is for the network thread.
    fn json_form(&self) -> PyResult<JsonForm> {
        Ok(JsonForm {
            limit_bytes: self.limit_bytes,
            reader: Arc::clone(&self.reader.get().0),
            writer: Arc::clone(&self.writer.get().0),
            too_slow: Arc::clone(&self.too_slow.get().0),
            elsewhere: Arc::clone(&self.elsewhere.get().0),
            no_credential: Arc::clone(&self.no_credential.get().0),
            for_gateway: HeaderName::from_bytes(self.for_gateway.as_bytes()).map_err(value_error)?,
        })
    }
}

fn kind(name: &str) -> PyResult<Kind> {
    match name {
        "queued" => Ok(Kind::Queued),
        "gathered" => Ok(Kind::Gathered),
        "express" => Ok(Kind::Express),
        "stream" => Ok(Kind::Stream),
        _ => Err(PyValueError::new_err("a method is 'queued', 'gathered', 'express' or 'stream'")),
    }
}

fn seconds(count: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(count).map_err(value_error)
}

fn framed(message: &Bound<'_, PyBytes>) -> PyResult<Bytes> {
    frame(message.as_bytes()).ok_or_else(|| PyValueError::new_err("the message has 4 GB or more"))
}
