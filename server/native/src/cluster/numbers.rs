//! Users' numbers, by which sizes of segments are counted: `sizes.hyperloglog.numbers_of` in Rust.

const SEED: u64 = 0xADC8_3B19;
const FACTOR: u64 = 0xC6A4_A793_5BD1_E995;
const SHIFT: u32 = 47;
const WORD_BYTES: usize = 8;
/// User keys are at most so long.
const LONGEST_KEY_WORDS: u64 = 6;

/// `MurmurHash64A` of a key, filled up with zeros.
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
