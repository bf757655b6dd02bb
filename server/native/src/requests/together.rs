//! Reads several requests of one caller as one.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::cluster::Key;
use crate::requests::keys::UserKeys;
use crate::requests::sets::{KeySet, UserSet};
use crate::requests::users::EncodedUsers;

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
