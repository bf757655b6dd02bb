//! A lane's connection: its socket, its protocol, and the calls in flight on it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::http::{Event, Http1, Http2};
use crate::plan::{Call, Lane, Request};
use crate::socket::Socket;
use crate::verdict::Ending;

/// Calls are started only while fewer bytes than this wait to be written.
const MOST_UNWRITTEN_BYTES: usize = 262_144;
const CLOSED: &str = "the connection was closed";

/// A call that has ended: when it was due, and how it ended. None: the server has not processed it, so it may be sent
/// again.
pub type Ended = (u64, Option<Ending>);

enum Protocol {
    Unary(Http2),
    /// The stream's ID once it is open, and the due times of its unanswered calls.
    Stream(Http2, Option<u32>, VecDeque<u64>),
    Http1(Http1),
}

pub struct Connection {
    socket: Socket,
    is_connected: bool,
    written: usize,
    protocol: Protocol,
    /// Whether requests have a `content-length`, as those of REST callers do.
    says_length: bool,
}

impl Connection {
    /// Starts to connect; all calls use this token.
    pub fn new(lane: &Lane, token: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(lane.address)?;
        socket.set_nodelay(true)?;
        let socket = Socket::new(socket, lane.tls.as_ref(), lane.address.ip().into())?;
        let request = lane.request.clone().unwrap_or_else(|| request_of(lane.call));
        let mut fields: Vec<_> = request.fields.into_iter().collect();
        fields.push(("authorization".into(), token.into()));
        let http2 = |has_timeout| {
            let pseudo = [
                (":method", request.method.as_str()),
                (":scheme", if lane.tls.is_some() { "https" } else { "http" }),
                (":path", &request.path),
                (":authority", "bench"),
            ];
            let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Http2::new(pseudo.into_iter().chain(fields.clone()).collect(), has_timeout)
        };
        let protocol = match lane.call {
            Call::Unary => Protocol::Unary(http2(lane.deadline_ms.is_some())),
            Call::Rest | Call::Other => Protocol::Unary(http2(false)),
            Call::Stream => Protocol::Stream(http2(false), None, VecDeque::new()),
            Call::RestHttp1 => Protocol::Http1(Http1::new(&request.path, &fields)),
        };
        Ok(Self { socket, is_connected: false, written: 0, protocol, says_length: lane.call == Call::Rest })
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        self.socket.plain()
    }

    /// Number of calls in flight.
    pub fn under_way(&self) -> usize {
        match &self.protocol {
            Protocol::Unary(http2) => http2.open_streams(),
            Protocol::Stream(_, _, dues) => dues.len(),
            Protocol::Http1(http1) => usize::from(http1.tag().is_some()),
        }
    }

    /// Whether the peer accepts no new calls.
    pub fn is_leaving(&self) -> bool {
        match &self.protocol {
            Protocol::Unary(http2) | Protocol::Stream(http2, ..) => http2.is_leaving(),
            Protocol::Http1(http1) => http1.is_leaving(),
        }
    }

    /// Whether a call can be started now.
    pub fn has_room(&mut self) -> bool {
        self.out().len() < MOST_UNWRITTEN_BYTES
            && match &self.protocol {
                Protocol::Unary(http2) | Protocol::Stream(http2, None, _) => http2.has_room(),
                Protocol::Stream(http2, ..) => !http2.is_leaving() && !http2.is_blocked(),
                Protocol::Http1(http1) => self.is_connected && http1.tag().is_none() && !http1.is_leaving(),
            }
    }

    /// Starts a call.
    pub fn begin(&mut self, due: u64, timeout_ms: Option<u64>, body: &[u8]) {
        match &mut self.protocol {
            Protocol::Unary(http2) => {
                let id = http2.begin(due, timeout_ms, false, self.says_length.then_some(body.len()));
                http2.send(id, body, true);
            }
            Protocol::Stream(http2, id, dues) => {
                let id = *id.get_or_insert_with(|| http2.begin(due, None, true, None));
                http2.send(id, body, false);
                dues.push_back(due);
            }
            Protocol::Http1(http1) => http1.begin(due, body),
        }
    }

    /// Cancels calls that were due before this time.
    pub fn expire(&mut self, before: u64, ended: &mut Vec<Ended>) {
        let mut give_up = |due| ended.push((due, Some(Ending::Expired)));
        match &mut self.protocol {
            Protocol::Unary(http2) => {
                while let Some(due) = http2.cancel_oldest(before) {
                    give_up(due);
                }
            }
            // A stream's answers come in order, so its calls cannot be cancelled one by one: late answers are counted
            // when they arrive.
            Protocol::Stream(..) => {}
            Protocol::Http1(http1) => {
                if http1.tag().is_some_and(|due| due < before) {
                    http1.give_up().map(give_up);
                }
            }
        }
    }

