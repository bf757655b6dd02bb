//! The protobuf wire format (source: protobuf.dev/programming-guides/encoding).

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    out.push(low_bits(number));
}

fn low_bits(number: u64) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

/// Appends an int32 field.
pub fn put_int32(out: &mut Vec<u8>, number: u32, value: i32) {
    put_varint(out, u64::from(number) << 3 | VARINT);
    put_varint(out, i64::from(value).cast_unsigned());
}

/// Begins a length-delimited field; returns the start of its content, for `end_delimited`.
pub fn begin_delimited(out: &mut Vec<u8>, number: u32) -> usize {
    put_varint(out, u64::from(number) << 3 | DELIMITED);
    out.push(0);
    out.len()
}

/// Ends a length-delimited field: sets the length of what was appended since `start`.
pub fn end_delimited(out: &mut Vec<u8>, start: usize) {
    let mut length = Vec::new();
    let content = out.len() - start;
    if let (true, Some(place)) = (content < 0x80, out.get_mut(start - 1)) {
        *place = low_bits(content as u64);
        return;
    }
    put_varint(&mut length, content as u64);
    out.splice(start - 1..start, length);
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Delimited(&'a [u8]),
    Fixed32,
}

/// The bytes are not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Iterates over the fields of a message, in encoded order.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(*self.take(8)?.first_chunk()?),
            DELIMITED => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Delimited(self.take(length)?)
            }
            FIXED32 => self.take(4).map(|_| Value::Fixed32)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}
