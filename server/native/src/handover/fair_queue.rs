//! The fair queue of unary calls that wait for capacity (docs/adr/0018-admission.md). Members are served alternately,
//! weighted by what their calls cost (docs/adr/0031-turns-by-cost.md). Calls whose tokens are not known share one
//! queue, so that inventing tokens gains no capacity.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::handover::arrivals::{CallId, UnaryCall};

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
pub type QueueKey = Option<u64>;

/// The capacity for calls; set by Python.
pub struct Capacity {
    pub free: usize,
    /// The part reserved for members that have no calls running.
    pub kept: usize,
    /// The members that have calls running.
    pub running: HashSet<u64>,
    /// Whether further calls of these members, and of callers that are not known, wait until the running ones have
    /// ended, in order to start together.
    pub wait: bool,
}

/// How much capacity calls take; set by Python.
pub struct Prices {
    /// Price of a call, unless it is a small one of a known caller that is carried out together with others: those take
    /// 1.
    pub call: usize,
    /// Additional price of the first call of a queue that is served.
    pub first_more: usize,
    /// Messages up to this size are small.
    pub small_bytes: usize,
    /// A call's price is multiplied by 1 plus its size in units of this many bytes.
    pub place_bytes: usize,
    /// Maximum price of a call.
    pub most: usize,
    /// How much the calls of one queue may take in a row before the next queue is served (its quantum).
    pub quantum: usize,
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

/// The waiting calls of one member.
struct Queue {
    waiters: VecDeque<Waiter>,
    /// Total size of their messages.
    bytes: usize,
    place: Place,
}

/// All waiting calls: start-time fair queueing (Goyal, Vin and Cheng, 1996). Virtual time is the cost that a member has
/// been served; the one that has been served least is next.
pub struct FairQueue {
    most_calls: usize,
    queues: HashMap<QueueKey, Queue>,
    /// The queues, ordered by position.
    places: BTreeMap<Place, QueueKey>,
    /// How many positions have been assigned.
    given: u64,
    /// Start times of queues that have become empty, as far as they lie in the future of virtual time.
    ended: HashMap<QueueKey, u64>,
    /// The virtual time: the start of the call that was taken last.
    time: u64,
    calls: usize,
    bytes: usize,
}

impl FairQueue {
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
    pub fn add(&mut self, key: QueueKey, call: UnaryCall, until: Instant) -> Option<(QueueKey, UnaryCall)> {
        let ahead = self.queues.get(&key).map_or(0, |queue| queue.waiters.len());
        let waiter = Waiter { call, until, since: Instant::now(), ahead };
        self.calls += 1;
        let bytes = waiter.bytes();
        self.bytes += bytes;
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.bytes += bytes;
            queue.waiters.push_back(waiter);
        } else {
            // A queue whose start has passed may be waiting for capacity; a new queue must not start later than it.
            let least = self.places.first_key_value().map_or(self.time, |((start, ..), _)| self.time.min(*start));
            let begins = self.ended.remove(&key).filter(|begins| *begins >= least);
            let place = self.place(key, begins.unwrap_or(least), begins.is_some());
            self.queues.insert(key, Queue { waiters: VecDeque::from([waiter]), bytes, place });
        }
        if self.calls <= self.most_calls && self.bytes <= MOST_BYTES {
            return None;
        }
        let too_many = self.calls > self.most_calls;
        let length = |key: &QueueKey| match self.queues.get(key) {
            Some(queue) if too_many => queue.waiters.len(),
            Some(queue) => queue.bytes,
            None => 0,
        };
        // Of equally long queues, the one of the new call: that is the newest.
        let longest = self.places.values().copied().filter(|other| *other != key).max_by_key(length);
        let longest = longest.filter(|other| length(other) > length(&key)).unwrap_or(key);
        let newest = self.queues.get_mut(&longest)?.waiters.pop_back()?;
        self.took(longest, &newest);
        Some((longest, newest.call))
    }

    /// Whether a call that begins to wait now would wait beyond `until`, if its queue goes on as fast as it
    /// did for its oldest call. Nobody knows that of a short queue, nor while Python stalls.
    pub fn is_in_vain(&self, key: QueueKey, until: Instant, now: Instant, looked: Instant) -> bool {
        let Some(queue) = self.queues.get(&key) else { return false };
        let Some(oldest) = queue.waiters.front() else { return false };
        let waited = now.saturating_duration_since(oldest.since).as_nanos();
        let left = until.saturating_duration_since(now).as_nanos();
        let moves = now.saturating_duration_since(looked) < STANDSTILL;
        moves && oldest.ahead >= FEW && waited * queue.waiters.len() as u128 > left * oldest.ahead as u128
    }

