//! Refusal of calls that Python never sees, with answers that Python prepared; Python gets the counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::handover::answers::{Answers, Failure, Order};
use crate::handover::arrivals::Arrivals;
use crate::handover::call::UnaryCall;
use crate::handover::waiting::{Impatience, Turn};
use crate::locks::lock;

/// What is counted: method, turn and reason.
pub type Refused = (usize, Turn, Impatience);

/// The prepared answers, and counts of the calls refused.
pub struct Refusals {
    /// Used in rotation; they differ in `Retry-After`, so that callers do not all come back at once.
    failures: Vec<Arc<Failure>>,
    used: AtomicUsize,
    counts: Mutex<HashMap<Refused, u64>>,
}

impl Refusals {
    pub fn new(failures: Vec<Arc<Failure>>) -> Self {
        Self { failures, used: AtomicUsize::new(0), counts: Mutex::default() }
    }

    /// Refuses a call.
    pub fn refuse(&self, (turn, call): (Turn, UnaryCall), why: Impatience, answers: &Answers) {
        if let Some(failure) = self.next((call.method, turn, why)) {
            answers.tell(call.id, Order::Fail(failure));
        }
    }

    /// Counts a refusal; returns its answer. None: there are none.
    pub fn next(&self, refused: Refused) -> Option<Arc<Failure>> {
        *lock(&self.counts).entry(refused).or_default() += 1;
        let number = self.used.fetch_add(1, Ordering::Relaxed) % self.failures.len().max(1);
        self.failures.get(number).map(Arc::clone)
    }

    /// Refuses calls that have waited too long, for ever.
    pub async fn refuse_late(&self, arrivals: &Arrivals, answers: &Answers) {
        loop {
            for late in arrivals.late().await {
                self.refuse(late, Impatience::Waited, answers);
            }
        }
    }

    /// How many calls were refused since the last call of this.
    pub fn take(&self) -> HashMap<Refused, u64> {
        std::mem::take(&mut *lock(&self.counts))
    }
}
