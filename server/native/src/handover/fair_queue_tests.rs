#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::grpc::{Metadata, Peer};

fn call(id: CallId, bytes: usize) -> UnaryCall {
    UnaryCall {
        id,
        method: 0,
        metadata: Metadata::read(&HeaderMap::new(), &Peer::Gateway),
        message: Ok(Bytes::from(vec![0; bytes])),
        reader: None,
        known: true,
        gathered: false,
    }
}

fn prices(first: usize) -> Prices {
    Prices { call: 1, first_more: first - 1, small_bytes: 0, place_bytes: usize::MAX, most: usize::MAX, quantum: 1 }
}

fn capacity(free: usize) -> Capacity {
    Capacity { free, kept: 0, running: HashSet::new(), wait: false }
}

fn refused(found: Option<(QueueKey, UnaryCall)>) -> Option<(QueueKey, CallId)> {
    found.map(|(key, call)| (key, call.id))
}

fn all(waiting: &mut FairQueue) -> Vec<CallId> {
    waiting.take(&capacity(usize::MAX), &prices(1)).into_iter().map(|call| call.id).collect()
}

/// Calls of these members, numbered as they come.
fn queue_of(members: &[u64], until: Instant) -> FairQueue {
    let mut waiting = FairQueue::new(1000);
    for (id, member) in (0..).zip(members) {
        assert!(waiting.add(Some(*member), call(id, 1), until).is_none());
    }
    waiting
}

#[test]
fn members_take_turns() {
    let mut waiting = queue_of(&[1, 1, 1, 2, 1, 3, 2], Instant::now());
    assert_eq!(all(&mut waiting), [0, 3, 5, 1, 6, 2, 4]);
    assert!(waiting.is_empty());
    assert!(waiting.take(&capacity(1), &prices(1)).is_empty());
}

#[test]
fn a_member_that_comes_back_has_no_more_than_the_others() {
    let now = Instant::now();
    let mut waiting = queue_of(&[1, 2, 2], now);
    assert_eq!(waiting.take(&capacity(1), &prices(1)).first().unwrap().id, 0);
    waiting.add(Some(1), call(9, 1), now);
    assert_eq!(all(&mut waiting), [1, 9, 2]);
    assert!(waiting.ended.is_empty());
}

#[test]
fn of_members_that_were_served_alike_who_comes_back_is_next() {
    let now = Instant::now();
    let mut waiting = queue_of(&[1, 2, 3, 1, 2, 3], now);
    assert_eq!(waiting.take(&capacity(3), &prices(1)).len(), 3);
    assert_eq!(waiting.take(&capacity(1), &prices(1)).first().unwrap().id, 3);
    waiting.add(Some(4), call(9, 1), now);
    assert_eq!(all(&mut waiting), [9, 4, 5]);
}

#[test]
fn who_comes_is_not_behind_those_that_wait_for_room() {
    let now = Instant::now();
    let mut waiting = queue_of(&[1, 2, 2, 2, 1], now);
    let capacity_of_others = Capacity { free: 4, kept: 0, running: HashSet::from([1]), wait: true };
    assert_eq!(waiting.take(&capacity_of_others, &prices(1)).len(), 3);
    waiting.add(Some(2), call(8, 1), now);
    waiting.add(Some(3), call(9, 1), now);
    assert_eq!(all(&mut waiting), [0, 9, 4, 8]);
}

#[test]
fn turns_are_given_by_what_calls_cost() {
    let now = Instant::now();
    let mut waiting = FairQueue::new(1000);
    let large = 3 * usize::try_from(CALL_COST).unwrap();
    for id in 0..3 {
        waiting.add(Some(1), call(id, large), now);
    }
    for id in 3..9 {
        waiting.add(Some(2), call(id, 0), now);
    }
    assert_eq!(all(&mut waiting), [0, 3, 4, 5, 6, 1, 7, 8, 2]);
}

#[test]
fn large_calls_take_more_places() {
    let now = Instant::now();
    let taken = |bytes: usize| {
        let mut waiting = FairQueue::new(1000);
        for id in 0..20 {
            waiting.add(Some(1), call(id, bytes), now);
        }
        let prices = Prices { call: 4, first_more: 0, small_bytes: 10, place_bytes: 100, most: 16, quantum: 1 };
        waiting.take(&capacity(32), &prices).len()
    };
    assert_eq!([10, 99, 100, 250, 300, 5000].map(taken), [8, 8, 4, 3, 2, 2]);
}

