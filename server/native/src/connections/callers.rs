//! Limits the number of open connections on the ports: in all, and per address (for IPv6, per /64 network), so that no
//! caller can shut others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::locks::lock;
use crate::peers::network_of;

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
