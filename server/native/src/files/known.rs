//! The meanings of segment texts in files, as learnt from Python.

use std::collections::HashMap;
use std::hash::Hash;

use crate::cluster::push_argument;

/// The end that stands for leaving the segment.
pub const REMOVE: i64 = -1;
/// The end of a membership without expiration.
const NEVER: i64 = 0;

/// The meaning of a text, a membership or its removal: indexes of its segment and its end, and its encoded field.
pub struct Membership {
    pub segment: usize,
    pub end: usize,
    pub packed: Box<[u8]>,
}

/// An end, and the encoded arguments of a command that sets it.
pub struct End {
    pub removes: bool,
    pub packed: Box<[u8]>,
}

/// The known texts: those in the part of a row for memberships that are set, and those in the part for removals.
#[derive(Default)]
pub struct Known {
    staying: HashMap<Box<[u8]>, usize>,
    leaving: HashMap<Box<[u8]>, usize>,
    memberships: Vec<Membership>,
    segments: Places<i64>,
    ends: Places<i64>,
    packed_ends: Vec<End>,
}

impl Known {
    /// Remembers what a text means, unless it is known.
    pub fn learn(&mut self, text: &[u8], leaving: bool, segment_id: i64, end: i64, value: i64) {
        if self.find(text, leaving).is_none() {
            let place = self.push(segment_id, end, value);
            if leaving { &mut self.leaving } else { &mut self.staying }.insert(text.into(), place);
        }
    }

    /// How many texts are known.
    pub fn len(&self) -> usize {
        self.memberships.len()
    }

    /// The distinct segment IDs, in the order of their indexes.
    pub fn segments(&self) -> &[i64] {
        &self.segments.values
    }

    /// The index of the membership that a text means; None if the text is not known.
    pub fn find(&self, text: &[u8], leaving: bool) -> Option<usize> {
        if leaving { &self.leaving } else { &self.staying }.get(text).copied()
    }

    /// The membership with an index.
    pub fn membership(&self, place: usize) -> Option<&Membership> {
        self.memberships.get(place)
    }

    /// A membership's end.
    pub fn end(&self, membership: &Membership) -> Option<&End> {
        self.packed_ends.get(membership.end)
    }

    fn push(&mut self, segment_id: i64, end: i64, value: i64) -> usize {
        let removes = end == REMOVE;
        let (end_place, is_new) = self.ends.place(end);
        if is_new {
            let mut packed = Vec::new();
            if !removes && end != NEVER {
                push_argument(&mut packed, b"PXAT");
                push_argument(&mut packed, end.to_string().as_bytes());
            }
            self.packed_ends.push(End { removes, packed: packed.into() });
        }
        let mut packed = Vec::new();
        push_argument(&mut packed, segment_id.to_string().as_bytes());
        if !removes {
            push_argument(&mut packed, value.to_string().as_bytes());
        }
        let (segment, _) = self.segments.place(segment_id);
        self.memberships.push(Membership { segment, end: end_place, packed: packed.into() });
        self.memberships.len() - 1
    }
}

/// Distinct values, indexed in the order of their first appearance.
struct Places<T> {
    places: HashMap<T, usize>,
    values: Vec<T>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Copy + Eq + Hash> Places<T> {
    /// The index of a value, and whether it is new.
    fn place(&mut self, value: T) -> (usize, bool) {
        if let Some(place) = self.places.get(&value) {
            return (*place, false);
        }
        self.places.insert(value, self.values.len());
        self.values.push(value);
        (self.values.len() - 1, true)
    }
}
