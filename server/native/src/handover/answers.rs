//! What Python answers, and the calls that it is for; and the calls that are refused with answers that Python prepared,
//! of which it gets the counts only.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::handover::arrivals::{Arrivals, CallId, UnaryCall};
use crate::handover::fair_queue::QueueKey;
use crate::locks::lock;

/// A failure, ready to be sent in either format.
pub struct Failure {
    /// For gRPC.
    pub trailers: HeaderMap,
    /// For JSON.
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The result of a unary call.
pub enum Answer {
    /// Success, with this framed message.
    Message(Bytes),
    Failure(Arc<Failure>),
}

/// What Python orders for a stream.
pub enum Order {
    /// Send this framed message; if `asked`, report `Event::Sent` once it is on its way.
    Send {
        message: Bytes,
        asked: bool,
    },
    /// The next incoming message has been read.
    Read,
    /// End with status OK.
    End,
    Fail(Arc<Failure>),
}

/// The receiver of what Python says about a call.
pub enum Listener {
    Unary(oneshot::Sender<Answer>),
    Stream(mpsc::UnboundedSender<Order>),
}

/// Answers that have not been delivered yet, and the calls that wait for theirs.
#[derive(Default)]
pub struct Answers {
    outbox: Mutex<Vec<(CallId, Order)>>,
    ready: Notify,
    listeners: Mutex<HashMap<CallId, Listener>>,
    last_id: AtomicU64,
}

impl Answers {
    /// Registers a call; returns its number.
    pub fn listen(&self, listener: Listener) -> CallId {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.listeners).insert(id, listener);
        id
    }

    /// Unregisters a call; returns whether it was still registered.
    pub fn forget(&self, id: CallId) -> bool {
        lock(&self.listeners).remove(&id).is_some()
    }

    /// Queues an order; it is delivered after `wake`.
    pub fn say(&self, id: CallId, order: Order) {
        lock(&self.outbox).push((id, order));
    }

    /// Queues several orders.
    pub fn say_all(&self, said: impl Iterator<Item = (CallId, Order)>) {
        lock(&self.outbox).extend(said);
    }

    /// Delivers an order at once.
    pub fn tell(&self, id: CallId, order: Order) {
        pass(&mut lock(&self.listeners), id, order);
    }

    /// Has the queued orders delivered.
    pub fn wake(&self) {
        self.ready.notify_one();
    }

    /// Delivers queued orders, for ever.
    pub async fn pass_on(&self) {
        loop {
            self.ready.notified().await;
            let said = std::mem::take(&mut *lock(&self.outbox));
            let mut listeners = lock(&self.listeners);
            for (id, order) in said {
                pass(&mut listeners, id, order);
            }
        }
    }
}

fn pass(listeners: &mut HashMap<CallId, Listener>, id: CallId, order: Order) {
    let Entry::Occupied(listener) = listeners.entry(id) else { return };
    if let Listener::Stream(stream) = listener.get() {
        let last = matches!(order, Order::End | Order::Fail(_));
        // Sending fails only if the caller has just gone.
        let _ = stream.send(order);
        if last {
            listener.remove();
        }
    } else if let Listener::Unary(call) = listener.remove() {
        let _ = match order {
            Order::Send { message, .. } => call.send(Answer::Message(message)),
            Order::Fail(failure) => call.send(Answer::Failure(failure)),
            // No answer: the call's stream is reset.
            Order::Read | Order::End => Ok(()),
        };
    }
}

/// The size from which on quotas whose windows have ended are looked for and forgotten.
const MANY_SPENT: usize = 1000;

/// Why a call was refused without being handed over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It waited too long.
    Waited,
    /// Too many calls were waiting.
    Full,
    /// Its member has spent the quota that Python gave this name.
    Spent(Arc<str>),
}

/// What is counted: method, queue and reason.
pub type Refused = (usize, QueueKey, Why);

/// A quota of which nothing is left until a time, and the answer to all calls until then.
pub struct Spent {
    pub quota: Arc<str>,
    pub until: Instant,
    pub failure: Arc<Failure>,
}

/// The prepared answers, the quotas that are spent, and counts of the calls refused.
pub struct Refusals {
    /// Used in rotation; they differ in `Retry-After`, so that callers do not all come back at once.
    failures: Vec<Arc<Failure>>,
    used: AtomicUsize,
    /// By method and member.
    spent: Mutex<HashMap<(usize, u64), Spent>>,
    counts: Mutex<HashMap<Refused, u64>>,
}

impl Refusals {
    pub fn new(failures: Vec<Arc<Failure>>) -> Self {
        Self { failures, used: AtomicUsize::new(0), spent: Mutex::default(), counts: Mutex::default() }
    }

    /// Refuses a call.
    pub fn refuse(&self, (key, call): (QueueKey, UnaryCall), why: Why, answers: &Answers) {
        if let Some(failure) = self.next((call.method, key, why)) {
            answers.tell(call.id, Order::Fail(failure));
        }
    }

    /// Counts a refusal; returns its answer. None: there are none.
    pub fn next(&self, refused: Refused) -> Option<Arc<Failure>> {
        self.count(refused);
        let number = self.used.fetch_add(1, Ordering::Relaxed) % self.failures.len().max(1);
        self.failures.get(number).map(Arc::clone)
    }

    fn count(&self, refused: Refused) {
        *lock(&self.counts).entry(refused).or_default() += 1;
    }

    /// Refuses a member's calls of a method from now on: those that wait, and those that will come.
    pub fn spend(&self, method: usize, member: u64, spent: Spent, arrivals: &Arrivals, answers: &Answers) {
        let (quota, failure) = (Arc::clone(&spent.quota), Arc::clone(&spent.failure));
        let mut all = lock(&self.spent);
        if all.len() >= MANY_SPENT {
            let now = Instant::now();
            all.retain(|_, spent| spent.until > now);
        }
        all.insert((method, member), spent);
        drop(all);
        for call in arrivals.withdraw(member, method) {
            self.count((method, Some(member), Why::Spent(Arc::clone(&quota))));
            answers.tell(call.id, Order::Fail(Arc::clone(&failure)));
        }
    }

    /// Counts a call whose member has spent its quota, and returns its answer; None: it has not, or `find_member` finds
    /// no member.
    pub fn of_spent(
        &self,
        method: usize,
        now: Instant,
        find_member: impl FnOnce() -> Option<u64>,
    ) -> Option<Arc<Failure>> {
        let all = lock(&self.spent);
        if all.is_empty() {
            return None;
        }
        let member = find_member()?;
        let spent = all.get(&(method, member)).filter(|spent| spent.until > now)?;
        let (quota, failure) = (Arc::clone(&spent.quota), Arc::clone(&spent.failure));
        drop(all);
        self.count((method, Some(member), Why::Spent(quota)));
        Some(failure)
    }

    /// Refuses calls that have waited too long, for ever.
    pub async fn refuse_late(&self, arrivals: &Arrivals, answers: &Answers) {
        loop {
            for late in arrivals.late().await {
                self.refuse(late, Why::Waited, answers);
            }
        }
    }

    /// How many calls were refused since the last call of this.
    pub fn take(&self) -> HashMap<Refused, u64> {
        std::mem::take(&mut *lock(&self.counts))
    }
}

#[cfg(test)]
#[path = "refusals_tests.rs"]
mod refusals_tests;
