//! Encoded commands on users' keys.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::cluster::{Key, by_node, push_argument, push_number};

/// Maximum length of a command without its fields.
const MOST_COMMAND_BYTES: usize = 110;

struct Command {
    end: usize,
    slot: u16,
    user_id: u64,
}

/// Encoded commands of one kind, in one buffer.
#[pyclass(frozen)]
pub struct PackedCommands {
    name: &'static [u8],
    #[pyo3(get)]
    usual_reply: Py<PyBytes>,
    packed: Vec<u8>,
    commands: Vec<Command>,
    room: (usize, usize),
}

impl PackedCommands {
    /// An empty list of commands of this name. `usual_reply` is the reply to a successful one (empty: replies differ).
    /// The first command reserves `room`, a number of commands and the bytes of their fields: growing buffers fragment
    /// memory.
    pub fn new(python: Python<'_>, name: &'static [u8], usual_reply: &[u8], room: (usize, usize)) -> Self {
        let usual_reply = PyBytes::new(python, usual_reply).unbind();
        Self { name, usual_reply, packed: Vec::new(), commands: Vec::new(), room }
    }

    /// Appends a command. After its key come the arguments in `head`, already encoded, with their number; then the
    /// encoded `fields`, of two arguments each and preceded by `FIELDS` and their number, if `counted`, else of one
    /// argument each.
    pub fn push<'a>(
        &mut self,
        user_id: u64,
        head: (&[u8], usize),
        counted: bool,
        fields: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        if self.commands.is_empty() {
            let (commands, bytes) = self.room;
            self.packed.reserve_exact(commands * MOST_COMMAND_BYTES + bytes);
            self.commands.reserve_exact(commands);
        }
        let key = Key::of(user_id);
        let (words, count) = head;
        let fields_count = fields.len();
        let (fields_words, after_head) = if counted { (2 * fields_count, 2) } else { (fields_count, 0) };
        push_number(&mut self.packed, b'*', 2 + count + after_head + fields_words);
        push_argument(&mut self.packed, self.name);
        push_argument(&mut self.packed, key.bytes());
        self.packed.extend_from_slice(words);
        if counted {
            push_argument(&mut self.packed, b"FIELDS");
            push_argument(&mut self.packed, fields_count.to_string().as_bytes());
        }
        for field in fields {
            self.packed.extend_from_slice(field);
        }
        self.commands.push(Command { end: self.packed.len(), slot: key.slot(), user_id });
    }

    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn command(&self, index: usize) -> PyResult<&Command> {
        self.commands.get(index).ok_or_else(|| PyIndexError::new_err(index))
    }

    fn bytes(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.commands.get(before)).map_or(0, |each| each.end);
        let end = self.commands.get(index).map_or(start, |each| each.end);
        self.packed.get(start..end).unwrap_or_default()
    }
}

#[pymethods]
impl PackedCommands {
    #[getter]
    fn size_bytes(&self) -> usize {
        self.packed.len()
    }

    fn __len__(&self) -> usize {
        self.commands.len()
    }

    fn __getitem__<'py>(&self, python: Python<'py>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(python, Key::of(self.command(index)?.user_id).bytes()))
    }

    fn by_node<'py>(&self, nodes: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyDict>> {
        by_node(nodes, self.commands.iter().map(|each| each.slot))
    }

    fn slot(&self, index: usize) -> PyResult<u16> {
        Ok(self.command(index)?.slot)
    }

    #[allow(clippy::needless_pass_by_value, reason = "what Python hands over")]
    fn packed<'py>(&self, python: Python<'py>, indexes: Vec<usize>) -> PyResult<Bound<'py, PyBytes>> {
        let size = indexes.iter().map(|index| self.bytes(*index).len()).sum();
        PyBytes::new_with(python, size, |mut target| {
            for index in &indexes {
                let packed = self.bytes(*index);
                let (written, rest) = target.split_at_mut(packed.len());
                written.copy_from_slice(packed);
                target = rest;
            }
            Ok(())
        })
    }

    #[allow(clippy::unused_self, reason = "that replies are no errors is all there is to know")]
    fn answer(&self, _indexes: &Bound<'_, PyAny>, _replies: &Bound<'_, PyAny>) {}
}
