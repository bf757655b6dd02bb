//! What has come for Python: a list that the event loop takes whole, once a turn.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use bytes::Bytes;

use crate::framing::Flaw;
use crate::locks::lock;
use crate::metadata::Metadata;

/// A call's number; none is given twice.
pub type CallId = u64;

/// A unary call, whole.
pub struct UnaryCall {
    pub id: CallId,
    /// The method, by its place in the list that Python gave.
    pub method: usize,
    pub metadata: Metadata,
    /// Its message, or why there is none.
    pub message: Result<Bytes, Flaw>,
}

/// Why a call is refused whose message nobody looks at.
#[derive(Clone, Copy)]
pub enum Refusal {
    NoSuchMethod,
    /// The header `te: trailers` is missing.
    NoTrailers,
    /// The request was not there in time.
    NotReceived,
}

/// Whatever else happens to calls.
pub enum Event {
    /// A call to refuse; `method` is None where there is no such method.
    Refused { id: CallId, method: Option<usize>, metadata: Metadata, why: Refusal },
    /// A stream begins.
    Opened { id: CallId, method: usize, metadata: Metadata },
    /// A stream's next message.
    Message { id: CallId, message: Bytes },
    /// A stream has no more messages, for this reason where it should have.
    HalfClosed { id: CallId, flaw: Option<Flaw> },
    /// All that a stream was to send is on its way.
    Sent { id: CallId },
    /// Nobody waits for the call any more.
    Gone { id: CallId },
    /// No connection is left, or the grace is over.
    Drained,
}

/// What has come since Python took it last.
#[derive(Default)]
pub struct Inbox {
    pub calls: Vec<UnaryCall>,
    pub events: Vec<Event>,
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.events.is_empty()
    }
}

/// The list, and a bell that wakes the event loop when there is something on it.
pub struct Arrivals {
    inbox: Mutex<Inbox>,
    bell: UnixStream,
    heard: UnixStream,
}

impl Arrivals {
    pub fn new() -> io::Result<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        Ok(Self { inbox: Mutex::default(), bell, heard })
    }

    /// What becomes readable when something has come.
    pub fn fd(&self) -> RawFd {
        self.heard.as_raw_fd()
    }

    pub fn add_call(&self, call: UnaryCall) {
        self.add(|inbox| inbox.calls.push(call));
    }

    pub fn add_event(&self, event: Event) {
        self.add(|inbox| inbox.events.push(event));
    }

    fn add(&self, put: impl FnOnce(&mut Inbox)) {
        let mut inbox = lock(&self.inbox);
        let first = inbox.is_empty();
        put(&mut inbox);
        drop(inbox);
        if first {
            // It cannot be full for long: each byte stands for a time that the list was empty. And then it rings.
            let _ = (&self.bell).write(&[1]);
        }
    }

    /// All that has come. What comes after this rings again.
    pub fn take(&self) -> Inbox {
        let _ = (&self.heard).read(&mut [0; 64]);
        std::mem::take(&mut *lock(&self.inbox))
    }
}
