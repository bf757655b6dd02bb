//! Formats numbers as the gateway's transcoder does: like C's `%.15g`, or `%.17g` if that does not round-trip (source:
//! `SimpleDtoa` in protobuf).

use std::fmt::Write;

/// Appends a number, or null for one that JSON cannot represent.
pub fn put_double(out: &mut String, number: f64) {
    if !number.is_finite() {
        *out += "null";
        return;
    }
    let short = general(number, 15);
    *out += &if short.parse() == Ok(number) { short } else { general(number, 17) };
}

/// Formats a number with this many significant digits, like C's `%g`.
fn general(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let places = usize::try_from(exponent + 4).ok().and_then(|above| (digits + 3).checked_sub(above));
    if let Some(places) = places {
        return without_zeros(&format!("{number:.places$}")).to_owned();
    }
    let mut text = without_zeros(mantissa).to_owned();
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a String cannot fail.
    let _ = write!(text, "e{sign}{:02}", exponent.abs());
    text
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}
