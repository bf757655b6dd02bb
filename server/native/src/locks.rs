//! Locks that go on after a panic: what they guard is whole at every moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guarded value.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