    /// Takes calls in fair order, as long as there is capacity.
    pub fn take(&mut self, capacity: &Capacity, prices: &Prices) -> Vec<UnaryCall> {
        let (mut calls, mut keys, mut taken) = (Vec::new(), HashSet::new(), 0);
        let shared = capacity.free.saturating_sub(capacity.kept);
        loop {
            let capacity_for = |key: &QueueKey| {
                let runs = key.map_or(!capacity.running.is_empty(), |member| capacity.running.contains(&member));
                match runs {
                    true if capacity.wait => 0,
                    false if !keys.contains(key) => capacity.free,
                    _ => shared,
                }
            };
            let Some(key) = self.next(|key| taken < capacity_for(key)) else { return calls };
            if keys.insert(key) {
                taken += prices.first_more;
            }
            let mut in_a_row = 0;
            while let Some(call) = self.first_of(key) {
                in_a_row += prices.of(&call);
                calls.push(call);
                let full = taken + in_a_row >= shared && !self.goes_along(key, prices);
                if full || in_a_row >= prices.quantum {
                    break;
                }
            }
            taken += in_a_row;
        }
    }

    /// The next queue among those that may be served.
    fn next(&mut self, may_begin: impl Fn(&QueueKey) -> bool) -> Option<QueueKey> {
        let ((start, ..), key) = self.places.iter().find(|(_, key)| may_begin(key))?;
        self.time = *start;
        Some(*key)
    }

    /// Whether a queue's next call is taken with the last one although there is no capacity left: beside the first call
    /// of a queue, one more that is carried out together with it costs little, unless it is large.
    fn goes_along(&self, key: QueueKey, prices: &Prices) -> bool {
        let next = self.queues.get(&key).and_then(|queue| queue.waiters.front());
        next.is_some_and(|Waiter { call, .. }| call.gathered && call.known && prices.of(call) <= prices.call)
    }

    /// Takes the oldest call of a queue.
    fn first_of(&mut self, key: QueueKey) -> Option<UnaryCall> {
        let queue = self.queues.get_mut(&key)?;
        let waiter = queue.waiters.pop_front()?;
        let (start, ..) = queue.place;
        self.places.remove(&queue.place);
        let place = self.place(key, start + waiter.cost(), true);
        self.queues.get_mut(&key)?.place = place;
        self.took(key, &waiter);
        Some(waiter.call)
    }

    /// Assigns a position to a queue.
    fn place(&mut self, key: QueueKey, start: u64, was_served: bool) -> Place {
        self.given += 1;
        let place = (start, was_served, self.given);
        self.places.insert(place, key);
        place
    }

    /// Takes the calls that have waited too long. `looked` is when Python last took calls: while it stalls, refusing
    /// calls would not serve others sooner, so short queues are judged as of then.
    pub fn late(&mut self, now: Instant, looked: Instant) -> Vec<(QueueKey, UnaryCall)> {
        let mut late = Vec::new();
        let moves = now.saturating_duration_since(looked) < STANDSTILL;
        for key in self.places.values().copied().collect::<Vec<_>>() {
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            let at = if moves || queue.waiters.len() >= FEW { now } else { looked };
            late.extend(self.take_out(key, |waiter| waiter.until <= at).into_iter().map(|call| (key, call)));
        }
        late
    }

    /// Takes all calls of a member to a method.
    pub fn withdraw(&mut self, member: u64, method: usize) -> Vec<UnaryCall> {
        self.take_out(Some(member), |waiter| waiter.call.method == method)
    }

    /// Takes those calls of a queue that `goes` is true of.
    fn take_out(&mut self, key: QueueKey, goes: impl Fn(&Waiter) -> bool) -> Vec<UnaryCall> {
        let Some(queue) = self.queues.get_mut(&key) else { return Vec::new() };
        let (gone, left): (VecDeque<_>, _) = std::mem::take(&mut queue.waiters).into_iter().partition(goes);
        queue.waiters = left;
        for waiter in &gone {
            self.took(key, waiter);
        }
        gone.into_iter().map(|waiter| waiter.call).collect()
    }

    /// Withdraws a call whose caller has gone; returns whether it was waiting.
    pub fn forget(&mut self, key: QueueKey, id: CallId) -> bool {
        let Some(queue) = self.queues.get_mut(&key) else { return false };
        let Some(place) = queue.waiters.iter().position(|waiter| waiter.call.id == id) else { return false };
        let Some(waiter) = queue.waiters.remove(place) else { return false };
        self.took(key, &waiter);
        true
    }

    /// Updates the totals after a call has left its queue, and removes the queue when it is empty. Once no calls wait
    /// at all, past service is forgotten.
    fn took(&mut self, key: QueueKey, waiter: &Waiter) {
        self.calls -= 1;
        self.bytes -= waiter.bytes();
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.bytes -= waiter.bytes();
            if queue.waiters.is_empty() {
                let place = queue.place;
                self.queues.remove(&key);
                self.places.remove(&place);
                self.ended.insert(key, place.0);
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
#[path = "fair_queue_tests.rs"]
mod tests;
