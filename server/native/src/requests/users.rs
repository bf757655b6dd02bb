//! Locates the users in a request.

use std::collections::{HashMap, HashSet};

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyList, PySlice};

use crate::cluster::Key;
use crate::requests::keys::{KeySet, UserKeys, UserSet};

/// Tag of field 1, length-delimited: a user in a request, and the ID in a user.
const FIRST_FIELD: u8 = 0x0A;
const SHORT: u8 = 0x80;
const LONGEST_VARINT: usize = 10;
/// Maximum size of a length; protobuf's own parsers accept no longer ones.
const LONGEST_LENGTH: usize = 5;

/// The parts of a request: the number of users, and the other fields, still encoded.
pub struct Split {
    pub users: usize,
    pub others: Vec<u8>,
    /// Whether all users begin with a short ID.
    pub regular: bool,
}

/// Splits a request. None if Python has to read it or, unless `irregular` users are accepted, if a user does not begin
/// with a short ID.
pub fn split(message: &[u8], irregular: bool) -> Option<Split> {
    let (mut users, mut others, mut regular, mut place) = (0, Vec::new(), true, 0);
    while let Some(tag) = message.get(place) {
        if *tag == FIRST_FIELD {
            let (user, end) = user_at(message, place)?;
            if id_and_rest(user).is_none() {
                if !irregular {
                    return None;
                }
                regular = false;
            }
            users += 1;
            place = end;
        } else {
            let end = field_end(message, place)?;
            others.extend_from_slice(message.get(place..end)?);
            place = end;
        }
    }
    Some(Split { users, others, regular })
}

/// Iterates over the users of a request that `split` has accepted. They are not stored: there may be hundreds of
/// thousands, most of which are never looked at.
pub struct Users<'a> {
    message: &'a [u8],
    place: usize,
}

impl<'a> Iterator for Users<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while *self.message.get(self.place)? != FIRST_FIELD {
            self.place = field_end(self.message, self.place)?;
        }
        let (user, end) = user_at(self.message, self.place)?;
        self.place = end;
        Some(user)
    }
}

/// The user whose tag is at `tag`, and where it ends.
fn user_at(message: &[u8], tag: usize) -> Option<(&[u8], usize)> {
    let (start, end) = content_at(message, tag + 1)?;
    Some((message.get(start..end)?, end))
}

/// The digits of a user's ID, and the bytes after it; None if the user does not begin with a short ID.
fn id_and_rest(user: &[u8]) -> Option<(&[u8], &[u8])> {
    match user {
        [FIRST_FIELD, size @ ..SHORT, more @ ..] => more.split_at_checked(usize::from(*size)),
        _ => None,
    }
}

/// Where the field that begins at `place` ends; possibly beyond the message. None for field 1 and for malformed fields.
fn field_end(message: &[u8], place: usize) -> Option<usize> {
    let (tag, value) = varint(message, place)?;
    if tag >> 3 <= 1 {
        return None;
    }
    match tag & 7 {
        0 => Some(varint(message, value)?.1),
        1 => value.checked_add(8),
        2 => Some(content_at(message, value)?.1),
        5 => value.checked_add(4),
        _ => None,
    }
}

/// Where the content whose length is at `place` begins and ends.
fn content_at(message: &[u8], place: usize) -> Option<(usize, usize)> {
    let (size, start) = varint(message, place)?;
    if start - place > LONGEST_LENGTH {
        return None;
    }
    Some((start, start.checked_add(usize::try_from(size).ok()?)?))
}

/// The varint at `place`, and where it ends (<https://protobuf.dev/programming-guides/encoding/>).
fn varint(message: &[u8], place: usize) -> Option<(u64, usize)> {
    let first = *message.get(place)?;
    if first & SHORT == 0 {
        return Some((first.into(), place + 1)); // as most are
    }
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
    count: usize,
    /// Whether all users begin with a short ID.
    regular: bool,
}

/// A request's users, and its other fields; None if Python has to read the request.
#[pyfunction]
pub fn encoded_users<'py>(
    message: &Bound<'py, PyBytes>,
) -> PyResult<Option<(Bound<'py, EncodedUsers>, Bound<'py, PyBytes>)>> {
    let python = message.py();
    let Some(Split { users: count, others, regular }) = split(message.as_bytes(), true) else { return Ok(None) };
    let users = EncodedUsers { message: message.clone().unbind(), count, regular };
    Ok(Some((Bound::new(python, users)?, PyBytes::new(python, &others))))
}

