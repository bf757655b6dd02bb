//! Hashes of users' keys, by which segment sizes are counted, and what `PFADD` makes of them; the same as
//! `sizes.hyperloglog.numbers_of` and `places_of` in Python.

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
