//! What has arrived for Python, which takes it once per cycle of its event loop; and the tokens that Python found valid
//! lately, by which a call's queue is known.

use std::collections::HashMap;
use std::io;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::grpc::{Flaw, Metadata};
use crate::handover::fair_queue::{Capacity, FairQueue, Prices, QueueKey};
use crate::json::Reader;
use crate::locks::lock;

/// How often calls are checked for having waited too long.
const LOOK: Duration = Duration::from_millis(20);

/// Why a call is refused without looking at its message.
#[derive(Clone, Copy)]
pub enum Refusal {
    NoSuchMethod,
    /// The header `te: trailers` is missing.
    NoTrailers,
    /// The request did not arrive in time.
    NotReceived,
    /// It is a REST call that only the gateway takes.
    ForGateway,
    /// It is a REST call without a token or a name in a certificate.
    NoCredential,
}

/// What happens to calls, other than the arrival of a unary one.
pub enum Event {
    /// A call to refuse; `method` is None if there is no such method.
    Refused { id: CallId, method: Option<usize>, metadata: Box<Metadata>, why: Refusal },
    /// A REST call whose body is invalid, and why.
    Misread { id: CallId, method: usize, metadata: Box<Metadata>, text: String },
    /// A REST call on a port that has been refused and answered.
    Noted { method: usize, metadata: Box<Metadata>, why: Refusal },
    /// A stream has been opened.
    Opened { id: CallId, method: usize, metadata: Box<Metadata> },
    /// A stream's next message.
    Message { id: CallId, message: Bytes },
    /// A stream has no further messages; `flaw` is what ended it early, if anything.
    HalfClosed { id: CallId, flaw: Option<Flaw> },
    /// Everything that a stream had to send is on its way.
    Sent { id: CallId },
    /// The caller has gone.
    Gone { id: CallId },
    /// All connections are closed, or the grace period is over.
    Drained,
}

/// What has arrived and Python has not taken yet.
struct Inbox {
    /// Calls that do not wait for capacity.
    express: Vec<UnaryCall>,
    queue: FairQueue,
    /// When Python last took calls, or the first call began to wait since then.
    looked: Instant,
    events: Vec<Event>,
}

/// What Python takes at once.
pub struct Taken {
    pub calls: Vec<UnaryCall>,
    pub events: Vec<Event>,
    /// How many calls still wait.
    pub left: usize,
}

/// Whether, and how long, a call waits for Python to take it.
#[derive(Clone, Copy)]
pub enum Wait {
    /// Taken at the next opportunity.
    Express,
    /// Waits in the queue of this key, until this time.
    Queued(QueueKey, Instant),
}

/// The inbox, and a socket pair that wakes Python's event loop when something arrives.
pub struct Arrivals {
    inbox: Mutex<Inbox>,
    bell: UnixStream,
    heard: UnixStream,
    /// Notified when calls begin to wait.
    waits: Notify,
}

