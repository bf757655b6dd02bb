//! What values JSON's strings and numbers are.

/// The longest whole number that is surely less than the greatest double.
const SURELY_FINITE: usize = 300;

/// A number that no double can hold (RFC 8259, section 6, leaves it to the reader).
#[derive(Debug, PartialEq, Eq)]
pub struct TooGreat;

/// Whether a double can hold the number.
pub fn is_finite(number: &[u8], is_whole: bool) -> bool {
    (is_whole && number.len() <= SURELY_FINITE) || double(number).is_finite()
}

/// The int32 that a number is, which may be written with a fraction or an exponent; None when it is none.
pub fn int32_of_number(number: &[u8], is_whole: bool) -> Result<Option<i32>, TooGreat> {
    if is_whole && number.len() <= 11 {
        return Ok(short_int32(number));
    }
    let double = double(number);
    if !double.is_finite() {
        return Err(TooGreat);
    }
    let fits = double.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&double);
    #[allow(clippy::cast_possible_truncation)] // it fits
    Ok(fits.then_some(double as i32))
}

/// The int32 that a string is: digits, and a sign before them where there is one.
pub fn int32_of_text(text: &[u8]) -> Option<i32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// The number that digits say, with a minus before them or none; 11 characters at most.
fn short_int32(number: &[u8]) -> Option<i32> {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let count = digits.iter().fold(0_i64, |count, digit| count * 10 + i64::from(digit & 0xf));
    i32::try_from(if digits.len() < number.len() { -count } else { count }).ok()
}

fn double(number: &[u8]) -> f64 {
    str::from_utf8(number).ok().and_then(|number| number.parse().ok()).unwrap_or(f64::INFINITY)
}
