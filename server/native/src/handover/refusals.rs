//! Calls that are refused before Python sees them: it has said how, and is told how many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::handover::answers::{Answers, Failure, Order};
use crate::handover::arrivals::Arrivals;
use crate::handover::call::UnaryCall;
use crate::handover::waiting::{Impatience, Turn};
use crate::locks::lock;

/// What was refused: the method, whose call, and why.
pub type Refused = (usize, Turn, Impatience);

/// How calls are refused, and how many were.
pub struct Refusals {
    /// One after the other, so that their callers come back one after the other.
    failures: Vec<Arc<Failure>>,
    used: AtomicUsize,
    counts: Mutex<HashMap<Refused, u64>>,
}

impl Refusals {
    pub fn new(failures: Vec<Arc<Failure>>) -> Self {
        Self { failures, used: AtomicUsize::new(0), counts: Mutex::default() }
    }

    /// Refuse a call.
    pub fn refuse(&self, (turn, call): (Turn, UnaryCall), why: Impatience, answers: &Answers) {
        let number = self.used.fetch_add(1, Ordering::Relaxed) % self.failures.len().max(1);
        if let Some(failure) = self.failures.get(number) {
            answers.tell(call.id, Order::Fail(Arc::clone(failure)));
        }
        *lock(&self.counts).entry((call.method, turn, why)).or_default() += 1;
    }

    /// Refuse who has waited too long, for ever.
    pub async fn refuse_late(&self, arrivals: &Arrivals, answers: &Answers) {
        loop {
            for late in arrivals.late().await {
                self.refuse(late, Impatience::Waited, answers);
            }
        }
    }

    /// How many were refused since this was asked last.
    pub fn take(&self) -> HashMap<Refused, u64> {
        std::mem::take(&mut *lock(&self.counts))
    }
}
