//! Keys of users with equal blocks, and commands that are the same for each of them.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyDict, PyIterator, PyList};

use crate::cluster::{Key, by_node, push_number};

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
