//! One request: where its users are.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyIterator, PyList};

/// What a user of a request begins with: field 1, length-delimited. And a user's ID.
const FIRST_FIELD: u8 = 0x0A;
const SHORT: u8 = 0x80;
const LONGEST_VARINT: usize = 10;

/// Where a user is in its request: `start` to `end`, and from where on it says what follows its ID.
pub struct User {
    start: usize,
    rest: usize,
    end: usize,
}

/// What a request says: its users, and its other fields, as they are encoded.
pub struct Split {
    pub users: Vec<User>,
    pub others: Vec<u8>,
}

/// Where the users of a request are that all begin with a short ID; None for any other request.
pub fn split(message: &[u8]) -> Option<Split> {
    let (mut users, mut others, mut place) = (Vec::new(), Vec::new(), 0);
    while let Some(tag) = message.get(place) {
        if *tag == FIRST_FIELD {
            let (size, start) = varint(message, place + 1)?;
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            let [FIRST_FIELD, id_size @ ..SHORT, ..] = message.get(start..end)? else { return None };
            let rest = start + 2 + usize::from(*id_size);
            if rest > end {
                return None;
            }
            users.push(User { start, rest, end });
            place = end;
        } else {
            let end = field_end(message, place)?;
            others.extend_from_slice(message.get(place..end)?);
            place = end;
        }
    }
    Some(Split { users, others })
}

/// Where the field ends that begins at a place, and is not the first one.
fn field_end(message: &[u8], place: usize) -> Option<usize> {
    let (tag, value) = varint(message, place)?;
    if tag >> 3 <= 1 {
        return None;
    }
    let end = match tag & 7 {
        0 => varint(message, value)?.1,
        1 => value.checked_add(8)?,
        2 => {
            let (size, start) = varint(message, value)?;
            start.checked_add(usize::try_from(size).ok()?)?
        }
        5 => value.checked_add(4)?,
        _ => return None,
    };
    (end <= message.len()).then_some(end)
}

/// A varint at a place, and where it ends (<https://protobuf.dev/programming-guides/encoding/>).
fn varint(message: &[u8], place: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (position, byte) in message.get(place..)?.iter().take(LONGEST_VARINT).enumerate() {
        value |= u64::from(byte & 0x7F).checked_shl(7 * u32::try_from(position).ok()?)?;
        if byte & SHORT == 0 {
            return Some((value, place + position + 1));
        }
    }
    None
}

/// The users of a request, still encoded.
#[pyclass(frozen)]
pub struct EncodedUsers {
    message: Py<PyBytes>,
    users: Vec<User>,
}

/// A request's users, and its other fields; None where Python has to look closer.
#[pyfunction]
pub fn encoded_users<'py>(
    message: &Bound<'py, PyBytes>,
) -> PyResult<Option<(Bound<'py, EncodedUsers>, Bound<'py, PyBytes>)>> {
    let python = message.py();
    let Some(Split { users, others }) = split(message.as_bytes()) else { return Ok(None) };
    let users = Bound::new(python, EncodedUsers { message: message.clone().unbind(), users })?;
    Ok(Some((users, PyBytes::new(python, &others))))
}

impl EncodedUsers {
    /// The users of a message (bytes) that says nothing else; None where Python has to look closer.
    pub fn alone_in<'py>(message: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Self>>> {
        let Ok(message) = message.cast::<PyBytes>() else { return Ok(None) };
        let found = encoded_users(message)?;
        Ok(found.and_then(|(users, others)| others.as_bytes().is_empty().then_some(users)))
    }

    /// The message that they stand in.
    pub fn message<'py>(&self, python: Python<'py>) -> &Bound<'py, PyBytes> {
        self.message.bind(python)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// The digits of each ID, and what follows it.
    pub fn parts<'a>(&'a self, python: Python<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let message = self.message.as_bytes(python);
        let part = |start, end| message.get(start..end).unwrap_or_default();
        self.users.iter().map(move |user| (part(user.start + 2, user.rest), part(user.rest, user.end)))
    }

    fn encoded<'py>(&self, python: Python<'py>, user: &User) -> Bound<'py, PyBytes> {
        PyBytes::new(python, self.message.as_bytes(python).get(user.start..user.end).unwrap_or_default())
    }
}

#[pymethods]
impl EncodedUsers {
    fn __len__(&self) -> usize {
        self.len()
    }

    fn __getitem__<'py>(&self, python: Python<'py>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
        let user = self.users.get(index).ok_or_else(|| PyIndexError::new_err(index))?;
        Ok(self.encoded(python, user))
    }

    fn __iter__<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(python, self.users.iter().map(|user| self.encoded(python, user)))?.try_iter()
    }
}
