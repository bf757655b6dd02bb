//! Limits of connections: how many may be open, in all and per address (for IPv6, per /64 network), so that no caller can
//! shut others out; a rate limit with a burst (token bucket); and how long a peer may leave pings unanswered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::grpc::network_of;
use crate::locks::lock;

/// The open connections, counted.
pub struct Callers {
    most: usize,
    most_of_one: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    of: HashMap<IpAddr, usize>,
    refused: Refused,
}

/// Connections refused since the last report.
#[derive(Default)]
pub struct Refused {
    /// Refused because of the limits.
    pub connections: u64,
    /// Refused because the caller presented no certificate, or an invalid one.
    pub certificates: u64,
}

/// An open connection's place in the count; dropping it frees the place.
pub struct Place {
    callers: Arc<Callers>,
    address: IpAddr,
}

impl Callers {
    /// Allows `most` open connections, `most_of_one` of them from one address.
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, open: Mutex::default() })
    }

    /// Counts a new connection from this address; None, counted as refused, if a limit is reached.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network_of(address);
        let mut open = lock(&self.open);
        let of_one = open.of.get(&address).copied().unwrap_or(0);
        if open.all >= self.most || of_one >= self.most_of_one {
            open.refused.connections += 1;
            return None;
        }
        open.all += 1;
        open.of.insert(address, of_one + 1);
        Some(Place { callers: Arc::clone(self), address })
    }

    /// Counts a connection that was refused because of its caller's certificate.
    pub fn count_certificate(&self) {
        lock(&self.open).refused.certificates += 1;
    }

    /// What was refused since the last call.
    pub fn take_refused(&self) -> Refused {
        std::mem::take(&mut lock(&self.open).refused)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.callers.open);
        open.all -= 1;
        if let Some(of_one) = open.of.get_mut(&self.address) {
            *of_one -= 1;
            if *of_one == 0 {
                open.of.remove(&self.address);
            }
        }
    }
}

/// What is left of the limit.
pub struct Allowance {
    most: u32,
    every: Duration,
    /// When the full burst will be available again.
    full: Instant,
}

impl Allowance {
    /// A limit of `most` at once, refilled by one per `every`.
    pub fn new(most: u32, every: Duration) -> Self {
        Self { most, every, full: Instant::now() }
    }

    /// Takes `times` from the limit if that much is left; returns whether it was.
    pub fn take(&mut self, times: u32, now: Instant) -> bool {
        let full = self.full.max(now) + self.every * times;
        if full - now > self.every * self.most {
            return false;
        }
        self.full = full;
        true
    }
}

/// Interval between checks of a connection.
pub const LOOK: Duration = Duration::from_secs(20);
/// How long a ping may remain unanswered (mobile networks stall for half a minute, and a ping is queued behind data that
/// is sent slowly); also how long a caller may accept nothing of a response.
const GONE: Duration = Duration::from_secs(60);

/// What to do at a check.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Ask,
    Wait,
    End,
}

/// Whether the peer has answered.
#[derive(Default)]
pub struct Presence {
    asked: Option<Instant>,
}

impl Presence {
    /// What to do now. `now` is the time of the check, not when it was due: while the machine was suspended, nothing
    /// was heard.
    pub fn look(&self, now: Instant) -> Next {
        match self.asked {
            None => Next::Ask,
            Some(asked) if now.duration_since(asked) < GONE => Next::Wait,
            Some(_) => Next::End,
        }
    }

    /// Notes that a ping was sent.
    pub fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Whether a ping is unanswered.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Notes that the ping was answered.
    pub fn answer(&mut self) {
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_an_address_of_ipv6_has_its_neighbours_too() {
        let callers = Callers::new(10, 2);
        let addresses = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::2", "2001:db8:1:2::3", "2001:db8:1:3::1"];
        let places: Vec<_> =
            addresses.iter().filter_map(|each| each.parse().ok()).map(|each| callers.take(each)).collect();
        assert_eq!(places.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
    }

    #[test]
    fn no_address_has_more_places_than_it_may_and_all_have_no_more_than_there_are() {
        let callers = Callers::new(3, 2);
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let places: Vec<_> = [one, one, one, other, other].map(|address| callers.take(address)).into();
        assert_eq!(places.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true, false]);
        let refused = callers.take_refused();
        assert_eq!((refused.connections, refused.certificates, callers.take_refused().connections), (2, 0, 0));
        drop(places);
        assert!(lock(&callers.open).of.is_empty());
        assert!(callers.take(one).is_some());
    }
}

#[cfg(test)]
mod allowance_tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_by_one() {
        let every = Duration::from_millis(10);
        let mut allowance = Allowance::new(3, every);
        let start = Instant::now();
        let mut count = |now, times| (0..times).filter(|_| allowance.take(1, now)).count();
        assert_eq!(count(start, 10), 3);
        assert_eq!(count(start + every, 10), 1);
        assert_eq!(count(start + every * 3, 10), 2);
        assert_eq!(count(start + every * 1000, 10), 3);
        assert!(!allowance.take(4, start + every * 2000));
        assert!(allowance.take(3, start + every * 2000));
    }
}

#[cfg(test)]
mod presence_tests {
    use super::*;

    #[test]
    fn who_is_silent_for_less_than_a_minute_is_there() {
        let start = Instant::now();
        let mut presence = Presence::default();
        assert_eq!(presence.look(start), Next::Ask);
        presence.ask(start);
        for looks in 1..3 {
            assert_eq!(presence.look(start + LOOK * looks), Next::Wait);
        }
        presence.answer();
        assert_eq!(presence.look(start + LOOK * 3), Next::Ask);
    }

    #[test]
    fn who_does_not_answer_for_a_minute_has_gone() {
        let start = Instant::now();
        let mut presence = Presence::default();
        presence.ask(start);
        assert_eq!(presence.look(start + GONE - Duration::from_millis(1)), Next::Wait);
        assert_eq!(presence.look(start + GONE), Next::End);
    }
}
