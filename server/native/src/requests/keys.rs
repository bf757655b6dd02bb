//! Keys of users with equal blocks, and commands that are the same for each of them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyDict, PyIterator, PyList};

use crate::cluster::{Key, REGISTERS, by_node, number_of, place_of, push_number};

/// A key and its hash slot.
struct UserKey {
    key: Key,
    slot: u16,
}

/// An ordered list of keys.
#[pyclass(frozen)]
#[derive(Default)]
pub struct UserKeys {
    keys: Vec<UserKey>,
    size_bytes: usize,
}

impl UserKeys {
    /// Appends a key.
    pub fn push(&mut self, key: Key) {
        self.size_bytes += key.bytes().len();
        self.keys.push(UserKey { slot: key.slot(), key });
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|each| &each.key)
    }

    fn at(&self, index: usize) -> PyResult<&UserKey> {
        self.keys.get(index).ok_or_else(|| PyIndexError::new_err(index))
    }
}

#[pymethods]
impl UserKeys {
    fn __len__(&self) -> usize {
        self.len()
    }

    fn __getitem__<'py>(&self, python: Python<'py>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(python, self.at(index)?.key.bytes()))
    }

    fn __iter__<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(python, self.keys.iter().map(|each| PyBytes::new(python, each.key.bytes())))?.try_iter()
    }

    fn spread(
        slf: Bound<'_, Self>,
        before: Py<PyBytes>,
        after: Py<PyBytes>,
        usual_reply: Py<PyBytes>,
    ) -> SpreadCommands {
        SpreadCommands { keys: slf.unbind(), before, after, usual_reply }
    }
}

/// The same command for each key of a list.
#[pyclass(frozen)]
pub struct SpreadCommands {
    #[pyo3(get)]
    keys: Py<UserKeys>,
    before: Py<PyBytes>,
    after: Py<PyBytes>,
    #[pyo3(get)]
    usual_reply: Py<PyBytes>,
}

/// Encoded size of a key's length: all have two digits, except for a few very short IDs.
const LENGTH_BYTES: usize = 5;

#[pymethods]
impl SpreadCommands {
    #[getter]
    fn size_bytes(&self, python: Python<'_>) -> usize {
        let (keys, around) = (self.keys.get(), self.around(python));
        keys.size_bytes + keys.len() * (LENGTH_BYTES + around.0.len() + around.1.len())
    }

    fn __len__(&self) -> usize {
        self.keys.get().len()
    }

    fn by_node<'py>(&self, nodes: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyDict>> {
        by_node(nodes, self.keys.get().keys.iter().map(|each| each.slot))
    }

    fn slot(&self, index: usize) -> PyResult<u16> {
        Ok(self.keys.get().at(index)?.slot)
    }

    fn packed<'py>(&self, python: Python<'py>, indexes: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
        let (before, after) = self.around(python);
        let keys = self.keys.get();
        let longest = LENGTH_BYTES + before.len() + Key::MOST_BYTES + after.len();
        let mut packed = Vec::with_capacity(indexes.len() * longest);
        for index in indexes {
            let key = keys.at(index.extract()?)?.key.bytes();
            packed.extend_from_slice(before);
            push_number(&mut packed, b'$', key.len());
            packed.extend_from_slice(key);
            packed.extend_from_slice(after);
        }
        Ok(PyBytes::new(python, &packed))
    }

    #[allow(clippy::unused_self, reason = "that replies are no errors is all there is to know")]
    fn answer(&self, _indexes: &Bound<'_, PyAny>, _replies: &Bound<'_, PyAny>) {}
}

impl SpreadCommands {
    fn around<'a>(&'a self, python: Python<'a>) -> (&'a [u8], &'a [u8]) {
        (self.before.as_bytes(python), self.after.as_bytes(python))
    }
}

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

/// The row shared by all segments whose registers are not known; it stays 0.
const UNKNOWN: usize = 0;

/// Rows of registers' ranks, one row for each segment (`sizes.registers.Registers`).
#[pyclass]
pub struct KnownRanks {
    ranks: Vec<u8>,
}

#[pymethods]
impl KnownRanks {
    #[new]
    fn new(rows: usize) -> Self {
        Self { ranks: vec![0; rows * REGISTERS] }
    }

    fn clear(&mut self, row: usize) -> PyResult<()> {
        self.row(row)?.fill(0);
        Ok(())
    }

    fn add<'py>(
        &mut self,
        rows: Vec<usize>,
        keys: &Bound<'py, UserKeys>,
    ) -> PyResult<Vec<(usize, Bound<'py, PyBytes>)>> {
        let users: Vec<_> = keys.get().iter().map(User::new).collect();
        let mut raised = Vec::new();
        for (place, row) in rows.into_iter().enumerate() {
            let ranks = self.row(row)?;
            let mut numbers = Vec::new();
            for user in &users {
                if let Some(rank) = ranks.get_mut(user.register).filter(|rank| **rank < user.rank) {
                    if row != UNKNOWN {
                        *rank = user.rank;
                    }
                    numbers.extend_from_slice(&user.number.to_ne_bytes());
                }
            }
            if !numbers.is_empty() {
                raised.push((place, PyBytes::new(keys.py(), &numbers)));
            }
        }
        Ok(raised)
    }
}

impl KnownRanks {
    fn row(&mut self, row: usize) -> PyResult<&mut [u8]> {
        self.ranks.chunks_exact_mut(REGISTERS).nth(row).ok_or_else(|| PyIndexError::new_err(row))
    }
}

struct User {
    number: u64,
    register: usize,
    rank: u8,
}

impl User {
    fn new(key: &Key) -> Self {
        let number = number_of(key.bytes());
        let (register, rank) = place_of(number);
        Self { number, register: register.into(), rank }
    }
}
