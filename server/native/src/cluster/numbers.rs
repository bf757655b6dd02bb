//! Hashes of users' keys, by which segment sizes are counted; the same as `sizes.hyperloglog.numbers_of` in Python.

const SEED: u64 = 0xADC8_3B19;
const FACTOR: u64 = 0xC6A4_A793_5BD1_E995;
const SHIFT: u32 = 47;
const WORD_BYTES: usize = 8;
/// Maximum length of a user's key, in words.
const LONGEST_KEY_WORDS: u64 = 6;

/// `MurmurHash64A` of a key, padded with zeros to the maximum length.
pub fn number_of(key: &[u8]) -> u64 {
    let length = LONGEST_KEY_WORDS * 8;
    let mut hash = SEED ^ length.wrapping_mul(FACTOR);
    let mut words = key.chunks(WORD_BYTES);
    for _ in 0..LONGEST_KEY_WORDS {
        let mut word = [0; WORD_BYTES];
        for (byte, each) in word.iter_mut().zip(words.next().unwrap_or_default()) {
            *byte = *each;
        }
        let mut word = u64::from_le_bytes(word).wrapping_mul(FACTOR);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ (hash >> SHIFT)
}