#[test]
fn who_has_been_served_much_waits_when_it_comes_back() {
    let now = Instant::now();
    let mut waiting = FairQueue::new(1000);
    waiting.add(Some(1), call(0, 2 * usize::try_from(CALL_COST).unwrap()), now);
    for id in 1..7 {
        waiting.add(Some(2), call(id, 0), now);
    }
    assert_eq!(waiting.take(&capacity(1), &prices(1)).first().unwrap().id, 0);
    waiting.add(Some(1), call(7, 0), now);
    assert_eq!(all(&mut waiting), [1, 2, 3, 7, 4, 5, 6]);
}

#[test]
fn who_comes_later_or_again_gets_nothing_for_the_time_before() {
    let now = Instant::now();
    let mut waiting = queue_of(&[1, 2, 2, 2, 2, 2, 2], now);
    assert_eq!(waiting.take(&capacity(4), &prices(1)).len(), 4);
    for (id, member) in [(7, 1), (8, 1), (9, 3), (10, 3)] {
        waiting.add(Some(member), call(id, 1), now);
    }
    assert_eq!(all(&mut waiting), [7, 9, 4, 8, 10, 5, 6]);
}

#[test]
fn who_was_served_is_remembered_only_as_long_as_it_makes_a_difference() {
    let now = Instant::now();
    let mut waiting = FairQueue::new(10);
    waiting.add(Some(1), call(0, 1000 * usize::try_from(CALL_COST).unwrap()), now);
    waiting.add(Some(0), call(1, 0), now);
    assert_eq!(waiting.take(&capacity(1), &prices(1)).first().unwrap().id, 0);
    for id in 2..100 {
        waiting.add(Some(0), call(id, 0), now);
        waiting.add(Some(id), call(id, 0), now);
        assert_eq!(waiting.take(&capacity(2), &prices(1)).len(), 2);
        assert!(waiting.ended.len() <= 11 && waiting.ended.contains_key(&Some(1)));
    }
}

#[test]
fn the_first_call_of_a_turn_takes_more_room() {
    let mut waiting = queue_of(&[1, 1, 1, 2, 2, 3, 3], Instant::now());
    assert_eq!(waiting.take(&capacity(0), &prices(3)).len(), 0);
    assert_eq!(waiting.take(&capacity(4), &prices(3)).len(), 2);
    assert_eq!(waiting.take(&capacity(8), &prices(3)).len(), 3);
    assert_eq!(waiting.take(&capacity(1), &prices(3)).len(), 1);
}

#[test]
fn some_room_is_kept_for_members_that_have_no_call_running() {
    let mut waiting = queue_of(&[1, 1, 1, 1, 2, 2, 3], Instant::now());
    let mut taken = |free, running: &[u64]| -> Vec<CallId> {
        let capacity = Capacity { free, kept: 2, running: running.iter().copied().collect(), wait: false };
        waiting.take(&capacity, &prices(1)).into_iter().map(|call| call.id).collect()
    };
    assert!(taken(2, &[1, 2, 3]).is_empty());
    assert_eq!(taken(2, &[1, 3]), [4]);
    assert_eq!(taken(4, &[1, 2, 3]), [0, 6]);
    assert_eq!(taken(4, &[]), [5, 1]);
    assert_eq!(taken(4, &[]), [2, 3]);
}

#[test]
fn calls_of_a_member_to_a_method_are_withdrawn() {
    let mut waiting = queue_of(&[1, 1, 2, 1], Instant::now());
    waiting.add(Some(1), UnaryCall { method: 7, ..call(4, 1) }, Instant::now());
    let withdrawn: Vec<_> = waiting.withdraw(1, 0).into_iter().map(|call| call.id).collect();
    assert_eq!(withdrawn, [0, 1, 3]);
    assert!(waiting.withdraw(1, 0).is_empty() && waiting.withdraw(3, 0).is_empty());
    assert_eq!((waiting.len(), waiting.bytes), (2, 2));
    assert_eq!(waiting.withdraw(1, 7).len(), 1);
    assert_eq!(all(&mut waiting), [2]);
}