impl Arrivals {
    /// An empty inbox, in which `most_waiting` calls may wait.
    pub fn new(most_waiting: usize) -> io::Result<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let queue = FairQueue::new(most_waiting);
        let inbox = Inbox { express: Vec::new(), queue, looked: Instant::now(), events: Vec::new() };
        Ok(Self { inbox: Mutex::new(inbox), bell, heard, waits: Notify::new() })
    }

    /// The file descriptor that becomes readable when something has arrived.
    pub fn fd(&self) -> RawFd {
        self.heard.as_raw_fd()
    }

    /// Adds a call; returns the call to refuse if too many wait.
    ///
    /// Python is woken only by the first waiting call: as long as there is one, Python knows, and returns when it has
    /// capacity.
    pub fn add_call(&self, call: UnaryCall, wait: Wait) -> Option<(QueueKey, UnaryCall)> {
        let mut inbox = lock(&self.inbox);
        let (first, refused) = match wait {
            Wait::Express => {
                inbox.express.push(call);
                (inbox.express.len() == 1, None)
            }
            Wait::Queued(key, until) => {
                let first = inbox.queue.is_empty();
                if first {
                    inbox.looked = Instant::now();
                }
                (first, inbox.queue.add(key, call, until))
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

    /// Whether a call would wait in this queue in vain (see `FairQueue::is_in_vain`), so that it can be refused before
    /// its body is read.
    pub fn would_be_in_vain(&self, key: QueueKey, until: Instant) -> bool {
        let inbox = lock(&self.inbox);
        inbox.queue.is_in_vain(key, until, Instant::now(), inbox.looked)
    }

    /// Whether so many calls wait that new ones will not be answered soon.
    pub fn are_crowded(&self) -> bool {
        lock(&self.inbox).queue.is_crowded()
    }

    fn ring(&self) {
        // May fail only if the buffer is full, and then the socket is readable anyway.
        let _ = (&self.bell).write(&[1]);
    }

    /// Withdraws a call whose caller has gone; returns whether it was still waiting.
    pub fn forget(&self, id: CallId, wait: Wait) -> bool {
        match wait {
            Wait::Express => false,
            Wait::Queued(key, _) => lock(&self.inbox).queue.forget(key, id),
        }
    }

    /// Withdraws all calls of a member to a method that wait.
    pub fn withdraw(&self, member: u64, method: usize) -> Vec<UnaryCall> {
        lock(&self.inbox).queue.withdraw(member, method)
    }

    /// Waits until calls have waited too long, and returns these.
    pub async fn late(&self) -> Vec<(QueueKey, UnaryCall)> {
        loop {
            if lock(&self.inbox).queue.is_empty() {
                self.waits.notified().await;
            }
            tokio::time::sleep(LOOK).await;
            let mut inbox = lock(&self.inbox);
            let looked = inbox.looked;
            let late = inbox.queue.late(Instant::now(), looked);
            drop(inbox);
            if !late.is_empty() {
                return late;
            }
        }
    }

    /// Takes everything that has arrived; of the calls that wait, as many as there is capacity for (see
    /// `FairQueue::take`).
    pub fn take(&self, capacity: &Capacity, prices: &Prices) -> Taken {
        let _ = (&self.heard).read(&mut [0; 64]);
        let mut inbox = lock(&self.inbox);
        inbox.looked = Instant::now();
        let mut calls = std::mem::take(&mut inbox.express);
        calls.extend(inbox.queue.take(capacity, prices));
        Taken { calls, events: std::mem::take(&mut inbox.events), left: inbox.queue.len() }
    }
}

/// A call's number, which is never reused.
pub type CallId = u64;

/// A unary call that has been received.
pub struct UnaryCall {
    pub id: CallId,
    /// Index in the list of methods that Python passed.
    pub method: usize,
    pub metadata: Box<Metadata>,
    /// The message, or why there is none.
    pub message: Result<Bytes, Flaw>,
    /// Reads the message, if it is a body of JSON that must not be read before the caller's token is verified.
    pub reader: Option<Arc<Reader>>,
    /// Whether the caller's token is known to be valid.
    pub known: bool,
    /// Whether it is carried out together with other calls of its caller.
    pub gathered: bool,
}

/// Size of the cache; when it is exceeded, all are forgotten and learnt again.
const MOST_TOKENS: usize = 20_000;
/// Longer tokens are not cached: the service issues none.
const TOKEN_BYTES: usize = 256;
/// How long a token is remembered.
const KNOWN: Duration = Duration::from_secs(30);

/// Tokens, with their owner and when they were learnt.
#[derive(Default)]
pub struct Tokens(HashMap<Box<[u8]>, (Who, Instant)>);

/// The owner of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// An account of this member.
    Member(u64),
    /// An admin, whose calls do not wait.
    Admin,
}

impl Tokens {
    /// Notes the owner of a token.
    pub fn learn(&mut self, token: &[u8], who: Who, now: Instant) {
        if token.len() > TOKEN_BYTES {
            return;
        }
        if self.0.len() >= MOST_TOKENS {
            self.0.clear();
        }
        self.0.insert(token.into(), (who, now));
    }

    /// The owner of a token, if it was learnt lately.
    pub fn find(&self, token: &[u8], now: Instant) -> Option<Who> {
        let (who, since) = self.0.get(token)?;
        (now.saturating_duration_since(*since) < KNOWN).then_some(*who)
    }
}

#[cfg(test)]
mod tokens_tests {
    use super::*;

    #[test]
    fn tokens_are_known_for_a_while() {
        let now = Instant::now();
        let mut tokens = Tokens::default();
        tokens.learn(b"a", Who::Member(7), now);
        tokens.learn(b"b", Who::Admin, now);
        tokens.learn(&[0; 300], Who::Admin, now);
        assert_eq!((tokens.find(b"a", now), tokens.find(b"b", now)), (Some(Who::Member(7)), Some(Who::Admin)));
        assert_eq!((tokens.find(b"", now), tokens.find(&[0; 300], now)), (None, None));
        tokens.learn(&[0; TOKEN_BYTES], Who::Admin, now);
        assert_eq!(tokens.find(&[0; TOKEN_BYTES], now), Some(Who::Admin));
        assert_eq!(tokens.find(b"a", now + KNOWN), None);
        for number in 0_u64..30_000 {
            tokens.learn(&number.to_be_bytes(), Who::Member(number), now);
        }
        assert!(tokens.0.len() <= MOST_TOKENS);
    }
}
