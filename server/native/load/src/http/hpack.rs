//! HTTP/2 header compression (RFC 7541). Request headers are encoded once per connection; of responses, only what tells
//! how a call ended is kept.

use std::collections::VecDeque;
use std::sync::LazyLock;

use crate::http::hpack_tables::{HUFFMAN, STATIC};

/// Size of the decoder's dynamic table: the initial value of SETTINGS_HEADER_TABLE_SIZE.
pub const TABLE_BYTES: usize = 4096;
/// Overhead of an entry (section 4.1).
const ENTRY_BYTES: usize = 32;
const END_OF_STRING: u16 = 256;

/// The status in the headers or trailers of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub http_status: Option<u16>,
    pub grpc_status: Option<u32>,
    pub grpc_message: String,
}

impl Head {
    fn take(&mut self, field: &Field) {
        let value = std::str::from_utf8(&field.value).unwrap_or("");
        match field.name.as_slice() {
            b":status" => self.http_status = value.parse().ok(),
            // An invalid `grpc-status` stands for UNKNOWN, as in gRPC.
            b"grpc-status" => self.grpc_status = Some(value.parse().unwrap_or(2)),
            b"grpc-message" => self.grpc_message = value.to_owned(),
            _ => {}
        }
    }
}

#[derive(Clone)]
struct Field {
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Decodes the header blocks of a connection, which must be passed in order.
pub struct Decoder {
    table: VecDeque<Field>,
    table_bytes: usize,
    limit_bytes: usize,
}

impl Decoder {
    pub fn new() -> Self {
        Self { table: VecDeque::new(), table_bytes: 0, limit_bytes: TABLE_BYTES }
    }

    /// Decodes a block into `head`. An error says what is wrong with the block.
    pub fn decode(&mut self, mut block: &[u8], head: &mut Head) -> Result<(), String> {
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut block, 7)?;
                head.take(self.field(index)?);
            } else if first & 0xE0 == 0x20 {
                self.limit_bytes = integer(&mut block, 5)?.min(TABLE_BYTES);
                self.evict();
            } else {
                let is_kept = first & 0xC0 == 0x40;
                let index = integer(&mut block, if is_kept { 6 } else { 4 })?;
                let name = if index == 0 { string(&mut block)? } else { self.field(index)?.name.clone() };
                let field = Field { name, value: string(&mut block)? };
                head.take(&field);
                if is_kept {
                    self.table_bytes += entry_bytes(&field);
                    self.table.push_front(field);
                    self.evict();
                }
            }
        }
        Ok(())
    }

    fn field(&self, index: usize) -> Result<&Field, String> {
        static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| {
            STATIC.iter().map(|(name, value)| Field { name: (*name).into(), value: (*value).into() }).collect()
        });
        let place = index.checked_sub(1).ok_or("a header has index 0")?;
        FIELDS.get(place).or_else(|| self.table.get(place - FIELDS.len())).ok_or("a header's index is too large".into())
    }

    fn evict(&mut self) {
        while self.table_bytes > self.limit_bytes {
            self.table_bytes -= self.table.pop_back().map_or(self.table_bytes, |field| entry_bytes(&field));
        }
    }
}

fn entry_bytes(field: &Field) -> usize {
    field.name.len() + field.value.len() + ENTRY_BYTES
}

