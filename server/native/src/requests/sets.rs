//! Sets of users that requests change.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList};

use crate::cluster::Key;

/// Random, so that nobody can choose users that collide in the hash table.
static FACTOR: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish() | 1);

/// A set of nonzero user IDs; a hash table with open addressing.
pub struct UserSet {
    places: Vec<u64>,
    shift: u32,
}

impl UserSet {
    /// An empty set with room for this many users.
    pub fn for_users(count: usize) -> Self {
        let size = (2 * count).next_power_of_two().max(2);
        Self { places: vec![0; size], shift: 64 - size.trailing_zeros() }
    }

    /// Size of the table.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Adds a user; returns its slot in the table, which never changes, or, as an error, the slot where it already was.
    pub fn insert(&mut self, user_id: u64) -> Result<usize, usize> {
        let place = self.place(user_id);
        match self.places.get_mut(place) {
            Some(found) if *found == 0 => {
                *found = user_id;
                Ok(place)
            }
            _ => Err(place),
        }
    }

    /// Whether a user is in the set.
    pub fn contains(&self, user_id: u64) -> bool {
        self.places.get(self.place(user_id)) == Some(&user_id)
    }

    /// All users in the set.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.places.iter().copied().filter(|each| *each != 0)
    }

    /// The slot where a user is or would be.
    fn place(&self, user_id: u64) -> usize {
        let mut place = usize::try_from(user_id.wrapping_mul(*FACTOR) >> self.shift).unwrap_or_default();
        while let Some(found) = self.places.get(place) {
            if *found == 0 || *found == user_id {
                break;
            }
            place = (place + 1) % self.places.len();
        }
        place
    }
}

/// The keys of a set of users.
#[pyclass(frozen)]
pub struct KeySet(pub UserSet);

#[pymethods]
impl KeySet {
    fn isdisjoint(&self, others: &Bound<'_, PyAny>) -> PyResult<bool> {
        if let Ok(others) = others.cast::<KeySet>() {
            let (left, right) = (&self.0, &others.get().0);
            let (few, many) = if left.places.len() < right.places.len() { (left, right) } else { (right, left) };
            return Ok(!few.iter().any(|each| many.contains(each)));
        }
        for key in others.try_iter()? {
            let key = key?;
            if Key::user_id(key.cast::<PyBytes>()?.as_bytes()).is_some_and(|user_id| self.0.contains(user_id)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn __iter__<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let keys: Vec<_> = self.0.iter().map(|each| PyBytes::new(python, Key::of(each).bytes())).collect();
        PyList::new(python, keys)?.try_iter()
    }
}
