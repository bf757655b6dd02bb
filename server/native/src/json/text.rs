//! Escapes in strings (RFC 8259, section 7). `raw` is the text between the quotes.

use crate::json::tokens::byte;

/// Position of the first unpaired surrogate, in a string that is otherwise well-formed.
pub fn lone_surrogate(raw: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < raw.len() {
        if byte(raw, at) != b'\\' {
            at += 1;
            continue;
        }
        let (code, length) = escape(raw, at);
        if (0xd800..0xe000).contains(&code) {
            return Some(at);
        }
        at += length;
    }
    None
}

/// Appends the unescaped string. It must be well-formed, without unpaired surrogates.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(place) = rest.iter().position(|byte| *byte == b'\\') {
        let (plain, escaped) = rest.split_at(place);
        out.extend_from_slice(plain);
        let (code, length) = escape(escaped, 0);
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escaped.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// The character of the escape at `at`, and the escape's length; a surrogate pair counts as one escape.
fn escape(raw: &[u8], at: usize) -> (u32, usize) {
    match byte(raw, at + 1) {
        b'u' => {
            let high = hex(raw, at + 2);
            let low = if byte(raw, at + 6) == b'\\' && byte(raw, at + 7) == b'u' { hex(raw, at + 8) } else { 0 };
            match (high, low) {
                (0xd800..0xdc00, 0xdc00..0xe000) => (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12),
                _ => (high, 6),
            }
        }
        b'b' => (8, 2),
        b'f' => (12, 2),
        b'n' => (10, 2),
        b'r' => (13, 2),
        b't' => (9, 2),
        itself => (u32::from(itself), 2),
    }
}

fn hex(raw: &[u8], at: usize) -> u32 {
    (at..at + 4).fold(0, |code, at| code << 4 | char::from(byte(raw, at)).to_digit(16).unwrap_or(0))
}
