//! Encoding of commands (RESP).

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
