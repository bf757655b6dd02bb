//! Unary calls that wait for their turn (docs/adr/0018-admission.md). Members take turns, by what their calls cost
//! (docs/adr/0031-turns-by-cost.md); whose a call is, Python has taught. Those whose tokens are not known have one queue
//! together, so that nobody gets turns by making tokens up.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::handover::call::{CallId, UnaryCall};

/// What the messages of the calls that wait may have in memory; past it, the newest of the queue that has
/// most of them is refused.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// What a call costs beside its message, in bytes of messages that would cost as much.
const CALL_COST: u64 = 1024;
/// A turn with less calls than this is not to blame when nobody takes any.
const FEW: usize = 8;
/// Python looks every 20 ms who may begin, as long as calls wait: where it has not for so long, it stands still.
const STANDSTILL: Duration = Duration::from_millis(100);
/// How many waiting calls are a crowd: none that comes now is answered soon.
const CROWD: usize = 256;

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

/// How much room there is for calls: Python says so.
pub struct Room {
    pub free: usize,
    /// How much of it is for members that have no call running.
    pub kept: usize,
    /// The members that have calls running.
    pub running: HashSet<u64>,
    /// Whether the calls of these, and of all who are not known, wait until those that run have ended, to begin
    /// together then.
    pub wait: bool,
}

/// How much room calls take: Python says so.
pub struct Prices {
    /// Any but the small ones of known callers that are carried out together: those take 1.
    pub call: usize,
    /// A turn's first call, beyond its own.
    pub first_more: usize,
    /// Messages up to this size are small.
    pub small_bytes: usize,
    /// For each so many bytes of its message, a call takes as much again.
    pub place_bytes: usize,
    /// What it takes at most.
    pub most: usize,
    /// What the calls of a turn take in a row, before others have theirs.
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
}

impl Waiter {
    fn bytes(&self) -> usize {
        self.call.message.as_ref().map_or(0, bytes::Bytes::len)
    }

    fn cost(&self) -> u64 {
        CALL_COST + self.bytes() as u64
    }
}

/// When a queue's first call may begin, in virtual time; whether it has had its turns as others have, and not come back;
/// and which of equals came to that first.
type Place = (u64, bool, u64);

/// The calls of one turn that wait.
struct Queue {
    waiters: VecDeque<Waiter>,
    /// How long their messages are together.
    bytes: usize,
    place: Place,
}

/// The calls that wait, by whose turn they wait for: start-time fair queueing (Goyal, Vin and Cheng, 1996). Virtual time
/// is the cost that each turn has been served while it had calls; whoever has been served least is next.
pub struct Waiting {
    most_calls: usize,
    queues: HashMap<Turn, Queue>,
    /// The turn of each place that a queue has.
    places: BTreeMap<Place, Turn>,
    /// How many places were given.
    given: u64,
    /// When those begin again that had calls lately, where that is not past in virtual time.
    ended: HashMap<Turn, u64>,
    /// The virtual time: where the call began that was taken last.
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

    /// A call waits until then; returns the one to refuse, where there is no room for both.
    pub fn add(&mut self, turn: Turn, call: UnaryCall, until: Instant) -> Option<(Turn, UnaryCall)> {
        let waiter = Waiter { call, until };
        self.calls += 1;
        let bytes = waiter.bytes();
        self.bytes += bytes;
        if let Some(queue) = self.queues.get_mut(&turn) {
            queue.bytes += bytes;
            queue.waiters.push_back(waiter);
        } else {
            // One whose start is past may wait for room: nobody is served less than it.
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
        // Of equals the one that has just come: it is the newest.
        let longest = self.places.values().copied().filter(|other| *other != turn).max_by_key(length);
        let longest = longest.filter(|other| length(other) > length(&turn)).unwrap_or(turn);
        let newest = self.queues.get_mut(&longest)?.waiters.pop_back()?;
        self.took(longest, &newest);
        Some((longest, newest.call))
    }

    /// The calls whose turn it is, as long as there is room for them.
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

    /// Whose turn it is, of those that may begin.
    fn next(&mut self, may_begin: impl Fn(&Turn) -> bool) -> Option<Turn> {
        let ((start, ..), turn) = self.places.iter().find(|(_, turn)| may_begin(turn))?;
        self.time = *start;
        Some(*turn)
    }

    /// Whether the next call of this turn begins with the last one, where there is room no more: one that is carried out
    /// together with others costs little beside what its turn's first has cost, unless it is large.
    fn goes_along(&self, turn: Turn, prices: &Prices) -> bool {
        let next = self.queues.get(&turn).and_then(|queue| queue.waiters.front());
        next.is_some_and(|Waiter { call, .. }| call.gathered && call.known && prices.of(call) <= prices.call)
    }

    /// The call that has waited longest for this turn.
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

    /// The next call of this turn may begin then.
    fn place(&mut self, turn: Turn, start: u64, has_had_turns: bool) -> Place {
        self.given += 1;
        let place = (start, has_had_turns, self.given);
        self.places.insert(place, turn);
        place
    }

    /// The calls that have waited too long, where Python has looked last at `looked`. While it stands still, nobody's
    /// refusal would bring others their turn sooner: those with few calls are judged as they were then.
    pub fn late(&mut self, now: Instant, looked: Instant) -> Vec<(Turn, UnaryCall)> {
        let mut late = Vec::new();
        let moves = now.saturating_duration_since(looked) < STANDSTILL;
        for turn in self.places.values().copied().collect::<Vec<_>>() {
            let Some(queue) = self.queues.get_mut(&turn) else { continue };
            let at = if moves || queue.waiters.len() >= FEW { now } else { looked };
            let (gone, left): (VecDeque<_>, _) =
                std::mem::take(&mut queue.waiters).into_iter().partition(|waiter| waiter.until <= at);
            queue.waiters = left;
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
        let Some(place) = queue.waiters.iter().position(|waiter| waiter.call.id == id) else { return false };
        let Some(waiter) = queue.waiters.remove(place) else { return false };
        self.took(turn, &waiter);
        true
    }

    /// A queue is there as long as somebody waits in it. Where nobody waits at all, nobody has been served more.
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
