//! Unary calls that wait for their turn (docs/adr/0018-admission.md). Members take turns; whose a call is, Python has
//! taught. Those whose tokens are not known have one queue together, so that nobody gets turns by making tokens up.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::arrivals::{CallId, UnaryCall};

/// What the messages of the calls that wait may have in memory; past it, the newest of the longest queue is refused.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Tokens whose members are known; past it, all are forgotten, and taught again.
const MOST_TOKENS: usize = 20_000;
/// A longer one is none of ours.
const TOKEN_BYTES: usize = 256;
/// How long it counts what was taught of a token.
const KNOWN: Duration = Duration::from_secs(30);

/// Whose queue: a member's, or that of all who are not known.
pub type Turn = Option<u64>;

/// Why a call was refused without being handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Impatience {
    /// Its turn did not come in time.
    Waited,
    /// There was no room to wait in.
    Full,
}

/// How calls wait: Python says so.
#[derive(Clone, Copy)]
pub struct Patience {
    /// For this share of the time that they have.
    pub share: f64,
    /// And at most so long.
    pub most: Duration,
}

impl Patience {
    /// How long a call waits for its turn that has so many seconds in all.
    pub fn of(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds * self.share).map_or(self.most, |share| share.min(self.most))
    }
}

/// Whose tokens are whose.
#[derive(Default)]
pub struct Tokens(HashMap<Box<[u8]>, (Who, Instant)>);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// An account of this member.
    Member(u64),
    /// Who needs no turn.
    Admin,
}

impl Tokens {
    /// This token is theirs.
    pub fn learn(&mut self, token: &[u8], who: Who, now: Instant) {
        if token.len() > TOKEN_BYTES {
            return;
        }
        if self.0.len() >= MOST_TOKENS {
            self.0.clear();
        }
        self.0.insert(token.into(), (who, now));
    }

    /// Whose it is, where that was taught lately.
    pub fn find(&self, token: &[u8], now: Instant) -> Option<Who> {
        let (who, since) = self.0.get(token)?;
        (now.saturating_duration_since(*since) < KNOWN).then_some(*who)
    }
}

struct Waiter {
    call: UnaryCall,
    until: Instant,
}

impl Waiter {
    fn bytes(&self) -> usize {
        self.call.message.as_ref().map_or(0, bytes::Bytes::len)
    }
}

/// The calls that wait, by whose turn they wait for.
pub struct Waiting {
    most_calls: usize,
    queues: HashMap<Turn, VecDeque<Waiter>>,
    /// Those who have calls, the next one first.
    turns: VecDeque<Turn>,
    calls: usize,
    bytes: usize,
}

impl Waiting {
    pub fn new(most_calls: usize) -> Self {
        Self { most_calls, queues: HashMap::new(), turns: VecDeque::new(), calls: 0, bytes: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.calls == 0
    }

    /// A call waits until then; returns the one to refuse, where there is no room for both.
    pub fn add(&mut self, turn: Turn, call: UnaryCall, until: Instant) -> Option<(Turn, UnaryCall)> {
        let waiter = Waiter { call, until };
        self.calls += 1;
        self.bytes += waiter.bytes();
        let queue = self.queues.entry(turn).or_default();
        if queue.is_empty() {
            self.turns.push_back(turn);
        }
        queue.push_back(waiter);
        if self.calls <= self.most_calls && self.bytes <= MOST_BYTES {
            return None;
        }
        let length = |turn: &Turn| self.queues.get(turn).map_or(0, VecDeque::len);
        // Of equals the one that has just come: it is the newest.
        let longest = self.turns.iter().copied().filter(|other| *other != turn).max_by_key(length);
        let longest = longest.filter(|other| length(other) > length(&turn)).unwrap_or(turn);
        let newest = self.queues.get_mut(&longest)?.pop_back()?;
        self.took(longest, &newest);
        Some((longest, newest.call))
    }

    /// The call whose turn it is.
    pub fn next(&mut self) -> Option<UnaryCall> {
        let turn = self.turns.pop_front()?;
        self.turns.push_back(turn);
        let waiter = self.queues.get_mut(&turn)?.pop_front()?;
        self.took(turn, &waiter);
        Some(waiter.call)
    }

    /// The calls that have waited too long.
    pub fn late(&mut self, now: Instant) -> Vec<(Turn, UnaryCall)> {
        let mut late = Vec::new();
        for turn in self.turns.clone() {
            let Some(queue) = self.queues.get_mut(&turn) else { continue };
            let (gone, left) = std::mem::take(queue).into_iter().partition(|waiter| waiter.until <= now);
            *queue = left;
            let gone: VecDeque<Waiter> = gone;
            for waiter in gone {
                self.took(turn, &waiter);
                late.push((turn, waiter.call));
            }
        }
        late
    }

    /// A call's caller has left; whether it waited.
    pub fn forget(&mut self, turn: Turn, id: CallId) -> bool {
        let Some(queue) = self.queues.get_mut(&turn) else { return false };
        let Some(place) = queue.iter().position(|waiter| waiter.call.id == id) else { return false };
        let Some(waiter) = queue.remove(place) else { return false };
        self.took(turn, &waiter);
        true
    }

    /// A queue is there as long as somebody waits in it.
    fn took(&mut self, turn: Turn, waiter: &Waiter) {
        self.calls -= 1;
        self.bytes -= waiter.bytes();
        if self.queues.get(&turn).is_some_and(VecDeque::is_empty) {
            self.queues.remove(&turn);
            self.turns.retain(|other| *other != turn);
        }
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
