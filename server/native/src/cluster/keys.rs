//! Keys and slots of users, hashes of users for segment sizes, and the encoding of commands for Redis.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// Number of hash slots of a Redis Cluster.
const SLOTS: u16 = 16_384;
/// CRC-16/XMODEM's polynomial.
const POLYNOMIAL: u16 = 0x1021;
const CRC_TABLE: [u16; 256] = crc_table();
/// Prefix of the keys of platform users.
const PREFIX: &[u8] = b"m:p:";
const PREFIX_CRC: u16 = crc_of(PREFIX);
/// Length of the longest 64-bit decimal.
const MOST_DIGITS: usize = 20;
/// Numbers with up to this many digits fit into 64 bits, so they are certainly IDs of platform users.
pub const SHORT_DIGITS: usize = 19;

/// The platform user ID in these digits; None if they are none, or 20 digits long.
pub fn user_id_of(digits: &[u8]) -> Option<u64> {
    if digits.len() > SHORT_DIGITS || digits.first().is_none_or(|first| *first == b'0') {
        return None;
    }
    let mut user_id = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        user_id = user_id * 10 + u64::from(digit - b'0');
    }
    Some(user_id)
}

/// The key of a platform user.
pub struct Key {
    bytes: [u8; Self::MOST_BYTES],
    size: usize,
}

impl Key {
    /// Length of the longest key.
    pub const MOST_BYTES: usize = PREFIX.len() + MOST_DIGITS;

    /// The key of a user.
    pub fn of(mut user_id: u64) -> Self {
        let mut digits = [0; MOST_DIGITS];
        let mut size = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(user_id % 10).unwrap_or_default();
            user_id /= 10;
            size += 1;
            if user_id == 0 {
                break;
            }
        }
        Self::with(digits.get(MOST_DIGITS - size..).unwrap_or_default())
    }

    /// Like `user_id_of`, and the user's key.
    pub fn of_digits(digits: &[u8]) -> Option<(Self, u64)> {
        user_id_of(digits).map(|user_id| (Self::with(digits), user_id))
    }

    /// The platform user ID in a key; None for other keys, and for IDs of 20 digits.
    pub fn user_id(key: &[u8]) -> Option<u64> {
        key.strip_prefix(PREFIX).and_then(user_id_of)
    }

    fn with(digits: &[u8]) -> Self {
        let mut bytes = [0; Self::MOST_BYTES];
        let (prefix, rest) = bytes.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        if let Some(rest) = rest.get_mut(..digits.len()) {
            rest.copy_from_slice(digits);
        }
        Self { bytes, size: PREFIX.len() + digits.len() }
    }

    /// The key's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }

    /// The key's hash slot.
    pub fn slot(&self) -> u16 {
        let digits = self.bytes.get(PREFIX.len()..self.size).unwrap_or_default();
        let crc = digits.iter().fold(PREFIX_CRC, |crc, byte| {
            let [high, _] = crc.to_be_bytes();
            (crc << 8) ^ CRC_TABLE.get(usize::from(high ^ byte)).copied().unwrap_or_default()
        });
        crc % SLOTS
    }
}

const fn crc_of(mut bytes: &[u8]) -> u16 {
    let mut crc = 0;
    while let [byte, rest @ ..] = bytes {
        crc = after_byte(crc ^ (*byte as u16) << 8);
        bytes = rest;
    }
    crc
}

const fn after_byte(mut crc: u16) -> u16 {
    let mut bit = 0;
    while bit < 8 {
        crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
        bit += 1;
    }
    crc
}

const fn crc_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut rest: &mut [u16] = &mut table;
    let mut byte = 0_u16;
    while let Some((entry, after)) = rest.split_first_mut() {
        *entry = after_byte(byte << 8);
        byte += 1;
        rest = after;
    }
    table
}

/// Groups commands by node: `nodes` has the node of each slot, `slots` the slot of each command; the result has the
/// indexes of each node's commands.
pub fn by_node<'py>(nodes: &Bound<'py, PyList>, slots: impl Iterator<Item = u16>) -> PyResult<Bound<'py, PyDict>> {
    let mut found: Vec<(Bound<'py, PyAny>, Vec<usize>)> = Vec::new();
    for (index, slot) in slots.enumerate() {
        let node = nodes.get_item(usize::from(slot))?;
        match found.iter_mut().find(|(each, _)| each.is(&node)) {
            Some((_, indexes)) => indexes.push(index),
            None => found.push((node, vec![index])),
        }
    }
    let by_node = PyDict::new(nodes.py());
    for (node, indexes) in found {
        by_node.set_item(node, indexes)?;
    }
    Ok(by_node)
}

const SEED: u64 = 0xADC8_3B19;
const FACTOR: u64 = 0xC6A4_A793_5BD1_E995;
const SHIFT: u32 = 47;
const WORD_BYTES: usize = 8;
/// Maximum length of a user's key, in words.
const LONGEST_KEY_WORDS: usize = 6;
const REGISTER_BITS: u32 = 14;
/// Number of registers of a `HyperLogLog`.
pub const REGISTERS: usize = 1 << REGISTER_BITS;

/// `MurmurHash64A` of a key, padded with zeros to the maximum length.
pub fn number_of(key: &[u8]) -> u64 {
    let mut words = key.chunks(WORD_BYTES);
    murmur((0..LONGEST_KEY_WORDS).map(|_| {
        let mut word = [0; WORD_BYTES];
        for (byte, each) in word.iter_mut().zip(words.next().unwrap_or_default()) {
            *byte = *each;
        }
        u64::from_le_bytes(word)
    }))
}

/// The register of a user's number in a `HyperLogLog`, and its rank.
pub fn place_of(number: u64) -> (u16, u8) {
    let hash = murmur([number].into_iter());
    let rest = (hash >> REGISTER_BITS) | 1 << (u64::BITS - REGISTER_BITS);
    #[allow(clippy::cast_possible_truncation, reason = "14 bits, and a number up to 51")]
    ((hash & (REGISTERS as u64 - 1)) as u16, rest.trailing_zeros() as u8 + 1)
}

/// `MurmurHash64A` of words.
fn murmur(words: impl ExactSizeIterator<Item = u64>) -> u64 {
    let mut hash = SEED ^ ((words.len() * WORD_BYTES) as u64).wrapping_mul(FACTOR);
    for word in words {
        let mut word = word.wrapping_mul(FACTOR);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ (hash >> SHIFT)
}

/// Appends an argument (a bulk string).
pub fn push_argument(packed: &mut Vec<u8>, word: &[u8]) {
    push_number(packed, b'$', word.len());
    packed.extend_from_slice(word);
    packed.extend_from_slice(b"\r\n");
}

/// Appends a line with a type byte and a number.
pub fn push_number(packed: &mut Vec<u8>, mark: u8, number: usize) {
    packed.push(mark);
    if let Ok(digit @ 0..10) = u8::try_from(number) {
        packed.push(b'0' + digit);
    } else {
        packed.extend_from_slice(number.to_string().as_bytes());
    }
    packed.extend_from_slice(b"\r\n");
}
