//! Collects rows and turns them into commands.

use std::collections::HashMap;

use pyo3::Python;

use crate::files::commands::PackedCommands;
use crate::files::known::Known;

/// Keeps only the last of several memberships in the same segment. Reused, to avoid allocations.
#[derive(Default)]
pub struct LastOnes {
    seen: Vec<(u64, usize)>,
    turn: u64,
}

impl LastOnes {
    /// Removes earlier duplicates from `memberships`, starting at `start`.
    fn keep(&mut self, known: &Known, memberships: &mut Vec<usize>, start: usize) {
        if memberships.len() < start + 2 {
            return;
        }
        self.turn += 1;
        self.seen.resize(known.segments().len(), (0, 0));
        let mut after = start;
        for place in start..memberships.len() {
            let Some(&each) = memberships.get(place) else { break };
            let segment = known.membership(each).map_or(usize::MAX, |found| found.segment);
            let Some(seen) = self.seen.get_mut(segment) else { continue };
            let target = if seen.0 == self.turn {
                seen.1
            } else {
                *seen = (self.turn, after);
                after += 1;
                after - 1
            };
            if let Some(kept) = memberships.get_mut(target) {
                *kept = each;
            }
        }
        memberships.truncate(after);
    }
}

/// The range of a row's memberships, and the index of the next row of the same user.
struct Span {
    start: usize,
    end: usize,
    next: Option<usize>,
}

struct User {
    id: u64,
    first_row: usize,
    last_row: usize,
}

/// Rows that have been read; their memberships are indexes in `Known`.
#[derive(Default)]
pub struct Rows {
    places: HashMap<u64, usize>,
    users: Vec<User>,
    spans: Vec<Span>,
    memberships: Vec<usize>,
}

/// The commands for rows, and for each membership that is set, the indexes of its segment and its user. `joining` has
/// the indexes of the users whom a row adds to a segment, even where a later row takes them out again.
pub struct Changes {
    pub sets: PackedCommands,
    pub removes: PackedCommands,
    pub joined: Vec<(usize, u32)>,
    pub joining: Vec<u32>,
}

impl Rows {
    /// Adds a row; returns false, and adds nothing, if a membership is not known (None) or there are more than `most`.
    pub fn push(
        &mut self,
        known: &Known,
        last_ones: &mut LastOnes,
        user_id: u64,
        memberships: impl Iterator<Item = Option<usize>>,
        most: usize,
    ) -> bool {
        let start = self.memberships.len();
        for each in memberships {
            match each {
                Some(found) if self.memberships.len() < start + most => self.memberships.push(found),
                _ => {
                    self.memberships.truncate(start);
                    return false;
                }
            }
        }
        last_ones.keep(known, &mut self.memberships, start);
        let row = self.spans.len();
        self.spans.push(Span { start, end: self.memberships.len(), next: None });
        let place = *self.places.entry(user_id).or_insert(self.users.len());
        if let Some(user) = self.users.get_mut(place) {
            if let Some(last) = self.spans.get_mut(user.last_row) {
                last.next = Some(row);
            }
            user.last_row = row;
        } else {
            self.users.push(User { id: user_id, first_row: row, last_row: row });
        }
        true
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The users, in the order of their first appearance.
    pub fn user_ids(&self) -> impl ExactSizeIterator<Item = u64> {
        self.users.iter().map(|user| user.id)
    }

    /// Number of memberships added and removed, by segment index.
    pub fn counts(&self, known: &Known) -> HashMap<usize, (u64, u64)> {
        let mut counts = HashMap::new();
        for membership in self.memberships.iter().filter_map(|each| known.membership(*each)) {
            let (added, removed): &mut (u64, u64) = counts.entry(membership.segment).or_default();
            let leaves = known.end(membership).is_some_and(|end| end.removes);
            *(if leaves { removed } else { added }) += 1;
        }
        counts
    }

    /// One command for each user and end.
    pub fn changes(&self, python: Python<'_>, known: &Known, last_ones: &mut LastOnes) -> Changes {
        let fields = self.memberships.iter().filter_map(|each| known.membership(*each));
        let room = (self.memberships.len(), fields.map(|each| each.packed.len()).sum());
        let mut changes = Changes {
            sets: PackedCommands::new(python, b"HSETEX", b":1\r\n", room),
            removes: PackedCommands::new(python, b"HDEL", b"", room),
            joined: Vec::with_capacity(self.memberships.len()),
            joining: Vec::with_capacity(self.users.len()),
        };
        let adds =
            |each: &usize| known.membership(*each).and_then(|found| known.end(found)).is_some_and(|end| !end.removes);
        let mut of_user = Vec::new();
        for (place, user) in (0_u32..).zip(&self.users) {
            of_user.clear();
            let mut next = self.spans.get(user.first_row);
            while let Some(row) = next {
                of_user.extend_from_slice(self.memberships.get(row.start..row.end).unwrap_or_default());
                next = row.next.and_then(|each| self.spans.get(each));
            }
            if of_user.iter().any(adds) {
                changes.joining.push(place);
            }
            if user.first_row != user.last_row {
                last_ones.keep(known, &mut of_user, 0);
            }
            changes.push(known, place, user.id, &mut of_user);
        }
        changes
    }
}

impl Changes {
    fn push(&mut self, known: &Known, place: u32, user_id: u64, memberships: &mut [usize]) {
        let end_of = |each: &usize| known.membership(*each).map(|found| found.end);
        memberships.sort_by_key(end_of);
        for alike in memberships.chunk_by(|left, right| end_of(left) == end_of(right)) {
            let found = || alike.iter().filter_map(|each| known.membership(*each));
            let Some(end) = found().next().and_then(|first| known.end(first)) else { continue };
            let fields: Vec<&[u8]> = found().map(|each| each.packed.as_ref()).collect();
            if end.removes {
                self.removes.push(user_id, (b"", 0), false, fields.into_iter());
            } else {
                let words = if end.packed.is_empty() { 0 } else { 2 };
                self.sets.push(user_id, (&end.packed, words), true, fields.into_iter());
                self.joined.extend(found().map(|each| (each.segment, place)));
            }
        }
    }
}
