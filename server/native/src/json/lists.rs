//! Cache for lists that repeat within a body: consecutive users often have the same blocks.

use crate::json::schema::{Field, Kind};

/// Shorter lists are read as fast as they are compared.
const LEAST_BYTES: usize = 64;

/// The last valid list of messages: as it stands in the body, and encoded.
#[derive(Default)]
pub struct Lists<'a> {
    last: Option<(&'a Field, usize, &'a [u8])>,
    encoded: Vec<u8>,
}

impl<'a> Lists<'a> {
    /// The list at `at`, the value of `field` at this depth, if it equals the last one: its text and its encoding.
    pub fn find(&self, field: &Field, depth: usize, body: &[u8], at: usize) -> Option<(&'a [u8], &[u8])> {
        let (known, known_depth, raw) = self.last?;
        let again = std::ptr::eq(known, field) && known_depth == depth && body.get(at..)?.starts_with(raw);
        again.then_some((raw, &self.encoded))
    }

    /// Remembers a list that was read.
    pub fn keep(&mut self, field: &'a Field, depth: usize, raw: &'a [u8], encoded: &[u8]) {
        if raw.len() >= LEAST_BYTES && matches!(field.kind, Kind::Message(_)) {
            self.last = Some((field, depth, raw));
            self.encoded.clear();
            self.encoded.extend_from_slice(encoded);
        }
    }
}