#[test]
fn a_turn_is_some_calls_long() {
    let prices = Prices { quantum: 3, ..prices(2) };
    let mut waiting = queue_of(&[1, 1, 1, 1, 2, 2, 3], Instant::now());
    let mut taken =
        |free| -> Vec<CallId> { waiting.take(&capacity(free), &prices).into_iter().map(|call| call.id).collect() };
    assert_eq!(taken(7), [0, 1, 2, 4, 5]);
    assert_eq!(taken(2), [6]);
    assert_eq!(taken(8), [3]);
}

#[test]
fn calls_of_a_member_that_has_others_running_wait_for_these() {
    let mut waiting = queue_of(&[1, 1, 2, 2], Instant::now());
    waiting.add(None, call(4, 1), Instant::now());
    let mut taken = |running: &[u64]| -> Vec<CallId> {
        let capacity = Capacity { free: 100, kept: 0, running: running.iter().copied().collect(), wait: true };
        waiting.take(&capacity, &prices(1)).into_iter().map(|call| call.id).collect()
    };
    assert!(taken(&[1, 2]).is_empty());
    assert_eq!(taken(&[1]), [2, 3]);
    assert_eq!(taken(&[]), [0, 4, 1]);
}

#[test]
fn small_calls_that_are_carried_out_together_take_less_room() {
    let prices =
        Prices { call: 4, first_more: 8, small_bytes: 10, place_bytes: usize::MAX, most: usize::MAX, quantum: 1 };
    let taken = |free, bytes, gathered, known| {
        let mut waiting = FairQueue::new(1000);
        for id in 0..20 {
            let call = UnaryCall { known, gathered, ..call(id, bytes) };
            waiting.add(Some(1), call, Instant::now());
        }
        waiting.take(&capacity(free), &prices).len()
    };
    assert_eq!(taken(24, 10, true, true), 16);
    assert_eq!(taken(24, 11, true, true), 4);
    assert_eq!(taken(24, 10, false, true), 4);
    assert_eq!(taken(24, 10, true, false), 4);
}

#[test]
fn what_goes_along_with_a_call_that_has_room_needs_none() {
    let prices = Prices { call: 4, first_more: 8, small_bytes: 10, place_bytes: 100, most: 16, quantum: 24 };
    let taken = |bytes, gathered, known| {
        let mut waiting = FairQueue::new(1000);
        for id in 0..60 {
            let call = UnaryCall { known, gathered, ..call(id, bytes) };
            waiting.add(Some(id % 2), call, Instant::now());
        }
        let taken = waiting.take(&capacity(9), &prices);
        assert!(taken.iter().all(|call| call.id % 2 == 0));
        taken.len()
    };
    assert_eq!([10, 50, 100].map(|bytes| taken(bytes, true, true)), [24, 6, 1]);
    assert_eq!([taken(10, false, true), taken(10, true, false)], [1, 1]);
}

#[test]
fn the_newest_of_the_longest_queue_is_refused() {
    let now = Instant::now();
    let mut waiting = FairQueue::new(1000);
    for id in 0..1000 {
        assert!(waiting.add(Some(u64::from(id % 10 == 0)), call(id, 1), now).is_none());
    }
    assert_eq!(refused(waiting.add(Some(1), call(1000, 1), now)), Some((Some(0), 999)));
    assert_eq!(refused(waiting.add(Some(0), call(1001, 1), now)), Some((Some(0), 1001)));
    assert_eq!(refused(waiting.add(None, call(1002, 1), now)), Some((Some(0), 998)));
    assert_eq!(all(&mut waiting).len(), 1000);
}

#[test]
fn of_equals_the_one_that_has_just_come_is_refused() {
    let now = Instant::now();
    let mut waiting = FairQueue::new(1000);
    for id in 0..1000 {
        waiting.add(Some(id), call(id, 1), now);
    }
    assert_eq!(refused(waiting.add(Some(5), call(1000, 1), now)), Some((Some(5), 1000)));
    let mut waiting = FairQueue::new(5);
    for (id, member) in (0..).zip([1, 1, 1, 2, 2]) {
        waiting.add(Some(member), call(id, 1), now);
    }
    assert_eq!(refused(waiting.add(Some(2), call(5, 1), now)), Some((Some(2), 5)));
}

