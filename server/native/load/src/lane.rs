//! A running lane: which calls are due, which wait, and the results of the others.

use std::collections::VecDeque;

use crate::connection::Ended;
use crate::outcome::Outcome;
use crate::plan::{self, Call, Pace};
use crate::verdict::Ending;
use crate::workload::Workload;

/// Maximum number of unanswered calls; with more, the generator would measure itself.
const MOST_UNANSWERED: usize = 60_000;
/// How long a stream's caller holds back a call that flow control does not let through: a real caller would notice at
/// once.
const MOST_HELD_NS: u64 = 250_000_000;
const NS_PER_MS: u64 = 1_000_000;
/// Multiples of the golden ratio's fraction are evenly spread between integers.
const GOLDEN_SECTION: f64 = 0.618_033_988_749_895;

/// The time in which calls are counted, in ns since the start.
#[derive(Clone, Copy)]
pub struct Window {
    pub starts: u64,
    pub ends: u64,
}

impl Window {
    fn holds(self, moment: u64) -> bool {
        (self.starts..self.ends).contains(&moment)
    }
}

pub struct Lane {
    pub plan: plan::Lane,
    pub workload: Workload,
    pub outcome: Outcome,
    /// The token of the connection at each place; None while there is none.
    pub places: Vec<Option<usize>>,
    /// The place that gets the next call.
    pub turn: usize,
    window: Window,
    /// Number of calls that have become due.
    scheduled: u64,
    /// Due times of the calls that wait for a connection.
    waiting: VecDeque<u64>,
    unanswered: usize,
}

impl Lane {
    pub fn new(plan: plan::Lane, window: Window) -> Self {
        Self {
            workload: Workload::new(&plan),
            outcome: Outcome::new(&plan),
            places: vec![None; plan.connections],
            turn: 0,
            window,
            scheduled: 0,
            waiting: VecDeque::new(),
            unanswered: 0,
            plan,
        }
    }

    /// Calls in flight per connection in a closed loop; None in an open one.
    pub fn in_flight(&self) -> Option<usize> {
        match self.plan.pace {
            Pace::InFlight(count) => Some(count),
            Pace::PerSecond(_) => None,
        }
    }

    /// Calls due before this time have expired.
    pub fn expired_before(&self, now: u64) -> u64 {
        self.plan.deadline_ms.map_or(0, |ms| now.saturating_sub(u64::from(ms) * NS_PER_MS))
    }

    /// Calls due before this time are not sent any more.
    fn unsent_before(&self, now: u64) -> u64 {
        let expired = self.expired_before(now);
        let held = self.plan.deadline_ms.is_some() && self.plan.call == Call::Stream;
        if held { expired.max(now.saturating_sub(MOST_HELD_NS)) } else { expired }
    }

    /// The remaining time of a call, in whole ms, at least 1.
    pub fn timeout_ms(&self, due: u64, now: u64) -> Option<u64> {
        self.plan.deadline_ms.map(|ms| u64::from(ms).saturating_sub((now - due) / NS_PER_MS).max(1))
    }

    /// Queues the calls of an open loop that have become due, and drops those that have waited too long.
    pub fn fall_due(&mut self, now: u64) {
        let Pace::PerSecond(rate) = self.plan.pace else { return };
        loop {
            let place = (self.scheduled as f64 * GOLDEN_SECTION).fract();
            let due = ((self.scheduled as f64 + place) / rate * 1e9) as u64;
            if due > now || due >= self.window.ends {
                break;
            }
            self.scheduled += 1;
            if self.window.holds(due) {
                self.outcome.note_lag(now - due);
            }
            self.unanswered += 1;
            if self.unanswered > MOST_UNANSWERED {
                self.end((due, Some(Ending::Unsent)), now);
            } else {
                self.waiting.push_back(due);
            }
        }
        let before = self.unsent_before(now);
        while let Some(due) = self.waiting.pop_front_if(|due| *due < before) {
            self.end((due, Some(Ending::Unsent)), now);
        }
    }

    /// The due time of the next call to send. In a closed loop there always is one, due now.
    pub fn next(&mut self, now: u64) -> Option<u64> {
        match self.plan.pace {
            Pace::InFlight(_) => (now < self.window.ends).then_some(now),
            Pace::PerSecond(_) => self.waiting.pop_front(),
        }
    }

    /// Whether calls wait.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Records the end of a call. Calls of an open loop are counted by their due time, others by when they ended.
    pub fn end(&mut self, (due, ending): Ended, now: u64) {
        let is_open = matches!(self.plan.pace, Pace::PerSecond(_));
        let Some(ending) = ending else {
            if is_open {
                self.waiting.push_front(due);
            }
            return;
        };
        if is_open {
            self.unanswered -= 1;
        }
        if self.window.holds(if is_open { due } else { now }) {
            self.outcome.count(&ending, now - due);
        }
    }

    /// Whether there is nothing left to wait for.
    pub fn is_over(&self, now: u64) -> bool {
        now >= self.window.ends && self.unanswered == 0
    }

    /// When every call has expired.
    pub fn last_moment(&self) -> u64 {
        match self.plan.pace {
            Pace::InFlight(_) => self.window.ends,
            Pace::PerSecond(_) => self.window.ends + u64::from(self.plan.deadline_ms.unwrap_or(0)) * NS_PER_MS,
        }
    }
}
