//! Lists that stand in a body again and again: users often have the same blocks as the one before.

use crate::json::schema::{Field, Kind};

/// A shorter list is read as fast as it is compared.
const LEAST_BYTES: usize = 64;

/// The last list of messages that was read without fault, as it stands in the body and in the message.
#[derive(Default)]
pub struct Lists<'a> {
    last: Option<(&'a Field, usize, &'a [u8])>,
    encoded: Vec<u8>,
}

impl<'a> Lists<'a> {
    /// Whether the list that begins at `at`, the value of `field` in so many levels, is the last one again.
    pub fn find(&self, field: &Field, depth: usize, body: &[u8], at: usize) -> Option<(&'a [u8], &[u8])> {
        let (known, known_depth, raw) = self.last?;
        let again = std::ptr::eq(known, field) && known_depth == depth && body.get(at..)?.starts_with(raw);
        again.then_some((raw, &self.encoded))
    }

    /// This list was read.
    pub fn keep(&mut self, field: &'a Field, depth: usize, raw: &'a [u8], encoded: &[u8]) {
        if raw.len() >= LEAST_BYTES && matches!(field.kind, Kind::Message(_)) {
            self.last = Some((field, depth, raw));
            self.encoded.clear();
            self.encoded.extend_from_slice(encoded);
        }
    }
}
