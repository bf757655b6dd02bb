//! A lane under way: which calls are due, which wait, and what has become of the others.

use std::collections::VecDeque;

use crate::connection::Ended;
use crate::outcome::Outcome;
use crate::plan::{self, Call, Pace};
use crate::verdict::Ending;
use crate::workload::Workload;

/// Calls that are not answered, at most; past it, the generator would measure itself.
const MOST_UNANSWERED: usize = 60_000;
/// How long a stream's caller keeps a call that the stream takes no more: flow control has told it at once.
const MOST_HELD_NS: u64 = 250_000_000;
const NS_PER_MS: u64 = 1_000_000;
/// Its multiples fall everywhere between whole numbers.
const GOLDEN_SECTION: f64 = 0.618_033_988_749_895;

/// When calls count, in ns since the generator began.
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
    /// Its connections, each on its place; None while there is none.
    pub places: Vec<Option<usize>>,
    /// The place that gets the next call.
    pub turn: usize,
    window: Window,
    /// Calls that were due so far.
    scheduled: u64,
    /// When calls were due that wait for a connection with room.
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

    /// How many calls a connection has under way in a closed loop.
    pub fn in_flight(&self) -> Option<usize> {
        match self.plan.pace {
            Pace::InFlight(count) => Some(count),
            Pace::PerSecond(_) => None,
        }
    }

    /// The moment before which calls were due whose time is over now.
    pub fn expired_before(&self, now: u64) -> u64 {
        self.plan.deadline_ms.map_or(0, |ms| now.saturating_sub(u64::from(ms) * NS_PER_MS))
    }

    /// The moment before which calls were due that are not to be sent any more.
    fn unsent_before(&self, now: u64) -> u64 {
        let expired = self.expired_before(now);
        let held = self.plan.deadline_ms.is_some() && self.plan.call == Call::Stream;
        if held { expired.max(now.saturating_sub(MOST_HELD_NS)) } else { expired }
    }

    /// What is left of the time of a call, in whole ms.
    pub fn timeout_ms(&self, due: u64, now: u64) -> Option<u64> {
        self.plan.deadline_ms.map(|ms| u64::from(ms).saturating_sub((now - due) / NS_PER_MS).max(1))
    }

    /// Note the calls of an open loop that have become due, and give up those that have waited too long.
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

    /// When the next call was due that waits; in a closed loop, one always is.
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

    /// Take a call that has ended. Calls of an open loop count by when they were due, the others by when they ended.
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

    /// Whether nothing is to be waited for any more.
    pub fn is_over(&self, now: u64) -> bool {
        now >= self.window.ends && self.unanswered == 0
    }

    /// The moment at which every call's time is over.
    pub fn last_moment(&self) -> u64 {
        match self.plan.pace {
            Pace::InFlight(_) => self.window.ends,
            Pace::PerSecond(_) => self.window.ends + u64::from(self.plan.deadline_ms.unwrap_or(0)) * NS_PER_MS,
        }
    }
}