/// The distinct users of a request, from index `start` on; None if `users` are not `EncodedUsers`.
#[pyfunction]
pub fn different_users<'py>(users: &Bound<'py, PyAny>, start: usize) -> PyResult<Option<Bound<'py, PyList>>> {
    let Ok(users) = users.cast::<EncodedUsers>() else { return Ok(None) };
    let python = users.py();
    let (mut found, mut different, mut last) = (HashSet::new(), Vec::new(), None);
    for user in users.get().each(python).skip(start) {
        if last.replace(user) != Some(user) && found.insert(user) {
            different.push(PyBytes::new(python, user));
        }
    }
    PyList::new(python, different).map(Some)
}

impl EncodedUsers {
    /// The users of a message (bytes), if all of them begin with a short ID and there are no other fields but `start`;
    /// otherwise None. And whether those are there.
    pub fn alone_in<'py>(
        message: &Bound<'py, PyAny>,
        start: Option<&[u8]>,
    ) -> PyResult<Option<(Bound<'py, Self>, bool)>> {
        let Ok(message) = message.cast::<PyBytes>() else { return Ok(None) };
        let Some(Split { users: count, others, regular }) = split(message.as_bytes(), false) else { return Ok(None) };
        let starts = !others.is_empty();
        if starts && Some(others.as_slice()) != start {
            return Ok(None);
        }
        let users = Self { message: message.clone().unbind(), count, regular };
        Ok(Some((Bound::new(message.py(), users)?, starts)))
    }

    /// Whether all users begin with an ID of fewer than 128 bytes.
    pub fn regular(&self) -> bool {
        self.regular
    }

    /// The message that contains the users.
    pub fn message<'py>(&self, python: Python<'py>) -> &Bound<'py, PyBytes> {
        self.message.bind(python)
    }

    /// Number of users.
    pub fn len(&self) -> usize {
        self.count
    }

    fn each<'a>(&'a self, python: Python<'a>) -> Users<'a> {
        Users { message: self.message.as_bytes(python), place: 0 }
    }

    /// The digits of each ID, and the bytes after it. Empty for irregular users.
    pub fn parts<'a>(&'a self, python: Python<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.each(python).map(|user| id_and_rest(user).unwrap_or_default())
    }
}

#[pymethods]
impl EncodedUsers {
    fn __len__(&self) -> usize {
        self.len()
    }

    fn __getitem__<'py>(&self, python: Python<'py>, place: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut users = self.each(python).map(|user| PyBytes::new(python, user));
        if let Ok(slice) = place.cast::<PySlice>() {
            let indices = slice.indices(self.len().try_into()?)?;
            let (start, step) = (usize::try_from(indices.start)?, usize::try_from(indices.step)?);
            let places = indices.slicelength;
            let users: Vec<_> = users.skip(start).step_by(step).take(places).collect();
            return Ok(PyList::new(python, users)?.into_any());
        }
        let place = place.extract()?;
        Ok(users.nth(place).ok_or_else(|| PyIndexError::new_err(place))?.into_any())
    }

    fn __iter__(users: Bound<'_, Self>) -> EncodedUser {
        EncodedUser { users: users.unbind(), place: 0 }
    }
}

/// Iterator over the users of a request.
#[pyclass]
struct EncodedUser {
    users: Py<EncodedUsers>,
    place: usize,
}

#[pymethods]
impl EncodedUser {
    fn __iter__(each: Bound<'_, Self>) -> Bound<'_, Self> {
        each
    }

    fn __next__<'py>(&mut self, python: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let mut users = Users { message: self.users.get().message.as_bytes(python), place: self.place };
        let user = users.next()?;
        self.place = users.place;
        Some(PyBytes::new(python, user))
    }
}

/// Up to this many groups are searched linearly, more by hash.
const FEW: usize = 8;

/// Users with the same bytes after their IDs.
struct Group<'a> {
    rest: &'a [u8],
    keys: UserKeys,
    /// Number of users in all requests; `keys` has each user once.
    size: usize,
}

/// Users grouped by the bytes after their IDs.
#[derive(Default)]
struct Groups<'a> {
    found: Vec<Group<'a>>,
    places: HashMap<&'a [u8], usize>,
    last: usize,
}

