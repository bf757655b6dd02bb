//! Values of JSON's strings and numbers.

/// Integers up to this length are certainly within the range of a double.
const SURELY_FINITE: usize = 300;

/// A number beyond the range of a double (RFC 8259, section 6, leaves the range to implementations).
#[derive(Debug, PartialEq, Eq)]
pub struct TooGreat;

/// Whether a number is within the range of a double.
pub fn is_finite(number: &[u8], is_whole: bool) -> bool {
    (is_whole && number.len() <= SURELY_FINITE) || double(number).is_finite()
}

/// The int32 that a number stands for, which may have a fraction part or an exponent; None if it is none.
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

/// The int32 that a string stands for: decimal digits with an optional sign.
pub fn int32_of_text(text: &[u8]) -> Option<i32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// The int32 in digits with an optional minus, of at most 11 characters.
fn short_int32(number: &[u8]) -> Option<i32> {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let count = digits.iter().fold(0_i64, |count, digit| count * 10 + i64::from(digit & 0xf));
    i32::try_from(if digits.len() < number.len() { -count } else { count }).ok()
}

fn double(number: &[u8]) -> f64 {
    str::from_utf8(number).ok().and_then(|number| number.parse().ok()).unwrap_or(f64::INFINITY)
}
