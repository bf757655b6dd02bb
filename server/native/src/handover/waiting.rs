//! The queues of unary calls that wait for their turn (docs/adr/0018-admission.md). Members take turns, weighted by
//! what their calls cost (docs/adr/0031-turns-by-cost.md). Calls whose tokens are not known share one queue, so that
//! inventing tokens gains no turns.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::handover::call::{CallId, UnaryCall};

/// Limit on the size of all waiting messages; beyond it, the newest call of the queue with the most bytes is refused.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// A call's cost beside its message, in bytes of message.
const CALL_COST: u64 = 1024;
/// A queue shorter than this is not the cause when no calls are taken.
const FEW: usize = 8;
/// Python takes calls every 20 ms while any wait; if it has not for this long, it has stalled.
const STANDSTILL: Duration = Duration::from_millis(100);
/// With this many calls waiting, new ones will not be answered soon.
const CROWD: usize = 256;

/// The key of a queue: a member, or None for all callers that are not known.
pub type Turn = Option<u64>;

/// How much room there is for calls; set by Python.
pub struct Room {
    pub free: usize,
    /// The part reserved for members that have no calls running.
    pub kept: usize,
    /// The members that have calls running.
    pub running: HashSet<u64>,
    /// Whether further calls of these members, and of callers that are not known, wait until the running ones have
    /// ended, in order to start together.
    pub wait: bool,
}

/// How much room calls take; set by Python.
pub struct Prices {
    /// Price of a call, unless it is a small one of a known caller that is carried out together with others: those take
    /// 1.
    pub call: usize,
    /// Additional price of a turn's first call.
    pub first_more: usize,
    /// Messages up to this size are small.
    pub small_bytes: usize,
    /// A call's price is multiplied by 1 plus its size in units of this many bytes.
    pub place_bytes: usize,
    /// Maximum price of a call.
    pub most: usize,
    /// How much the calls of one turn may take in a row before the next turn.
    pub turn: usize,
}

impl Prices {
    fn of(&self, call: &UnaryCall) -> usize {
        let Ok(message) = &call.message else { return self.call };
        if call.gathered && call.known && message.len() <= self.small_bytes {
            return 1;
        }
        (self.call * (1 + message.len() / self.place_bytes.max(1))).min(self.most)
    }
}

struct Waiter {
    call: UnaryCall,
    until: Instant,
    /// When it began to wait, and behind how many.
    since: Instant,
    ahead: usize,
}

impl Waiter {
    fn bytes(&self) -> usize {
        self.call.message.as_ref().map_or(0, bytes::Bytes::len)
    }

    fn cost(&self) -> u64 {
        CALL_COST + self.bytes() as u64
    }
}

/// A queue's position: the virtual time at which its next call may start; whether it has been served lately, which puts
/// it behind others with the same start; and a counter that breaks ties.
type Place = (u64, bool, u64);

/// The waiting calls of one turn.
struct Queue {
    waiters: VecDeque<Waiter>,
    /// Total size of their messages.
    bytes: usize,
    place: Place,
}

/// All waiting calls: start-time fair queueing (Goyal, Vin and Cheng, 1996). Virtual time is the cost that a turn has
/// been served; the turn that has been served least is next.
pub struct Waiting {
    most_calls: usize,
    queues: HashMap<Turn, Queue>,
    /// The queues, ordered by position.
    places: BTreeMap<Place, Turn>,
    /// How many positions have been assigned.
    given: u64,
    /// Start times of queues that have become empty, as far as they lie in the future of virtual time.
    ended: HashMap<Turn, u64>,
    /// The virtual time: the start of the call that was taken last.
    time: u64,
    calls: usize,
    bytes: usize,
}

