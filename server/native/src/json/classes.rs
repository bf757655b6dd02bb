//! The Python interface of this module, described in `instantaudience_native.pyi`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::json::schema::Row;
use crate::json::writer::put_text;
use crate::json::{Reader, Writer};

/// Reads JSON bodies.
#[pyclass(frozen)]
pub struct JsonReader(pub Arc<Reader>);

#[pymethods]
impl JsonReader {
    #[new]
    #[pyo3(signature = (messages, root, *, start, depth, rules, empty))]
    fn new(
        messages: HashMap<String, Vec<Row>>,
        root: &str,
        start: &[u8],
        depth: usize,
        rules: HashMap<String, String>,
        empty: String,
    ) -> PyResult<Self> {
        let reader = Reader::new(messages, root, start, depth, rules, empty).map_err(PyValueError::new_err)?;
        Ok(Self(Arc::new(reader)))
    }

    fn read<'py>(&self, py: Python<'py>, body: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        read(py, &self.0, body)
    }
}

fn read<'py>(py: Python<'py>, reader: &Reader, body: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let message = reader.read(body).map_err(PyValueError::new_err)?;
    Ok(PyBytes::new(py, &message))
}

/// A body that has not been read yet.
#[pyclass(frozen)]
pub struct UnreadBody {
    pub text: Bytes,
    pub reader: Arc<Reader>,
}

#[pymethods]
impl UnreadBody {
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        read(py, &self.reader, &self.text)
    }
}

/// Encodes a string as JSON, as responses contain it.
#[pyfunction]
pub fn json_text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    put_text(&mut json, text);
    json
}

/// Writes JSON responses.
#[pyclass(frozen)]
pub struct JsonWriter(pub Arc<Writer>);

#[pymethods]
impl JsonWriter {
    #[new]
    fn new(messages: HashMap<String, Vec<Row>>, root: &str) -> PyResult<Self> {
        let writer = Writer::new(messages, root).map_err(PyValueError::new_err)?;
        Ok(Self(Arc::new(writer)))
    }

    fn write<'py>(&self, py: Python<'py>, message: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let text = self.0.write(message).map_err(|_| PyValueError::new_err("no such message"))?;
        Ok(PyBytes::new(py, text.as_bytes()))
    }
}
