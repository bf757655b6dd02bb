//! Cache for lists that repeat within a body: users often have the same blocks as others shortly before.

use crate::json::schema::{Field, Kind};

/// Shorter lists are read as fast as they are compared.
const LEAST_BYTES: usize = 64;
/// How many lists are remembered: those of as many campaigns, whose users come mixed.
const MOST: usize = 8;

/// A valid list of messages: as it stands in the body, and encoded.
struct List<'a> {
    field: &'a Field,
    depth: usize,
    raw: &'a [u8],
    encoded: Vec<u8>,
}

/// The lists that were read last.
#[derive(Default)]
pub struct Lists<'a> {
    known: Vec<List<'a>>,
    /// The index of the oldest one, once there are as many as are remembered.
    oldest: usize,
}

impl<'a> Lists<'a> {
    /// The list at `at`, the value of `field` at this depth, if it equals a known one: its text and its encoding.
    pub fn find(&self, field: &Field, depth: usize, body: &[u8], at: usize) -> Option<(&'a [u8], &[u8])> {
        let body = body.get(at..)?;
        let is_same =
            |list: &&List| std::ptr::eq(list.field, field) && list.depth == depth && body.starts_with(list.raw);
        self.known.iter().find(is_same).map(|list| (list.raw, list.encoded.as_slice()))
    }

    /// Remembers a list that was read.
    pub fn keep(&mut self, field: &'a Field, depth: usize, raw: &'a [u8], encoded: &[u8]) {
        if raw.len() < LEAST_BYTES || !matches!(field.kind, Kind::Message(_)) {
            return;
        }
        if self.known.len() < MOST {
            self.known.push(List { field, depth, raw, encoded: encoded.to_vec() });
        } else if let Some(oldest) = self.known.get_mut(self.oldest) {
            (oldest.field, oldest.depth, oldest.raw) = (field, depth, raw);
            oldest.encoded.clear();
            oldest.encoded.extend_from_slice(encoded);
            self.oldest = (self.oldest + 1) % MOST;
        }
    }
}
