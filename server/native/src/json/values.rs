//! What is found wrong with values while the form of a body is still looked at.
//!
//! The gateway's transcoder, which reads the bodies of the other hosts, says of several wrong values where the last one
//! is; but what nobody can read ends its reading, and what may be the beginning of something longer does so in silence.

use crate::json::places::Level;

/// A pair of surrogates, written as escapes, has so many bytes; before the end of a body, half of one may be the
/// beginning of one.
const PAIR_BYTES: usize = 12;

/// What is wrong with the values of a body so far.
pub struct Values<'a> {
    /// From here on, values are not read.
    end: usize,
    all: usize,
    wrong: Option<Vec<Level<'a>>>,
    is_unreadable: bool,
}

impl<'a> Values<'a> {
    /// Of a body that nobody has looked at but for its UTF-8, where values end.
    pub fn of(body: &[u8]) -> Self {
        let end = str::from_utf8(body).map_or_else(|error| error.valid_up_to(), |_| body.len());
        Self { end, all: body.len(), wrong: None, is_unreadable: false }
    }

    /// The value at the innermost place, which ends at `end`, is none that may be there.
    pub fn wrong_at(&mut self, levels: &[Level<'a>], end: usize) {
        if end <= self.end {
            let place = self.wrong.get_or_insert_default();
            place.clear();
            place.extend_from_slice(levels);
        }
    }

    /// What is at `at` cannot be read.
    pub fn unreadable(&mut self, at: usize) {
        if at < self.end {
            self.end = at;
            self.is_unreadable = true;
        }
    }

    /// Half of a pair of surrogates is at `at`.
    pub fn half_pair(&mut self, at: usize) {
        if at + PAIR_BYTES <= self.end {
            self.unreadable(at);
        } else {
            self.end = self.end.min(at);
        }
    }

    /// Whether all is well up to `at`.
    pub fn are_good(&self, at: usize) -> bool {
        self.wrong.is_none() && at <= self.end
    }

    /// What is wrong: where the wrong value is, or no place where something cannot be read.
    #[allow(clippy::option_option)]
    pub fn wrong(&self) -> Option<Option<&[Level<'a>]>> {
        match &self.wrong {
            _ if self.is_unreadable => Some(None),
            Some(levels) => Some(Some(levels)),
            None if self.end < self.all => Some(None),
            None => None,
        }
    }
}
