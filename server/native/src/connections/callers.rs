//! How many connections there are on the ports: in all, and of one address (of IPv6, of all that begin like it), so that
//! none shuts others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::locks::lock;
use crate::peers::network_of;

/// The connections that are open.
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

/// Connections that were refused since this was asked last.
#[derive(Default)]
pub struct Refused {
    /// There were too many, in all or of their address.
    pub connections: u64,
    /// Their callers showed no certificate, or none that is good.
    pub certificates: u64,
}

/// The place of a connection; it is free when this is dropped.
pub struct Place {
    callers: Arc<Callers>,
    address: IpAddr,
}

impl Callers {
    /// No connections yet; `most` may be open, and `most_of_one` from one address.
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, open: Mutex::default() })
    }

    /// A place for a connection of this address, if there is one.
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

    /// A caller's certificate was refused.
    pub fn count_certificate(&self) {
        lock(&self.open).refused.certificates += 1;
    }

    /// What was refused since this was asked last.
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
