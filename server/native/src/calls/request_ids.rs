//! Request IDs of REST calls on a port: the caller's own if it is valid, otherwise a new one, as at the gateway.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::grpc::said;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of a caller's own (`LONGEST_REQUEST_ID` in Python).
const LONGEST: usize = 128;

/// New IDs are a count, hashed with random keys: they differ, in other processes too, and do not tell how many calls
/// there have been.
#[derive(Default)]
pub struct RequestIds {
    halves: [RandomState; 2],
    count: AtomicU64,
}

impl RequestIds {
    /// The ID of a request with these headers.
    pub fn own_or_new(&self, headers: &HeaderMap) -> HeaderValue {
        match said(headers, &REQUEST_ID) {
            Some(own) if is_valid(own.as_bytes()) => own,
            _ => self.new_id(),
        }
    }

    fn new_id(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let [high, low] = self.halves.each_ref().map(|half| half.hash_one(count));
        let id = format!("{high:016x}{low:016x}");
        HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_callers_own_id_is_kept_if_it_is_visible_ascii_of_at_most_128_characters() {
        let ids = RequestIds::default();
        let cases = [("a~!", true), (&"x".repeat(128), true), (&"x".repeat(129), false), ("a b", false), ("", false)];
        for (own, kept) in cases {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static("x"))]);
            let headers = HeaderValue::from_str(own).map_or(headers, |own| HeaderMap::from_iter([(REQUEST_ID, own)]));
            assert_eq!(ids.own_or_new(&headers) == own, kept);
        }
    }

    #[test]
    fn new_ids_differ_and_are_valid() {
        let (ids, others) = (RequestIds::default(), RequestIds::default());
        let new = [ids.new_id(), ids.new_id(), others.new_id()];
        assert!(new.iter().all(|id| is_valid(id.as_bytes()) && id.len() == 32));
        let halves: HashSet<_> = new.iter().flat_map(|id| id.as_bytes().chunks(16)).collect();
        assert_eq!(halves.len(), 6, "none tells of another");
    }
}
