//! The Python classes that read files, described in `instantaudience_native.pyi`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::files::known::Known;
use crate::files::lines::{Layout, split_segments, split_user};
use crate::files::read::ReadRows;
use crate::files::records::{Field, Form, split_record};
use crate::files::rows::{LastOnes, Rows};

/// Reads lines of text.
#[pyclass]
pub struct LineReader {
    layout: Layout,
    most_segments: usize,
    longest_line: usize,
    known: Known,
    last_ones: LastOnes,
}

#[pymethods]
impl LineReader {
    #[new]
    #[pyo3(signature = (*, user, segment, removal, most_segments, longest_line))]
    fn new(user: &[u8], segment: &[u8], removal: &[u8], most_segments: usize, longest_line: usize) -> PyResult<Self> {
        let user = one_byte(user)?.ok_or_else(|| PyValueError::new_err("users need a separator"))?;
        let layout = Layout { user, segment: one_byte(segment)?, removal: one_byte(removal)? };
        Ok(Self { layout, most_segments, longest_line, known: Known::default(), last_ones: LastOnes::default() })
    }

    #[getter]
    fn known(&self) -> usize {
        self.known.len()
    }

    fn learn(&mut self, text: &[u8], leaving: bool, segment_id: i64, end: i64, value: i64) {
        self.known.learn(text, leaving, segment_id, end, value);
    }

    fn read(&mut self, text: &Bound<'_, PyBytes>) -> PyResult<ReadRows> {
        let python = text.py();
        let (mut rows, mut others) = (Rows::default(), Vec::new());
        for line in text.as_bytes().split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            if !self.take(&mut rows, line) {
                others.push(PyBytes::new(python, line));
            }
        }
        ReadRows::of(python, &self.known, &mut self.last_ones, &rows, others)
    }
}

impl LineReader {
    fn take(&mut self, rows: &mut Rows, line: &[u8]) -> bool {
        let Some((user_id, rest)) = split_user(line, &self.layout).filter(|_| line.len() <= self.longest_line) else {
            return false;
        };
        let known = &self.known;
        let memberships = split_segments(rest, &self.layout).map(|(each, leaving)| known.find(each, leaving));
        rows.push(known, &mut self.last_ones, user_id, memberships, self.most_segments)
    }
}

fn one_byte(separator: &[u8]) -> PyResult<Option<u8>> {
    match separator {
        [] => Ok(None),
        [byte] => Ok(Some(*byte)),
        _ => Err(PyValueError::new_err("a separator has one byte, or none")),
    }
}

/// Reads Avro records.
#[pyclass]
pub struct RecordReader {
    form: Form,
    most_segments: usize,
    known: Known,
    last_ones: LastOnes,
    rows: Rows,
}

#[pymethods]
impl RecordReader {
    #[new]
    #[pyo3(signature = (*, uid_head, fields, most_segments))]
    fn new(uid_head: &[u8], fields: &[u8], most_segments: usize) -> PyResult<Self> {
        let fields: Option<Box<[Field]>> = fields.iter().map(|letter| Field::of(*letter)).collect();
        let fields = fields.ok_or_else(|| PyValueError::new_err("no field has this letter"))?;
        Ok(Self {
            form: Form { uid_head: uid_head.into(), fields },
            most_segments,
            known: Known::default(),
            last_ones: LastOnes::default(),
            rows: Rows::default(),
        })
    }

    #[getter]
    fn known(&self) -> usize {
        self.known.len()
    }

    fn learn(&mut self, text: &[u8], segment_id: i64, end: i64, value: i64) {
        self.known.learn(text, false, segment_id, end, value);
    }

    fn split<'py>(&self, data: &Bound<'py, PyBytes>, place: usize) -> Option<Vec<Bound<'py, PyBytes>>> {
        let record = split_record(data.as_bytes().get(place..)?, &self.form)?;
        Some(record.segments.into_iter().map(|each| PyBytes::new(data.py(), each)).collect())
    }

    fn read(&mut self, data: &Bound<'_, PyBytes>, mut place: usize, most: usize) -> (usize, usize) {
        let before = self.rows.len();
        while self.rows.len() < before + most {
            let left = data.as_bytes().get(place..).unwrap_or_default();
            let Some(record) = split_record(left, &self.form) else { break };
            let known = &self.known;
            let memberships = record.segments.iter().map(|each| known.find(each, false));
            if !self.rows.push(known, &mut self.last_ones, record.user_id, memberships, self.most_segments) {
                break;
            }
            place += record.size;
        }
        (place, self.rows.len() - before)
    }

    fn finish(&mut self, python: Python<'_>) -> PyResult<ReadRows> {
        let rows = std::mem::take(&mut self.rows);
        ReadRows::of(python, &self.known, &mut self.last_ones, &rows, Vec::new())
    }
}
