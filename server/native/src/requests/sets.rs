//! Which users requests change.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList};

use crate::cluster::Key;

/// Nobody knows which users' places fall together.
static FACTOR: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish() | 1);

/// Users by their IDs, none of which is 0.
pub struct UserSet {
    places: Vec<u64>,
    shift: u32,
}

impl UserSet {
    /// None yet, with room for so many.
    pub fn for_users(count: usize) -> Self {
        let size = (2 * count).next_power_of_two().max(2);
        Self { places: vec![0; size], shift: 64 - size.trailing_zeros() }
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Add a user, who keeps this place; an error where it was there already.
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

    /// Whether a user is there.
    pub fn contains(&self, user_id: u64) -> bool {
        self.places.get(self.place(user_id)) == Some(&user_id)
    }

    /// All users.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.places.iter().copied().filter(|each| *each != 0)
    }

    /// Where a user stands, or would stand.
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

/// The keys of users, as a set.
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
