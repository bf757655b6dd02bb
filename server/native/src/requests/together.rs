//! Several requests of one caller, read as one.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::keys::Key;
use crate::requests::keys::UserKeys;
use crate::requests::sets::{KeySet, UserSet};
use crate::requests::users::EncodedUsers;

/// Lists of blocks that are compared one by one: more of them are found by their hash.
const FEW: usize = 8;

/// Users by what follows their IDs.
#[derive(Default)]
pub struct Groups<'a> {
    rests: Vec<&'a [u8]>,
    keys: Vec<UserKeys>,
    places: HashMap<&'a [u8], usize>,
    last: usize,
}

impl<'a> Groups<'a> {
    /// Add a user; the place of its group.
    pub fn push(&mut self, key: Key, rest: &'a [u8]) -> usize {
        let place = self.find(rest).unwrap_or_else(|| {
            self.rests.push(rest);
            self.keys.push(UserKeys::default());
            self.places.insert(rest, self.rests.len() - 1);
            self.rests.len() - 1
        });
        if let Some(keys) = self.keys.get_mut(place) {
            keys.push(key);
        }
        self.last = place;
        place
    }

    fn find(&self, rest: &[u8]) -> Option<usize> {
        if self.rests.get(self.last) == Some(&rest) {
            return Some(self.last);
        }
        if self.rests.len() <= FEW {
            return self.rests.iter().position(|each| *each == rest);
        }
        self.places.get(rest).copied()
    }
}

/// Users of requests, none of whom stands twice, by what follows their IDs.
#[pyclass(frozen)]
pub struct UsersTogether {
    /// What follows the IDs: bytes.
    #[pyo3(get)]
    rests: Py<PyList>,
    /// The keys of the users that have each.
    #[pyo3(get)]
    keys: Py<PyList>,
    /// How many users have each.
    #[pyo3(get)]
    sizes: Vec<usize>,
    #[pyo3(get)]
    key_set: Py<KeySet>,
    /// How many users each request has.
    request_sizes: Vec<usize>,
    /// The place in `rests` of each user.
    places: Vec<usize>,
}

/// Read requests as one; None where one of them is for Python to read, or a user stands twice.
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
    for (digits, rest) in requests.iter().flat_map(|each| each.get().parts(python)) {
        let Some((key, user_id)) = Key::of_digits(digits) else { return Ok(None) };
        if !users.insert(user_id) {
            return Ok(None);
        }
        places.push(groups.push(key, rest));
    }
    let sizes = groups.keys.iter().map(UserKeys::len).collect();
    let keys = groups.keys.into_iter().map(|each| Bound::new(python, each)).collect::<PyResult<Vec<_>>>()?;
    Ok(Some(UsersTogether {
        rests: PyList::new(python, groups.rests.iter().map(|each| PyBytes::new(python, each)))?.unbind(),
        keys: PyList::new(python, keys)?.unbind(),
        key_set: Py::new(python, KeySet(users))?,
        sizes,
        request_sizes,
        places,
    }))
}

#[pymethods]
impl UsersTogether {
    /// How many blocks each request has, where so many follow the IDs of each group.
    #[allow(clippy::needless_pass_by_value, reason = "what Python hands over")]
    fn segments(&self, valid: Vec<usize>) -> Vec<usize> {
        let mut places = self.places.iter();
        let of_user = |place: &usize| valid.get(*place).copied().unwrap_or_default();
        self.request_sizes.iter().map(|size| places.by_ref().take(*size).map(of_user).sum()).collect()
    }
}