#[test]
fn bytes_are_bounded_too() {
    let now = Instant::now();
    let mut waiting = FairQueue::new(1000);
    for id in 0..16 {
        assert!(waiting.add(Some(1), call(id, MOST_BYTES / 16), now).is_none());
    }
    assert_eq!(refused(waiting.add(Some(2), call(16, 1), now)), Some((Some(1), 15)));
    assert!(waiting.add(Some(2), call(17, MOST_BYTES / 16 - 1), now).is_none());
}

#[test]
fn where_bytes_are_too_many_those_with_most_bytes_are_refused() {
    let now = Instant::now();
    let mut waiting = queue_of(&[1; 100], now);
    for id in 100..115 {
        assert!(waiting.add(Some(2), call(id, MOST_BYTES / 16), now).is_none());
    }
    assert_eq!(refused(waiting.add(Some(2), call(115, MOST_BYTES / 16), now)), Some((Some(2), 115)));
    assert_eq!(refused(waiting.add(Some(3), call(116, MOST_BYTES / 16), now)), Some((Some(2), 114)));
    assert!(waiting.bytes <= MOST_BYTES);
}

#[test]
fn who_has_waited_too_long_goes() {
    let now = Instant::now();
    let mut waiting = queue_of(&[1, 2], now);
    waiting.add(Some(1), call(7, 1), now + Duration::from_secs(1));
    let late: Vec<_> = waiting.late(now, now).into_iter().map(|(key, call)| (key, call.id)).collect();
    assert_eq!(late, [(Some(1), 0), (Some(2), 1)]);
    assert!(waiting.late(now, now).is_empty());
    assert_eq!(all(&mut waiting), [7]);
}

#[test]
fn nobody_with_few_calls_is_refused_while_python_stands_still() {
    let looked = Instant::now();
    let soon = looked + STANDSTILL / 2;
    let until = looked + STANDSTILL;
    let few = [1; FEW - 1];
    let many = [2; FEW];
    let late = |now: Instant| -> Vec<_> {
        let mut waiting = queue_of(&[&few[..], &many[..]].concat(), until);
        let mut late = waiting.late(now, looked).into_iter().map(|(key, _)| key.unwrap()).collect::<Vec<_>>();
        late.dedup();
        late
    };
    assert!(late(soon).is_empty());
    assert_eq!(late(until), [2]);
    assert_eq!(late(until + Duration::from_secs(5)), [2]);
    let mut waiting = queue_of(&few, until);
    let now = until + Duration::from_secs(5);
    assert_eq!(waiting.late(now, now).len(), FEW - 1);
}

#[test]
fn a_caller_that_leaves() {
    let mut waiting = queue_of(&[1, 1, 2], Instant::now());
    assert!(waiting.forget(Some(1), 1));
    assert!(!waiting.forget(Some(1), 1));
    assert!(!waiting.forget(Some(3), 2));
    assert!(waiting.forget(Some(2), 2));
    assert_eq!(all(&mut waiting), [0]);
}

#[test]
fn many_who_wait_are_a_crowd() {
    let mut waiting = queue_of(&[1; CROWD - 1], Instant::now());
    assert!(!waiting.is_crowded());
    waiting.add(Some(2), call(1000, 1), Instant::now());
    assert!(waiting.is_crowded());
}

#[test]
fn a_call_waits_in_vain_where_the_queue_goes_on_too_slowly_for_it() {
    let mut waiting = queue_of(&[1; 20], Instant::now());
    let began = Instant::now();
    let now = began + STANDSTILL;
    let in_vain = |waiting: &FairQueue, member, left, looked| {
        waiting.is_in_vain(Some(member), now + Duration::from_millis(left), now, looked)
    };
    assert!(!in_vain(&waiting, 1, 0, now)); // nothing has gone on yet
    for _ in 0..10 {
        waiting.take(&capacity(1), &prices(1));
    }
    // Ten calls took at least as long as Python may stall, 100 ms, and there are ten.
    assert!(in_vain(&waiting, 1, 99, now));
    assert!(!in_vain(&waiting, 1, 200, now));
    assert!(!in_vain(&waiting, 2, 0, now));
    assert!(!in_vain(&waiting, 1, 99, began));
    all(&mut waiting);
    for id in 0..FEW as u64 {
        waiting.add(Some(1), call(id, 1), now);
    }
    waiting.take(&capacity(1), &prices(1));
    assert!(!in_vain(&waiting, 1, 0, now)); // too few to tell
}
