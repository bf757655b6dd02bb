//! The registers of `HyperLogLog`s by which segment sizes are counted, as far as they are known.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::cluster::{Key, REGISTERS, number_of, place_of};
use crate::requests::keys::UserKeys;

/// The row shared by all segments whose registers are not known; it stays 0.
const UNKNOWN: usize = 0;

/// Rows of registers' ranks, one row for each segment (`sizes.registers.Registers`).
#[pyclass]
pub struct KnownRanks {
    ranks: Vec<u8>,
}

#[pymethods]
impl KnownRanks {
    #[new]
    fn new(rows: usize) -> Self {
        Self { ranks: vec![0; rows * REGISTERS] }
    }

    fn clear(&mut self, row: usize) -> PyResult<()> {
        self.row(row)?.fill(0);
        Ok(())
    }

    fn add<'py>(
        &mut self,
        rows: Vec<usize>,
        keys: &Bound<'py, UserKeys>,
    ) -> PyResult<Vec<(usize, Bound<'py, PyBytes>)>> {
        let users: Vec<_> = keys.get().iter().map(User::new).collect();
        let mut raised = Vec::new();
        for (place, row) in rows.into_iter().enumerate() {
            let ranks = self.row(row)?;
            let mut numbers = Vec::new();
            for user in &users {
                if let Some(rank) = ranks.get_mut(user.register).filter(|rank| **rank < user.rank) {
                    if row != UNKNOWN {
                        *rank = user.rank;
                    }
                    numbers.extend_from_slice(&user.number.to_ne_bytes());
                }
            }
            if !numbers.is_empty() {
                raised.push((place, PyBytes::new(keys.py(), &numbers)));
            }
        }
        Ok(raised)
    }
}

impl KnownRanks {
    fn row(&mut self, row: usize) -> PyResult<&mut [u8]> {
        self.ranks.chunks_exact_mut(REGISTERS).nth(row).ok_or_else(|| PyIndexError::new_err(row))
    }
}

struct User {
    number: u64,
    register: usize,
    rank: u8,
}

impl User {
    fn new(key: &Key) -> Self {
        let number = number_of(key.bytes());
        let (register, rank) = place_of(number);
        Self { number, register: register.into(), rank }
    }
}