impl Waiting {
    pub fn new(most_calls: usize) -> Self {
        let (queues, places, ended) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Self { most_calls, queues, places, given: 0, ended, time: 0, calls: 0, bytes: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.calls == 0
    }

    pub fn len(&self) -> usize {
        self.calls
    }

    pub fn is_crowded(&self) -> bool {
        self.calls >= CROWD
    }

    /// Adds a call, which may wait until `until`; returns the call to refuse if too many wait.
    pub fn add(&mut self, turn: Turn, call: UnaryCall, until: Instant) -> Option<(Turn, UnaryCall)> {
        let ahead = self.queues.get(&turn).map_or(0, |queue| queue.waiters.len());
        let waiter = Waiter { call, until, since: Instant::now(), ahead };
        self.calls += 1;
        let bytes = waiter.bytes();
        self.bytes += bytes;
        if let Some(queue) = self.queues.get_mut(&turn) {
            queue.bytes += bytes;
            queue.waiters.push_back(waiter);
        } else {
            // A queue whose start has passed may be waiting for room; a new queue must not start later than it.
            let least = self.places.first_key_value().map_or(self.time, |((start, ..), _)| self.time.min(*start));
            let begins = self.ended.remove(&turn).filter(|begins| *begins >= least);
            let place = self.place(turn, begins.unwrap_or(least), begins.is_some());
            self.queues.insert(turn, Queue { waiters: VecDeque::from([waiter]), bytes, place });
        }
        if self.calls <= self.most_calls && self.bytes <= MOST_BYTES {
            return None;
        }
        let too_many = self.calls > self.most_calls;
        let length = |turn: &Turn| match self.queues.get(turn) {
            Some(queue) if too_many => queue.waiters.len(),
            Some(queue) => queue.bytes,
            None => 0,
        };
        // Of equally long queues, the one of the new call: that is the newest.
        let longest = self.places.values().copied().filter(|other| *other != turn).max_by_key(length);
        let longest = longest.filter(|other| length(other) > length(&turn)).unwrap_or(turn);
        let newest = self.queues.get_mut(&longest)?.waiters.pop_back()?;
        self.took(longest, &newest);
        Some((longest, newest.call))
    }

    /// Whether a call that begins to wait now would wait beyond `until`, if the queue of its turn goes on as fast as it
    /// did for its oldest call. Nobody knows that of a short queue, nor while Python stalls.
    pub fn is_in_vain(&self, turn: Turn, until: Instant, now: Instant, looked: Instant) -> bool {
        let Some(queue) = self.queues.get(&turn) else { return false };
        let Some(oldest) = queue.waiters.front() else { return false };
        let waited = now.saturating_duration_since(oldest.since).as_nanos();
        let left = until.saturating_duration_since(now).as_nanos();
        let moves = now.saturating_duration_since(looked) < STANDSTILL;
        moves && oldest.ahead >= FEW && waited * queue.waiters.len() as u128 > left * oldest.ahead as u128
    }

    /// Takes the calls whose turn it is, as long as there is room.
    pub fn take(&mut self, room: &Room, prices: &Prices) -> Vec<UnaryCall> {
        let (mut calls, mut turns, mut taken) = (Vec::new(), HashSet::new(), 0);
        let shared = room.free.saturating_sub(room.kept);
        loop {
            let room_for = |turn: &Turn| {
                let runs = turn.map_or(!room.running.is_empty(), |member| room.running.contains(&member));
                match runs {
                    true if room.wait => 0,
                    false if !turns.contains(turn) => room.free,
                    _ => shared,
                }
            };
            let Some(turn) = self.next(|turn| taken < room_for(turn)) else { return calls };
            if turns.insert(turn) {
                taken += prices.first_more;
            }
            let mut in_a_row = 0;
            while let Some(call) = self.first_of(turn) {
                in_a_row += prices.of(&call);
                calls.push(call);
                let full = taken + in_a_row >= shared && !self.goes_along(turn, prices);
                if full || in_a_row >= prices.turn {
                    break;
                }
            }
            taken += in_a_row;
        }
    }

    /// The next turn among those that may begin.
    fn next(&mut self, may_begin: impl Fn(&Turn) -> bool) -> Option<Turn> {
        let ((start, ..), turn) = self.places.iter().find(|(_, turn)| may_begin(turn))?;
        self.time = *start;
        Some(*turn)
    }

    /// Whether a turn's next call is taken with the last one although there is no room left: beside the first call of a
    /// turn, one more that is carried out together with it costs little, unless it is large.
    fn goes_along(&self, turn: Turn, prices: &Prices) -> bool {
        let next = self.queues.get(&turn).and_then(|queue| queue.waiters.front());
        next.is_some_and(|Waiter { call, .. }| call.gathered && call.known && prices.of(call) <= prices.call)
    }

    /// Takes the oldest call of a turn.
    fn first_of(&mut self, turn: Turn) -> Option<UnaryCall> {
        let queue = self.queues.get_mut(&turn)?;
        let waiter = queue.waiters.pop_front()?;
        let (start, ..) = queue.place;
        self.places.remove(&queue.place);
        let place = self.place(turn, start + waiter.cost(), true);
        self.queues.get_mut(&turn)?.place = place;
        self.took(turn, &waiter);
        Some(waiter.call)
    }

    /// Assigns a position to a turn's queue.
    fn place(&mut self, turn: Turn, start: u64, has_had_turns: bool) -> Place {
        self.given += 1;
        let place = (start, has_had_turns, self.given);
        self.places.insert(place, turn);
        place
    }

    /// Takes the calls that have waited too long. `looked` is when Python last took calls: while it stalls, refusing
    /// calls would not bring others their turn sooner, so short queues are judged as of then.
    pub fn late(&mut self, now: Instant, looked: Instant) -> Vec<(Turn, UnaryCall)> {
        let mut late = Vec::new();
        let moves = now.saturating_duration_since(looked) < STANDSTILL;
        for turn in self.places.values().copied().collect::<Vec<_>>() {
            let Some(queue) = self.queues.get_mut(&turn) else { continue };
            let at = if moves || queue.waiters.len() >= FEW { now } else { looked };
            late.extend(self.take_out(turn, |waiter| waiter.until <= at).into_iter().map(|call| (turn, call)));
        }
        late
    }

    /// Takes all calls of a member to a method.
    pub fn withdraw(&mut self, member: u64, method: usize) -> Vec<UnaryCall> {
        self.take_out(Some(member), |waiter| waiter.call.method == method)
    }

    /// Takes those calls of a turn that `goes` is true of.
    fn take_out(&mut self, turn: Turn, goes: impl Fn(&Waiter) -> bool) -> Vec<UnaryCall> {
        let Some(queue) = self.queues.get_mut(&turn) else { return Vec::new() };
        let (gone, left): (VecDeque<_>, _) = std::mem::take(&mut queue.waiters).into_iter().partition(goes);
        queue.waiters = left;
        for waiter in &gone {
            self.took(turn, waiter);
        }
        gone.into_iter().map(|waiter| waiter.call).collect()
    }

    /// Withdraws a call whose caller has gone; returns whether it was waiting.
    pub fn forget(&mut self, turn: Turn, id: CallId) -> bool {
        let Some(queue) = self.queues.get_mut(&turn) else { return false };
        let Some(place) = queue.waiters.iter().position(|waiter| waiter.call.id == id) else { return false };
        let Some(waiter) = queue.waiters.remove(place) else { return false };
        self.took(turn, &waiter);
        true
    }

    /// Updates the totals after a call has left its queue, and removes the queue when it is empty. Once no calls wait
    /// at all, past service is forgotten.
    fn took(&mut self, turn: Turn, waiter: &Waiter) {
        self.calls -= 1;
        self.bytes -= waiter.bytes();
        if let Some(queue) = self.queues.get_mut(&turn) {
            queue.bytes -= waiter.bytes();
            if queue.waiters.is_empty() {
                let place = queue.place;
                self.queues.remove(&turn);
                self.places.remove(&place);
                self.ended.insert(turn, place.0);
            }
        }
        if self.calls == 0 {
            self.ended.clear();
        } else if self.ended.len() > self.most_calls {
            let time = self.time;
            self.ended.retain(|_, start| *start >= time);
        }
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
