//! Lines and records are split where there is no doubt, and nowhere else; what they do is compared with Python's reading
//! (`tests/modules/batch/reading/test_regular.py`).

use super::lines::{Layout, split_segments, split_user};
use super::records::{Field, Form, split_record};
use crate::cluster::Key;

const LAYOUT: Layout = Layout { user: b';', segment: Some(b','), removal: Some(b'\t') };

#[test]
fn users_are_plain_decimals() {
    let rest: &[u8] = b"5:0";
    assert_eq!(split_user(b"1;5:0", &LAYOUT), Some((1, rest)));
    assert_eq!(split_user(b"9999999999999999999;5:0", &LAYOUT), Some((9_999_999_999_999_999_999, rest)));
    for line in [&b""[..], b";", b"1", b"0;5", b"01;5", b"-1;5", b" 1;5", b"1a;5", b"10000000000000000000;5"] {
        assert_eq!(split_user(line, &LAYOUT), None, "{line:?}");
    }
}

#[test]
fn segments_are_split_as_python_splits_them() {
    let split = |rest: &'static [u8]| split_segments(rest, &LAYOUT).collect::<Vec<_>>();
    assert_eq!(split(b"5:0,6"), [(&b"5:0"[..], false), (b"6", false)]);
    assert_eq!(split(b""), [(&b""[..], false)]);
    assert_eq!(split(b"5\t6,7\t8"), [(&b"5"[..], false), (b"6", true), (b"7\t8", true)]);
    assert_eq!(split(b"5\t"), [(&b"5"[..], false), (b"", true)]);
    let one = Layout { user: b';', segment: None, removal: None };
    assert_eq!(split_segments(b"5,6\t7", &one).collect::<Vec<_>>(), [(&b"5,6\t7"[..], false)]);
}

#[test]
fn records_are_split_at_their_ends() {
    let form = Form { uid_head: Box::new([2]), fields: Box::new([Field::Number, Field::Text, Field::Byte]) };
    let record = [2, 0x80, 0x01, 4, 10, 2, b'x', 1, 0x96, 0x01, 0, 0, 0, 9];
    let found = split_record(&record, &form).map(|each| (each.user_id, each.segments, each.size));
    assert_eq!(found, Some((64, vec![&[10, 2, b'x', 1][..], &[0x96, 0x01, 0, 0]], 13)));
    for size in 0..13 {
        assert!(split_record(record.get(..size).unwrap_or_default(), &form).is_none(), "{size}");
    }
    // A negative count has the size of its block behind it; a negative length is none.
    for odd in [&[2, 2, 3, 10, 0, 1, 0][..], &[2, 2, 2, 10, 3, b'x', 1, 0]] {
        assert!(split_record(odd, &form).is_none(), "{odd:?}");
    }
    let of = |uid: &[u8]| split_record(&[&[2][..], uid, &[2, 10, 0, 1, 0]].concat(), &form).map(|each| each.user_id);
    assert_eq!(of(&[1]), Some(u64::MAX));
    assert_eq!(of(&[0]), None);
    assert_eq!(of(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]), Some(1 << 63));
    assert_eq!(of(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02]), None);
}

#[test]
fn keys_have_the_users_digits() {
    for (user_id, key) in [(1, "m:p:1"), (90, "m:p:90"), (u64::MAX, "m:p:18446744073709551615")] {
        assert_eq!(Key::of(user_id).bytes(), key.as_bytes());
    }
}
