//! What Python says of calls, and whom it is for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::handover::call::CallId;
use crate::locks::lock;

/// How a call fails, whichever form its answer has.
pub struct Failure {
    /// gRPC's answer.
    pub trailers: HeaderMap,
    /// JSON's answer.
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// How a unary call ends.
pub enum Answer {
    /// With this message, framed, and OK.
    Message(Bytes),
    Failure(Arc<Failure>),
}

/// What a stream is told.
pub enum Order {
    /// Send this message, framed; `asked`: say when it is on its way.
    Send {
        message: Bytes,
        asked: bool,
    },
    /// The next message was read.
    Read,
    /// End with OK.
    End,
    Fail(Arc<Failure>),
}

/// Who waits for what Python says.
pub enum Listener {
    Unary(oneshot::Sender<Answer>),
    Stream(mpsc::UnboundedSender<Order>),
}

/// What Python has said and nobody has been told yet, and all who wait.
#[derive(Default)]
pub struct Answers {
    outbox: Mutex<Vec<(CallId, Order)>>,
    ready: Notify,
    listeners: Mutex<HashMap<CallId, Listener>>,
    last_id: AtomicU64,
}

impl Answers {
    /// A number for a call, and who waits for what Python says of it.
    pub fn listen(&self, listener: Listener) -> CallId {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.listeners).insert(id, listener);
        id
    }

    /// Nobody waits any more; whether somebody did.
    pub fn forget(&self, id: CallId) -> bool {
        lock(&self.listeners).remove(&id).is_some()
    }

    /// Python says something; it is heard after `wake`.
    pub fn say(&self, id: CallId, order: Order) {
        lock(&self.outbox).push((id, order));
    }

    /// Python says all this.
    pub fn say_all(&self, said: impl Iterator<Item = (CallId, Order)>) {
        lock(&self.outbox).extend(said);
    }

    /// Tell who waits for this call, at once.
    pub fn tell(&self, id: CallId, order: Order) {
        pass(&mut lock(&self.listeners), id, order);
    }

    /// Have it heard.
    pub fn wake(&self) {
        self.ready.notify_one();
    }

    /// Tell those who wait, for ever.
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
        // Who has just left needs no answer.
        let _ = stream.send(order);
        if last {
            listener.remove();
        }
    } else if let Listener::Unary(call) = listener.remove() {
        let _ = match order {
            Order::Send { message, .. } => call.send(Answer::Message(message)),
            Order::Fail(failure) => call.send(Answer::Failure(failure)),
            // No answer: the call is reset.
            Order::Read | Order::End => Ok(()),
        };
    }
}
