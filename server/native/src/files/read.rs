//! The result of reading rows, as Python sees it.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::cluster::{Key, number_of};
use crate::files::commands::PackedCommands;
use crate::files::known::Known;
use crate::files::rows::{LastOnes, Rows};

/// Rows that have been read, and their encoded commands.
#[pyclass(frozen)]
pub struct ReadRows {
    /// Number of rows.
    #[pyo3(get)]
    number: usize,
    /// Lines that Python has to read.
    #[pyo3(get)]
    others: Py<PyList>,
    #[pyo3(get)]
    added: Py<PyDict>,
    #[pyo3(get)]
    removed: Py<PyDict>,
    #[pyo3(get)]
    commands: Vec<Py<PackedCommands>>,
    user_ids: Vec<u64>,
    segments: Vec<i64>,
    /// Index in `segments` and index in `user_ids` of each membership that is set; sorted.
    joined: Vec<(usize, u32)>,
    /// Indexes in `user_ids`; sorted.
    joining: Vec<u32>,
}

impl ReadRows {
    /// The result for these rows; `others` are the lines that were not read.
    pub fn of(
        python: Python<'_>,
        known: &Known,
        last_ones: &mut LastOnes,
        rows: &Rows,
        others: Vec<Bound<'_, PyBytes>>,
    ) -> PyResult<Self> {
        let (added, removed) = (PyDict::new(python), PyDict::new(python));
        for (place, (adds, removes)) in rows.counts(known) {
            let segment_id = known.segments().get(place);
            for (dict, number) in [(&added, adds), (&removed, removes)] {
                if number > 0 {
                    dict.set_item(segment_id, number)?;
                }
            }
        }
        let mut changes = rows.changes(python, known, last_ones);
        changes.joined.sort_unstable();
        let (joined, segments) = numbered(changes.joined, known);
        let mut commands = Vec::new();
        for each in [changes.sets, changes.removes] {
            if !each.is_empty() {
                commands.push(Py::new(python, each)?);
            }
        }
        Ok(Self {
            number: rows.len(),
            others: PyList::new(python, others)?.unbind(),
            added: added.unbind(),
            removed: removed.unbind(),
            commands,
            user_ids: rows.user_ids().collect(),
            segments,
            joined,
            joining: changes.joining,
        })
    }
}

/// Renumbers segments to those that occur, and returns their IDs.
fn numbered(joined: Vec<(usize, u32)>, known: &Known) -> (Vec<(usize, u32)>, Vec<i64>) {
    let mut segments = Vec::new();
    let mut before = None;
    let renumbered = joined
        .into_iter()
        .map(|(segment, user)| {
            if before != Some(segment) {
                before = Some(segment);
                segments.push(known.segments().get(segment).copied().unwrap_or_default());
            }
            (segments.len() - 1, user)
        })
        .collect();
    (renumbered, segments)
}

#[pymethods]
impl ReadRows {
    /// The keys of all users.
    fn keys<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(python, self.user_ids.iter().map(|each| PyBytes::new(python, Key::of(*each).bytes())))
    }

    /// The keys of the users whom a row adds to segments, even where a later row takes them out again.
    fn joining<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let user_ids = self.joining.iter().filter_map(|each| self.user_ids.get(usize::try_from(*each).ok()?));
        let keys: Vec<_> = user_ids.map(|each| PyBytes::new(python, Key::of(*each).bytes())).collect();
        PyList::new(python, keys)
    }

    /// Which users join which segments; `instantaudience_native.pyi` describes the arrays.
    fn joins<'py>(
        &self,
        python: Python<'py>,
    ) -> (Bound<'py, PyBytes>, Vec<i64>, Bound<'py, PyBytes>, Bound<'py, PyBytes>) {
        let numbers: Vec<u8> =
            self.user_ids.iter().flat_map(|each| number_of(Key::of(*each).bytes()).to_ne_bytes()).collect();
        let segments: Vec<u8> = self
            .joined
            .iter()
            .flat_map(|(segment, _)| u32::try_from(*segment).unwrap_or_default().to_ne_bytes())
            .collect();
        let users: Vec<u8> = self.joined.iter().flat_map(|(_, user)| user.to_ne_bytes()).collect();
        (
            PyBytes::new(python, &numbers),
            self.segments.clone(),
            PyBytes::new(python, &segments),
            PyBytes::new(python, &users),
        )
    }
}
