//! Splits Avro records with a plain `uid`, and with segments that have only short strings, into a user ID and encoded
//! segments (Avro 1.12 specification, "Binary Encoding").

/// The shape of a record: the bytes before the number of its `uid`, and the fields of its segments.
pub struct Form {
    pub uid_head: Box<[u8]>,
    pub fields: Box<[Field]>,
}

/// The type of a segment's field.
#[derive(Clone, Copy)]
pub enum Field {
    /// An int, a long or an enum.
    Number,
    /// A string of at most 63 bytes.
    Text,
    /// A boolean.
    Byte,
}

impl Field {
    /// The type that a letter stands for; None for other letters.
    pub fn of(letter: u8) -> Option<Self> {
        match letter {
            b'n' => Some(Self::Number),
            b't' => Some(Self::Text),
            b'b' => Some(Self::Byte),
            _ => None,
        }
    }
}

const LONGEST_NUMBER: usize = 10;
/// Maximum length of a string whose length takes one byte.
const MOST_TEXT_BYTES: u64 = 63;
/// Maximum length of an array whose length takes one byte.
const MOST_SEGMENTS: u64 = 63;

/// A record: its user, its encoded segments, and its size in bytes.
pub struct Record<'a> {
    pub user_id: u64,
    pub segments: Vec<&'a [u8]>,
    pub size: usize,
}

/// The record at the start of `data`; None if it has another shape, or is for no user.
pub fn split_record<'a>(data: &'a [u8], form: &Form) -> Option<Record<'a>> {
    let mut left = data.strip_prefix(form.uid_head.as_ref())?;
    let encoded = take_number(&mut left)?;
    let user_id = (encoded >> 1) ^ (encoded & 1).wrapping_neg();
    let count = take_size(&mut left, MOST_SEGMENTS)?;
    if user_id == 0 || count == 0 {
        return None;
    }
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        let start = left;
        for field in &form.fields {
            match field {
                Field::Number => {
                    take_number(&mut left)?;
                }
                Field::Text => {
                    let size = take_size(&mut left, MOST_TEXT_BYTES)?;
                    left = left.get(size..)?;
                }
                Field::Byte => left = left.get(1..)?,
            }
        }
        segments.push(start.get(..start.len() - left.len())?);
    }
    let after = left.strip_prefix(b"\0")?;
    Some(Record { user_id, segments, size: data.len() - after.len() })
}

/// Reads a varint, still zigzag-encoded.
fn take_number(left: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in (0_u32..).zip(left.iter().take(LONGEST_NUMBER)) {
        let bits = u64::from(byte & 0x7F);
        if bits.leading_zeros() < 7 * index {
            return None; // more than 64 bits
        }
        value |= bits << (7 * index);
        if *byte < 0x80 {
            *left = left.get(index as usize + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Reads a length of at most `most`.
fn take_size(left: &mut &[u8], most: u64) -> Option<usize> {
    let encoded = take_number(left)?;
    let size = encoded >> 1;
    (encoded & 1 == 0 && size <= most).then(|| usize::try_from(size).ok())?
}
