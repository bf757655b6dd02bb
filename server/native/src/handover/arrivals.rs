//! What has come for Python: lists that the event loop takes once a turn.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::grpc::{Flaw, Metadata};
use crate::handover::call::{CallId, UnaryCall};
use crate::handover::waiting::{Prices, Room, Turn, Waiting};
use crate::locks::lock;

/// How often it is looked who has waited too long.
const LOOK: Duration = Duration::from_millis(20);

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
    Refused { id: CallId, method: Option<usize>, metadata: Box<Metadata>, why: Refusal },
    /// A call whose body is not what it should be, and why.
    Misread { id: CallId, method: usize, metadata: Box<Metadata>, text: String },
    /// A stream begins.
    Opened { id: CallId, method: usize, metadata: Box<Metadata> },
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

/// What has come and Python has not taken.
struct Inbox {
    /// Calls that need no turn.
    express: Vec<UnaryCall>,
    waiting: Waiting,
    /// When Python has looked who may begin, or the first began to wait for it.
    looked: Instant,
    events: Vec<Event>,
}

/// What Python takes.
pub struct Taken {
    pub calls: Vec<UnaryCall>,
    pub events: Vec<Event>,
    /// How many calls wait for their turn.
    pub left: usize,
}

/// How a call waits.
#[derive(Clone, Copy)]
pub enum Wait {
    /// Not at all.
    Express,
    /// For this turn, until then.
    Turn(Turn, Instant),
}

/// The list, and a bell that wakes the event loop when there is something on it.
pub struct Arrivals {
    inbox: Mutex<Inbox>,
    bell: UnixStream,
    heard: UnixStream,
    /// Says that calls wait.
    waits: Notify,
}

impl Arrivals {
    /// No arrivals yet; `most_waiting` calls may wait for their turn.
    pub fn new(most_waiting: usize) -> io::Result<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let waiting = Waiting::new(most_waiting);
        let inbox = Inbox { express: Vec::new(), waiting, looked: Instant::now(), events: Vec::new() };
        Ok(Self { inbox: Mutex::new(inbox), bell, heard, waits: Notify::new() })
    }

    /// What becomes readable when something has come.
    pub fn fd(&self) -> RawFd {
        self.heard.as_raw_fd()
    }

    /// A call comes; returns the one to refuse, where there is no room for both.
    ///
    /// Python is woken by the first that waits: as long as one does, it knows, and comes back when it has room.
    pub fn add_call(&self, call: UnaryCall, wait: Wait) -> Option<(Turn, UnaryCall)> {
        let mut inbox = lock(&self.inbox);
        let (first, refused) = match wait {
            Wait::Express => {
                inbox.express.push(call);
                (inbox.express.len() == 1, None)
            }
            Wait::Turn(turn, until) => {
                let first = inbox.waiting.is_empty();
                if first {
                    inbox.looked = Instant::now();
                }
                (first, inbox.waiting.add(turn, call, until))
            }
        };
        drop(inbox);
        if first {
            self.ring();
            self.waits.notify_one();
        }
        refused
    }

    pub fn add_event(&self, event: Event) {
        let mut inbox = lock(&self.inbox);
        inbox.events.push(event);
        let first = inbox.events.len() == 1;
        drop(inbox);
        if first {
            self.ring();
        }
    }

    /// Whether so many calls wait that none of those that come now is answered soon.
    pub fn are_crowded(&self) -> bool {
        lock(&self.inbox).waiting.is_crowded()
    }

    fn ring(&self) {
        // It cannot be full for long: each byte stands for a time that a list was empty. And then it rings.
        let _ = (&self.bell).write(&[1]);
    }

    /// A call's caller has left; whether it still waited.
    pub fn forget(&self, id: CallId, wait: Wait) -> bool {
        match wait {
            Wait::Express => false,
            Wait::Turn(turn, _) => lock(&self.inbox).waiting.forget(turn, id),
        }
    }

    /// The calls that have waited too long; returns when there are some.
    pub async fn late(&self) -> Vec<(Turn, UnaryCall)> {
        loop {
            if lock(&self.inbox).waiting.is_empty() {
                self.waits.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            let mut inbox = lock(&self.inbox);
            let looked = inbox.looked;
            let late = inbox.waiting.late(Instant::now(), looked);
            drop(inbox);
            if !late.is_empty() {
                return late;
            }
        }
    }

    /// All that has come, but of the calls that wait only so many as there is room for, by turns (see `Waiting::take`).
    pub fn take(&self, room: &Room, prices: &Prices) -> Taken {
        let _ = (&self.heard).read(&mut [0; 64]);
        let mut inbox = lock(&self.inbox);
        inbox.looked = Instant::now();
        let mut calls = std::mem::take(&mut inbox.express);
        calls.extend(inbox.waiting.take(room, prices));
        Taken { calls, events: std::mem::take(&mut inbox.events), left: inbox.waiting.len() }
    }
}
