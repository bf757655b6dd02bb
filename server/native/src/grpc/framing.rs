//! gRPC message framing (source: doc/PROTOCOL-HTTP2.md in grpc/grpc, "Length-Prefixed-Message").

use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::bufread::{GzDecoder, ZlibDecoder};

/// Size of the prefix: a flag (0: uncompressed, 1: compressed) and the message's length, 4 bytes, big-endian.
pub const PREFIX_BYTES: usize = 5;
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;

/// What is wrong with a request. Python has the error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The request has no message.
    Missing,
    /// The request has more than one message.
    Several,
    /// The request ends in the middle of a message.
    Truncated,
    /// A message is compressed, but the announced encoding is missing or not supported.
    UnknownCompression,
    /// A compressed message cannot be decompressed.
    Unreadable,
    /// The request did not arrive in time.
    NotReceived,
    /// A message exceeds the limit: its size or, if it was found while decompressing, the limit plus one.
    TooLong(usize),
    /// The body of a REST call exceeds the limit.
    BodyTooLong,
}

impl Flaw {
    /// Its name for Python, and the size in bytes for `TooLong`, else 0.
    pub fn parts(self) -> (&'static str, usize) {
        match self {
            Flaw::Missing => ("missing", 0),
            Flaw::Several => ("several", 0),
            Flaw::Truncated => ("truncated", 0),
            Flaw::UnknownCompression => ("unknown_compression", 0),
            Flaw::Unreadable => ("unreadable", 0),
            Flaw::NotReceived => ("not_received", 0),
            Flaw::TooLong(bytes) => ("too_long", bytes),
            Flaw::BodyTooLong => ("body_too_long", 0),
        }
    }
}

/// The announced encoding of compressed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// None, or not supported here.
    Other,
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Deflate,
}

impl Encoding {
    /// By the value of the `grpc-encoding` header.
    pub fn named(name: &[u8]) -> Self {
        match name {
            b"gzip" => Encoding::Gzip,
            b"deflate" => Encoding::Deflate,
            _ => Encoding::Other,
        }
    }
}

/// Splits a byte stream into messages of at most `limit` bytes, before and after decompression.
pub struct Messages {
    buffer: BytesMut,
    encoding: Encoding,
    limit: usize,
}

impl Messages {
    /// A splitter for a new stream.
    pub fn new(encoding: Encoding, limit: usize) -> Self {
        Self { buffer: BytesMut::new(), encoding, limit }
    }

    /// Adds bytes that have arrived.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// How many bytes have arrived that `next` has not returned yet.
    pub fn begun_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes are missing from the next message; 0 if its prefix has not arrived.
    pub fn missing_bytes(&self) -> usize {
        prefix(&self.buffer).map_or(0, |(_, length)| (PREFIX_BYTES + length).saturating_sub(self.buffer.len()))
    }

    /// How much memory the next message takes until it is read; None if its prefix has not arrived or it is too long.
    pub fn announced(&self) -> Option<usize> {
        let (flag, length) = prefix(&self.buffer)?;
        let decompressed = if is_compressed(flag, self.encoding) { self.limit } else { 0 };
        (length <= self.limit).then_some(PREFIX_BYTES + length + decompressed)
    }

    /// The next message; None if it has not arrived completely.
    pub fn next(&mut self) -> Result<Option<Packed>, Flaw> {
        let Some((flag, length)) = prefix(&self.buffer) else { return Ok(None) };
        if length > self.limit {
            return Err(Flaw::TooLong(length));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        let bytes = self.buffer.split_to(length).freeze();
        Ok(Some(Packed { flag, bytes, encoding: self.encoding, limit: self.limit }))
    }

    /// Checks, at the end of the stream, that it does not end within a message.
    pub fn finish(&self) -> Result<(), Flaw> {
        if self.buffer.is_empty() { Ok(()) } else { Err(Flaw::Truncated) }
    }
}

/// A message as it arrived, possibly compressed.
pub struct Packed {
    flag: u8,
    bytes: Bytes,
    encoding: Encoding,
    limit: usize,
}

impl Packed {
    /// Size in bytes as it arrived.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How much memory the message takes while it is decompressed; None if it is not compressed.
    pub fn decompression_bytes(&self) -> Option<usize> {
        is_compressed(self.flag, self.encoding).then_some(PREFIX_BYTES + self.len() + self.limit)
    }

    /// The decompressed message. `most` lowers the size limit for a compressed message.
    pub fn unpack(&self, most: usize) -> Result<Bytes, Flaw> {
        let most = most.min(self.limit);
        match (self.flag, self.encoding) {
            (PLAIN, _) => Ok(self.bytes.clone()),
            (COMPRESSED, Encoding::Gzip) => {
                let mut decoder = GzDecoder::new(self.bytes.chunk());
                decompress(&mut decoder, most, |decoder| decoder.get_ref().is_empty())
            }
            (COMPRESSED, Encoding::Deflate) => {
                let mut decoder = ZlibDecoder::new(self.bytes.chunk());
                decompress(&mut decoder, most, |decoder| decoder.get_ref().is_empty())
            }
            _ => Err(Flaw::UnknownCompression),
        }
    }
}

/// The message of a unary request that consists of `data`; None if that is not one whole, uncompressed message.
pub fn only_message(data: &Bytes, limit: usize) -> Option<Bytes> {
    let (flag, length) = prefix(data)?;
    let whole = flag == PLAIN && length <= limit && length == data.len() - PREFIX_BYTES;
    whole.then(|| data.slice(PREFIX_BYTES..))
}

/// Adds the prefix to a message; None if it has 4 GB or more, which the prefix cannot express.
pub fn frame(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(PLAIN);
    framed.put_u32(length);
    framed.put_slice(message);
    Some(framed.freeze())
}

fn is_compressed(flag: u8, encoding: Encoding) -> bool {
    flag == COMPRESSED && encoding != Encoding::Other
}

fn prefix(data: &[u8]) -> Option<(u8, usize)> {
    let (&flag, rest) = data.split_first()?;
    let length = u32::from_be_bytes(*rest.first_chunk()?);
    Some((flag, usize::try_from(length).ok()?))
}

/// Reads at most one byte past the limit. `all_read` tells whether the decoder has consumed all of its input.
fn decompress<D: Read>(decoder: &mut D, limit: usize, all_read: impl Fn(&D) -> bool) -> Result<Bytes, Flaw> {
    let most = limit.saturating_add(1);
    let mut plain = Vec::new();
    let read = decoder.by_ref().take(most as u64).read_to_end(&mut plain);
    if plain.len() == most {
        return Err(Flaw::TooLong(most));
    }
    if read.is_err() || !all_read(decoder) {
        return Err(Flaw::Unreadable);
    }
    Ok(plain.into())
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
