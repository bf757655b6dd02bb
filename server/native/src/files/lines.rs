//! Splits lines of text into a user ID and segments.

use crate::cluster::{SHORT_DIGITS, user_id_of};

/// The separators in a member's lines: after the user, between segments, before removals.
pub struct Layout {
    pub user: u8,
    pub segment: Option<u8>,
    pub removal: Option<u8>,
}

/// The user ID at the start of a line, and the rest; None if it is not certainly a platform user's, or has 20 digits.
pub fn split_user<'a>(line: &'a [u8], layout: &Layout) -> Option<(u64, &'a [u8])> {
    let size = line.iter().take(SHORT_DIGITS + 1).position(|byte| *byte == layout.user)?;
    let (digits, rest) = line.split_at_checked(size)?;
    Some((user_id_of(digits)?, rest.get(1..)?))
}

/// The segments' texts, and whether each is in the part for removals.
pub fn split_segments<'a>(rest: &'a [u8], layout: &Layout) -> impl Iterator<Item = (&'a [u8], bool)> {
    let removal = layout.removal.and_then(|separator| rest.iter().position(|byte| *byte == separator));
    let (staying, leaving) = match removal {
        Some(place) => (rest.get(..place).unwrap_or_default(), rest.get(place + 1..)),
        None => (rest, None),
    };
    let separator = layout.segment;
    let split = move |part: &'a [u8]| part.split(move |byte| Some(*byte) == separator);
    split(staying).map(|each| (each, false)).chain(leaving.into_iter().flat_map(split).map(|each| (each, true)))
}
