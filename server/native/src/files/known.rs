//! What texts of segments mean.

use std::collections::HashMap;
use std::hash::Hash;

use crate::cluster::push_argument;

/// The end that has the user leave the segment.
pub const REMOVE: i64 = -1;
/// The end of a membership that never ends.
const NEVER: i64 = 0;

/// A membership, or the end of one: places of its segment and of its end, and its field as words of a command.
pub struct Membership {
    pub segment: usize,
    pub end: usize,
    pub packed: Box<[u8]>,
}

/// An end, as words of a command.
pub struct End {
    pub removes: bool,
    pub packed: Box<[u8]>,
}

/// Texts of segments: of those that users join or stay in, and of those that they leave by the place in their row.
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
    /// Keep what a text means, unless it is known.
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

    /// The different segments' IDs.
    pub fn segments(&self) -> &[i64] {
        &self.segments.values
    }

    /// The membership that a text means.
    pub fn find(&self, text: &[u8], leaving: bool) -> Option<usize> {
        if leaving { &self.leaving } else { &self.staying }.get(text).copied()
    }

    /// A membership by its place.
    pub fn membership(&self, place: usize) -> Option<&Membership> {
        self.memberships.get(place)
    }

    /// The end of a membership.
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

/// Different values, in the order in which they came.
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
    /// The place of a value, and whether it is new.
    fn place(&mut self, value: T) -> (usize, bool) {
        if let Some(place) = self.places.get(&value) {
            return (*place, false);
        }
        self.places.insert(value, self.values.len());
        self.values.push(value);
        (self.values.len() - 1, true)
    }
}