impl<'a> Groups<'a> {
    /// Adds a user to its group, and its key if it is `new`; returns the group's index.
    fn push(&mut self, key: Key, rest: &'a [u8], new: bool) -> usize {
        let place = self.find(rest).unwrap_or_else(|| {
            self.found.push(Group { rest, keys: UserKeys::default(), size: 0 });
            self.places.insert(rest, self.found.len() - 1);
            self.found.len() - 1
        });
        if let Some(group) = self.found.get_mut(place) {
            group.size += 1;
            if new {
                group.keys.push(key);
            }
        }
        self.last = place;
        place
    }

    fn find(&self, rest: &[u8]) -> Option<usize> {
        if self.found.get(self.last).is_some_and(|group| group.rest == rest) {
            return Some(self.last);
        }
        if self.found.len() <= FEW {
            return self.found.iter().position(|group| group.rest == rest);
        }
        self.places.get(rest).copied()
    }
}

/// The users of several requests, grouped by the bytes after their IDs.
#[pyclass(frozen)]
pub struct UsersTogether {
    /// The bytes after the IDs of each group.
    #[pyo3(get)]
    rests: Py<PyList>,
    /// The keys of each group's users, without duplicates.
    #[pyo3(get)]
    keys: Py<PyList>,
    /// Number of users of each group, counted in every request.
    #[pyo3(get)]
    sizes: Vec<usize>,
    #[pyo3(get)]
    key_set: Py<KeySet>,
    /// Number of users of each request.
    request_sizes: Vec<usize>,
    /// The group of each user, over all requests.
    places: Vec<usize>,
}

/// Reads several requests as one. None if Python has to read one of them, or a user occurs twice in a request or with
/// different bytes after its ID.
#[pyfunction]
pub fn users_together(requests: &Bound<'_, PyList>) -> PyResult<Option<UsersTogether>> {
    let python = requests.py();
    let requests: Result<Vec<_>, _> = requests.iter().map(Bound::cast_into::<EncodedUsers>).collect();
    let Ok(requests) = requests else { return Ok(None) };
    if !requests.iter().all(|each| each.get().regular()) {
        return Ok(None);
    }
    let request_sizes: Vec<usize> = requests.iter().map(|each| each.get().len()).collect();
    let count = request_sizes.iter().sum();
    let (mut groups, mut users, mut places) = (Groups::default(), UserSet::for_users(count), Vec::with_capacity(count));
    // For each slot of the set, the position of its user's latest occurrence among all users of the requests.
    let mut stood = vec![0_usize; users.places()];
    for request in &requests {
        let start = places.len();
        for (digits, rest) in request.get().parts(python) {
            let Some((key, user_id)) = Key::of_digits(digits) else { return Ok(None) };
            let inserted = users.insert(user_id);
            let Some(stands) = stood.get_mut(inserted.unwrap_or_else(|place| place)) else { return Ok(None) };
            let earlier = inserted.err().map(|_| *stands);
            let group = groups.push(key, rest, earlier.is_none());
            if earlier.is_some_and(|earlier| earlier >= start || places.get(earlier) != Some(&group)) {
                return Ok(None);
            }
            *stands = places.len();
            places.push(group);
        }
    }
    let groups = groups.found;
    let sizes = groups.iter().map(|group| group.size).collect();
    let rests = PyList::new(python, groups.iter().map(|group| PyBytes::new(python, group.rest)))?.unbind();
    let keys = groups.into_iter().map(|group| Bound::new(python, group.keys)).collect::<PyResult<Vec<_>>>()?;
    Ok(Some(UsersTogether {
        rests,
        keys: PyList::new(python, keys)?.unbind(),
        key_set: Py::new(python, KeySet(users))?,
        sizes,
        request_sizes,
        places,
    }))
}

#[pymethods]
impl UsersTogether {
    /// Number of valid blocks in each request, given the number in each group.
    #[allow(clippy::needless_pass_by_value, reason = "what Python hands over")]
    fn segments(&self, valid: Vec<usize>) -> Vec<usize> {
        let mut places = self.places.iter();
        let of_user = |place: &usize| valid.get(*place).copied().unwrap_or_default();
        self.request_sizes.iter().map(|size| places.by_ref().take(*size).map(of_user).sum()).collect()
    }
}