    /// Ends all calls in flight, when the connection is lost.
    pub fn lose(&mut self, reason: &str, ended: &mut Vec<Ended>) {
        let dues: Vec<u64> = match &self.protocol {
            Protocol::Unary(http2) => http2.tags().collect(),
            Protocol::Stream(_, _, dues) => dues.iter().copied().collect(),
            Protocol::Http1(http1) => http1.tag().into_iter().collect(),
        };
        ended.extend(dues.into_iter().map(|due| (due, Some(Ending::Lost(reason.to_owned())))));
    }

    /// Called when the socket is writable, or has connected.
    pub fn on_writable(&mut self) -> Result<(), String> {
        if let Some(error) = self.socket.take_error().map_err(|error| error.to_string())? {
            return Err(format!("a connection failed: {error}"));
        }
        self.is_connected = true;
        Ok(())
    }

    /// Writes as much as the socket accepts. An error means that the connection is lost.
    pub fn flush(&mut self) -> Result<(), String> {
        if !self.is_connected {
            return Ok(());
        }
        self.socket.push().map_err(|error| failed(&error))?;
        let written = self.written;
        let out = match &mut self.protocol {
            Protocol::Unary(http2) | Protocol::Stream(http2, ..) => http2.out(),
            Protocol::Http1(http1) => http1.out(),
        };
        if out.len() == written {
            return Ok(());
        }
        match self.socket.write(&out[written..]) {
            Ok(count) if written + count == out.len() => {
                out.clear();
                self.written = 0;
            }
            Ok(count) => self.written += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(failed(&error)),
        }
        Ok(())
    }

    /// Reads all that has arrived. An error says why the connection is unusable.
    pub fn read(&mut self, buffer: &mut [u8], ended: &mut Vec<Ended>) -> Result<(), String> {
        loop {
            let count = match self.socket.read(buffer) {
                Ok(0) => return Err(CLOSED.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(&error)),
            };
            self.receive(&buffer[..count], ended)?;
        }
    }

    fn receive(&mut self, data: &[u8], ended: &mut Vec<Ended>) -> Result<(), String> {
        let mut events = Vec::new();
        match &mut self.protocol {
            Protocol::Http1(http1) => {
                if let Some(answer) = http1.receive(data)? {
                    let head = crate::http::Head { http_status: Some(answer.status), ..Default::default() };
                    ended.push((answer.tag, Some(Ending::Answer { head, body: answer.body })));
                }
            }
            Protocol::Unary(http2) => {
                http2.receive(data, &mut events)?;
                ended.extend(events.into_iter().map(of_call));
            }
            Protocol::Stream(http2, id, dues) => {
                let was_leaving = http2.is_leaving();
                http2.receive(data, &mut events)?;
                for event in events {
                    of_stream(event, id, dues, ended);
                }
                if let (false, true, Some(id)) = (was_leaving, http2.is_leaving(), &id) {
                    http2.send(*id, b"", true);
                }
            }
        }
        Ok(())
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match &mut self.protocol {
            Protocol::Unary(http2) | Protocol::Stream(http2, ..) => http2.out(),
            Protocol::Http1(http1) => http1.out(),
        }
    }
}

/// Describes a lost connection: errors of TLS by their text, system errors by their kind alone.
fn failed(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::Other => format!("a connection failed: {error}"),
        kind => format!("a connection failed: {kind}"),
    }
}

/// The request of a call.
fn request_of(call: Call) -> Request {
    let (path, fields): (_, &[_]) = match call {
        Call::Unary => ("/instantaudience.v1.AudienceService/ApplySegments", GRPC_FIELDS),
        Call::Stream => ("/instantaudience.v1.AudienceService/StreamSegments", GRPC_FIELDS),
        Call::Rest | Call::RestHttp1 | Call::Other => ("/rt-segment", &[("content-type", "application/json")]),
    };
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request { method: "POST".into(), path: path.into(), fields, body: Vec::new() }
}

const GRPC_FIELDS: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// Interprets an event of a stream with one call.
fn of_call(event: Event) -> Ended {
    match event {
        Event::End { tag, head, body } => (tag, Some(Ending::Answer { head, body })),
        Event::Message { tag, message } => (tag, Some(Ending::Message(message))),
        Event::Reset { tag, code } => (tag, Some(Ending::Reset(code))),
        Event::Unseen { tag } => (tag, None),
    }
}

/// Interprets an event of a stream with many calls; its end ends all unanswered ones.
fn of_stream(event: Event, id: &mut Option<u32>, dues: &mut VecDeque<u64>, ended: &mut Vec<Ended>) {
    let ending = |event: &Event| match event {
        Event::End { head, .. } => Some(Ending::Answer { head: head.clone(), body: Vec::new() }),
        Event::Reset { code, .. } => Some(Ending::Reset(*code)),
        Event::Unseen { .. } | Event::Message { .. } => None,
    };
    if let Event::Message { message, .. } = event {
        ended.extend(dues.pop_front().map(|due| (due, Some(Ending::Message(message)))));
        return;
    }
    *id = None;
    ended.extend(dues.drain(..).map(|due| (due, ending(&event))));
}
