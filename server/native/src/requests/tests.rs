//! Requests are split where there is no doubt; what is made of them is compared with Python's reading
//! (`tests/modules/memberships/reading/test_by_blocks.py`).

use super::keys::UserSet;
use super::users::split;

fn sizes(message: &[u8]) -> Option<(usize, Vec<u8>)> {
    split(message, false).map(|found| (found.users, found.others))
}

#[test]
fn users_stand_beside_other_fields() {
    assert_eq!(sizes(b""), Some((0, vec![])));
    assert_eq!(sizes(b"\x0a\x03\x0a\x017"), Some((1, vec![])));
    assert_eq!(sizes(b"\x10\x01\x0a\x05\x0a\x017\x12\x00\x18\x80\x01"), Some((1, b"\x10\x01\x18\x80\x01".to_vec())));
    let long = [&b"\x0a\x83\x01\x0a\x017\x12\x80"[..], &[0; 126]].concat();
    assert_eq!(sizes(&long), Some((1, vec![])));
}

#[test]
fn what_is_cut_off_or_odd_is_left_to_python() {
    let whole = b"\x0a\x03\x0a\x017\x10\x01\x22\x01x\x2d1234\x3112345678";
    assert!(sizes(whole).is_some());
    for end in [1, 2, 3, 4, 6, 8, 9, 11, 14, 16, 22] {
        assert_eq!(sizes(whole.get(..end).unwrap_or_default()), None, "{end}");
    }
    for message in [
        &b"\x0a\x00"[..],
        b"\x0a\x02\x0a\x01",
        b"\x0a\x02\x12\x00",
        b"\x0a\x03\x0a\x80\x01",
        b"\x08\x01",
        b"\x8a\x00\x03\x0a\x017",
        b"\x00\x00",
        b"\x13",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert_eq!(sizes(message), None, "{message:?}");
    }
}

#[test]
fn users_that_begin_otherwise_are_found_where_they_are_wanted() {
    let regular = b"\x0a\x03\x0a\x017\x18\x01";
    for user in [&b""[..], b"\x0a", b"\x0a\x01", b"\x12\x00", b"\x0a\x80\x01", b"\xff"] {
        let message = [&regular[..], &[0x0a, u8::try_from(user.len()).unwrap_or(0)], user].concat();
        assert!(split(&message, false).is_none(), "{user:?}");
        let found = split(&message, true).map(|found| (found.users, found.others, found.regular));
        assert_eq!(found, Some((2, b"\x18\x01".to_vec(), false)), "{user:?}");
        assert!(message.split_last().is_some_and(|(_, cut)| split(cut, true).is_none()), "{user:?}");
    }
    assert!(split(regular, true).is_some_and(|found| found.regular));
}

#[test]
fn sets_know_who_is_in_them() {
    let mut users = UserSet::for_users(1000);
    assert!((1..=1000).all(|user_id| users.insert(user_id * 7919).is_ok()));
    assert!((1..=1000).all(|user_id| users.contains(user_id * 7919) && users.insert(user_id * 7919).is_err()));
    assert!(!users.contains(1));
    assert_eq!(users.iter().count(), 1000);
    for count in 1..100 {
        let mut full = UserSet::for_users(count);
        assert!((1..).take(count).all(|user_id| full.insert(user_id).is_ok()) && !full.contains(1000));
    }
    assert!(UserSet::for_users(0).insert(u64::MAX).is_ok());
}
