//! HTTP/2 frames (RFC 9113, sections 4 and 6).

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEADER_BYTES: usize = 9;
pub const DEFAULT_WINDOW: u32 = 65_535;
pub const LARGEST_WINDOW: u32 = 0x7FFF_FFFF;
/// Initial value of SETTINGS_MAX_FRAME_SIZE.
pub const LARGEST_FRAME: usize = 16_384;

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

pub mod error {
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame in the data, and its size; None if it is incomplete.
    pub fn first_of(data: &'a [u8]) -> Option<(Self, usize)> {
        let (header, rest) = data.split_at_checked(HEADER_BYTES)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let payload = rest.get(..length)?;
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & LARGEST_WINDOW;
        Some((Self { kind: header[3], flags: header[4], stream, payload }, HEADER_BYTES + length))
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority.
    pub fn content(&self) -> Result<&'a [u8], String> {
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (&length, rest) = content.split_first().ok_or("a frame is too short")?;
            (padding, content) = (usize::from(length), rest);
        }
        let start = if self.kind == kind::HEADERS && self.has(flag::PRIORITY) { 5 } else { 0 };
        let end = content.len().checked_sub(padding).ok_or("a frame has more padding than bytes")?;
        content.get(start..end).ok_or("a frame is too short".into())
    }

    /// A 4-byte integer in the payload.
    pub fn number(&self, start: usize) -> Result<u32, String> {
        let octets = self.payload.get(start..start + 4).and_then(|octets| octets.try_into().ok());
        octets.map(u32::from_be_bytes).ok_or("a frame is too short".into())
    }
}

/// Appends a frame header.
pub fn put_header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_header(out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut data = Vec::new();
        put(&mut data, kind::DATA, flag::END_STREAM, 7, b"body");
        for cut in 0..data.len() {
            assert_eq!(Frame::first_of(&data[..cut]), None);
        }
        data.push(0);
        let frame = Frame { kind: kind::DATA, flags: flag::END_STREAM, stream: 7, payload: b"body" };
        assert_eq!(Frame::first_of(&data), Some((frame, data.len() - 1)));
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let frame = |kind, flags, payload| Frame { kind, flags, stream: 1, payload };
        assert_eq!(frame(kind::DATA, flag::PADDED, b"\x02body--").content(), Ok(b"body".as_slice()));
        let flags = flag::PADDED | flag::PRIORITY;
        assert_eq!(frame(kind::HEADERS, flags, b"\x01\0\0\0\0\0block-").content(), Ok(b"block".as_slice()));
        assert!(frame(kind::DATA, flag::PADDED, b"\x05body").content().is_err());
        assert!(frame(kind::DATA, flag::PADDED, b"").content().is_err());
        assert!(frame(kind::HEADERS, flag::PRIORITY, b"\0\0").content().is_err());
    }
}