/// Decodes an integer (section 5.1).
fn integer(block: &mut &[u8], prefix_bits: u32) -> Result<usize, String> {
    let most = (1 << prefix_bits) - 1;
    let mut value = usize::from(next_octet(block)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let octet = next_octet(block)?;
        value += usize::from(octet & 0x7F) << shift;
        if octet & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number in a header block is too large".into())
}

/// Decodes a string literal (section 5.2).
fn string(block: &mut &[u8]) -> Result<Vec<u8>, String> {
    let is_huffman = block.first().is_some_and(|octet| octet & 0x80 != 0);
    let length = integer(block, 7)?;
    let (octets, rest) = block.split_at_checked(length).ok_or("a header block ends too early")?;
    *block = rest;
    if is_huffman { huffman(octets) } else { Ok(octets.to_vec()) }
}

fn next_octet(block: &mut &[u8]) -> Result<u8, String> {
    let (&octet, rest) = block.split_first().ok_or("a header block ends too early")?;
    *block = rest;
    Ok(octet)
}

/// A node of the code tree.
#[derive(Clone, Copy)]
enum Place {
    Fork(u16),
    Octet(u16),
}

static TREE: LazyLock<Vec<[Place; 2]>> = LazyLock::new(|| {
    let mut forks = vec![[Place::Fork(0); 2]];
    for (octet, &(code, bits)) in (0..).zip(&HUFFMAN) {
        let mut fork = 0;
        for bit in (1..bits).rev().map(|bit| code >> bit & 1) {
            fork = match forks[fork][bit as usize] {
                Place::Fork(next) if next > 0 => usize::from(next),
                _ => {
                    let next = forks.len();
                    forks[fork][bit as usize] = Place::Fork(next as u16);
                    forks.push([Place::Fork(0); 2]);
                    next
                }
            };
        }
        forks[fork][(code & 1) as usize] = Place::Octet(octet);
    }
    forks
});

fn huffman(octets: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::with_capacity(octets.len() * 2);
    let mut fork = 0;
    for bit in octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1)) {
        fork = match TREE[usize::from(fork)][usize::from(bit)] {
            Place::Octet(END_OF_STRING) => return Err("a header's text has a code that ends it".into()),
            Place::Octet(octet) => {
                text.push(octet as u8);
                0
            }
            Place::Fork(next) => next,
        };
    }
    Ok(text)
}

/// Encoded request headers: the first block on a connection adds them to the peer's dynamic table, later ones refer to
/// it.
pub struct RequestHeaders {
    pub first: Vec<u8>,
    pub later: Vec<u8>,
    /// What precedes the value of `grpc-timeout` in a first and in a later block; both empty without a deadline.
    pub first_timeout: Vec<u8>,
    pub later_timeout: Vec<u8>,
}

/// Index of the newest entry of the dynamic table.
const NEWEST: usize = STATIC.len() + 1;

impl RequestHeaders {
    /// `table_bytes` is the size of the peer's dynamic table; if it is too small, the table is not used.
    pub fn new(fields: &[(&str, &str)], has_timeout: bool, table_bytes: usize) -> Self {
        let needed: usize = fields.iter().map(|(name, value)| name.len() + value.len() + ENTRY_BYTES).sum();
        let is_kept = needed + "grpc-timeout".len() + ENTRY_BYTES + TIMEOUT_DIGITS < table_bytes;
        let mut headers =
            Self { first: Vec::new(), later: Vec::new(), first_timeout: Vec::new(), later_timeout: Vec::new() };
        if table_bytes < TABLE_BYTES {
            put_integer(&mut headers.first, 0x20, 5, if is_kept { table_bytes } else { 0 });
        }
        for (name, value) in fields {
            headers.first.push(if is_kept { 0x40 } else { 0 });
            put_string(&mut headers.first, name);
            put_string(&mut headers.first, value);
        }
        if has_timeout {
            headers.first_timeout.push(if is_kept { 0x40 } else { 0 });
            put_string(&mut headers.first_timeout, "grpc-timeout");
        }
        if !is_kept {
            headers.later.clone_from(&headers.first);
            headers.later_timeout.clone_from(&headers.first_timeout);
            return headers;
        }
        let entries = fields.len() + usize::from(has_timeout);
        for place in 0..fields.len() {
            put_integer(&mut headers.later, 0x80, 7, NEWEST + entries - 1 - place);
        }
        if has_timeout {
            put_integer(&mut headers.later_timeout, 0, 4, NEWEST);
        }
        headers
    }
}

/// Maximum number of digits in `grpc-timeout`, as gRPC defines it.
const TIMEOUT_DIGITS: usize = 8;
/// Index in the static table (RFC 7541, appendix A).
const CONTENT_LENGTH: usize = 28;

/// Appends the value of `grpc-timeout`.
pub fn put_timeout(block: &mut Vec<u8>, timeout_ms: u64) {
    put_string(block, &format!("{timeout_ms}m"));
}

