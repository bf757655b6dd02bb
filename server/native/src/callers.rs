//! How many connections there are on the ports: in all, and of one address, so that none shuts others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::locks::lock;

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
}

/// The place of a connection; it is free when this is dropped.
pub struct Place {
    callers: Arc<Callers>,
    address: IpAddr,
}

impl Callers {
    /// So many may be open, and so many of one address.
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, open: Mutex::default() })
    }

    /// A place for a connection of this address, if there is one.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = lock(&self.open);
        let of_one = open.of.get(&address).copied().unwrap_or(0);
        if open.all >= self.most || of_one >= self.most_of_one {
            return None;
        }
        open.all += 1;
        open.of.insert(address, of_one + 1);
        Some(Place { callers: Arc::clone(self), address })
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
    fn no_address_has_more_places_than_it_may_and_all_have_no_more_than_there_are() {
        let callers = Callers::new(3, 2);
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let places: Vec<_> = [one, one, one, other, other].map(|address| callers.take(address)).into();
        assert_eq!(places.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true, false]);
        drop(places);
        assert!(lock(&callers.open).of.is_empty());
        assert!(callers.take(one).is_some());
    }
}
