//! Finds the ends of JSON tokens (RFC 8259). Nothing reads past the end of the text: bytes there count as NUL, which is
//! part of no token.

/// The byte at `at`.
pub fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// Where the next token starts.
pub fn after_space(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\n' | b'\r' | b'\t') {
        at += 1;
    }
    at
}

/// Position of the closing quote of the string whose content starts at `at`, and whether it has escapes; None if it is
/// not a string (section 7). UTF-8 and surrogates are not checked.
pub fn closing_quote(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escapes = false;
    loop {
        at = after_plain(text, at);
        match byte(text, at) {
            b'"' => return Some((at, escapes)),
            b'\\' => {
                escapes = true;
                at = after_escape(text, at)?;
            }
            _ => return None,
        }
    }
}

fn after_escape(text: &[u8], at: usize) -> Option<usize> {
    match byte(text, at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => Some(at + 6),
        _ => None,
    }
}

const ONES: u64 = u64::MAX / 0xff;
const HIGH_BITS: u64 = ONES * 0x80;

/// Position of the next quote, backslash or control character, or the end.
fn after_plain(text: &[u8], at: usize) -> usize {
    let (words, rest) = text.get(at..).unwrap_or_default().as_chunks::<8>();
    let mut place = at;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let special = below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5c), 1);
        if special != 0 {
            return place + special.trailing_zeros() as usize / 8;
        }
        place += 8;
    }
    place + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

/// Sets the high bit of each byte of a word that is below `least`, at most 128. Bytes above the lowest such byte may be
/// set wrongly ("Bit Twiddling Hacks", hasless).
fn below(word: u64, least: u64) -> u64 {
    word.wrapping_sub(ONES * least) & !word & HIGH_BITS
}

fn after_digits(text: &[u8], mut at: usize) -> usize {
    while byte(text, at).is_ascii_digit() {
        at += 1;
    }
    at
}

/// The end of the number at `at`, and whether it has neither fraction nor exponent; None if it is not a number (section
/// 6).
pub fn after_number(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let first = at + usize::from(byte(text, at) == b'-');
    let whole = after_digits(text, first);
    if whole == first || (byte(text, first) == b'0' && whole > first + 1) {
        return None;
    }
    let mut end = whole;
    if byte(text, end) == b'.' {
        end = some_digits(text, end + 1)?;
    }
    if matches!(byte(text, end), b'e' | b'E') {
        let sign = usize::from(matches!(byte(text, end + 1), b'+' | b'-'));
        end = some_digits(text, end + 1 + sign)?;
    }
    Some((end, end == whole))
}

fn some_digits(text: &[u8], at: usize) -> Option<usize> {
    let end = after_digits(text, at);
    (end > at).then_some(end)
}

/// The end of the literal at `at`; None if it is not a literal.
pub fn after_literal(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    [&b"true"[..], b"false", b"null"].iter().find(|literal| rest.starts_with(literal)).map(|found| at + found.len())
}
