//! Answers and orders of Python, and the calls that they are for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::handover::call::CallId;
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