/// Appends `content-length`, without indexing.
pub fn put_length(block: &mut Vec<u8>, bytes: usize) {
    put_integer(block, 0, 4, CONTENT_LENGTH);
    put_string(block, &bytes.to_string());
}

fn put_string(block: &mut Vec<u8>, text: &str) {
    put_integer(block, 0, 7, text.len());
    block.extend_from_slice(text.as_bytes());
}

fn put_integer(block: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let most = (1 << prefix_bits) - 1;
    if value < most {
        block.push(pattern | value as u8);
        return;
    }
    block.push(pattern | most as u8);
    let mut rest = value - most;
    while rest > 0x7F {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(http_status: Option<u16>, grpc_status: Option<u32>, grpc_message: &str) -> Head {
        Head { http_status, grpc_status, grpc_message: grpc_message.into() }
    }

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Head, String> {
        let mut head = Head::default();
        decoder.decode(block, &mut head).map(|()| head)
    }

    #[test]
    fn the_rfc_s_answers_are_decoded_with_and_without_huffman() {
        // As in C.5 and C.6.
        let (mut plain, mut coded) = (Decoder::new(), Decoder::new());
        assert_eq!(decoded(&mut plain, b"\x48\x03302\x58\x07private"), Ok(head(Some(302), None, "")));
        assert_eq!(decoded(&mut plain, b"\x48\x03307"), Ok(head(Some(307), None, "")));
        assert_eq!(decoded(&mut plain, b"\xc0"), Ok(head(Some(302), None, "")));
        assert_eq!(decoded(&mut plain, b"\xbf"), Ok(Head::default()));
        assert_eq!(decoded(&mut plain, b"\xbe"), Ok(head(Some(307), None, "")));
        let private = b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b";
        assert_eq!(decoded(&mut coded, private), Ok(head(Some(302), None, "")));
        assert_eq!(coded.table[0].value, b"private");
        assert_eq!(decoded(&mut coded, b"\x48\x83\x64\x0e\xff"), Ok(head(Some(307), None, "")));
    }

    #[test]
    fn what_a_decoder_gets_wrong_is_told() {
        for (block, problem) in [
            (b"\x80".as_slice(), "a header has index 0"),
            (b"\xbe", "a header's index is too large"),
            (b"\x48\x05302", "a header block ends too early"),
            (b"\x7f\xff\xff\xff\xff\xff", "a number in a header block is too large"),
            (b"\x48\x84\xff\xff\xff\xff", "a header's text has a code that ends it"),
        ] {
            assert_eq!(decoded(&mut Decoder::new(), block), Err(problem.into()));
        }
    }

    #[test]
    fn later_requests_name_what_the_first_has_put_into_the_table() {
        let fields = [(":status", "200"), ("grpc-status", "14"), ("grpc-message", "not now")];
        for table_bytes in [TABLE_BYTES, 1000, 100, 0] {
            let headers = RequestHeaders::new(&fields, true, table_bytes);
            assert_eq!(headers.later.len() < 10, table_bytes >= 1000);
            let mut decoder = Decoder::new();
            for (start, timeout) in [
                (&headers.first, &headers.first_timeout),
                (&headers.later, &headers.later_timeout),
                (&headers.later, &headers.later_timeout),
            ] {
                let mut block = start.clone();
                block.extend(timeout);
                put_timeout(&mut block, 2000);
                assert_eq!(decoded(&mut decoder, &block), Ok(head(Some(200), Some(14), "not now")));
                assert_eq!(decoder.table.len(), if table_bytes >= 1000 { 4 } else { 0 });
            }
        }
    }

    #[test]
    fn the_table_forgets_the_oldest() {
        let mut decoder = Decoder::new();
        let block = RequestHeaders::new(&[("name", "value")], false, TABLE_BYTES).first;
        for _ in 0..200 {
            decoded(&mut decoder, &block).unwrap();
        }
        assert_eq!(decoder.table.len(), TABLE_BYTES / (9 + ENTRY_BYTES));
        decoded(&mut decoder, b"\x20").unwrap();
        assert_eq!((decoder.table.len(), decoder.table_bytes), (0, 0));
    }
}
