//! The words of commands, as they go over the wire (RESP).

/// Put a word of a command behind the others.
pub fn push_argument(packed: &mut Vec<u8>, word: &[u8]) {
    push_number(packed, b'$', word.len());
    packed.extend_from_slice(word);
    packed.extend_from_slice(b"\r\n");
}

/// Put a number on a line of its own behind the others.
pub fn push_number(packed: &mut Vec<u8>, mark: u8, number: usize) {
    packed.push(mark);
    if let Ok(digit @ 0..10) = u8::try_from(number) {
        packed.push(b'0' + digit);
    } else {
        packed.extend_from_slice(number.to_string().as_bytes());
    }
    packed.extend_from_slice(b"\r\n");
}
