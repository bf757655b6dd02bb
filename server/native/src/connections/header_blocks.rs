//! Measures header blocks by their frame headers, so that one that is too long is refused before any of it is decoded
//! (RFC 9113, sections 4.1, 6.2 and 6.10).

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Scans the bytes that arrive on a connection, from its first byte on.
pub struct HeaderBlocks {
    most_bytes: usize,
    block_bytes: usize,
    /// How many bytes of the preface, or of the current frame's payload, are still to come.
    skipping: usize,
    /// The part of the next frame's header that has arrived.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
}

impl HeaderBlocks {
    /// Allows header blocks of at most this many bytes as encoded.
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, block_bytes: 0, skipping: PREFACE_BYTES, head: [0; HEAD_BYTES], head_bytes: 0 }
    }

    /// Scans the next bytes; returns false once a header block is too long.
    pub fn look(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let (skipped, rest) = data.split_at(self.skipping.min(data.len()));
            self.skipping -= skipped.len();
            let (more, rest) = rest.split_at(rest.len().min(HEAD_BYTES - self.head_bytes));
            for (place, byte) in self.head.iter_mut().skip(self.head_bytes).zip(more) {
                *place = *byte;
            }
            self.head_bytes += more.len();
            data = rest;
            if self.head_bytes == HEAD_BYTES && !self.begin_frame() {
                return false;
            }
        }
        true
    }

    fn begin_frame(&mut self) -> bool {
        let [high, middle, low, kind, ..] = self.head;
        self.head_bytes = 0;
        self.skipping = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.block_bytes = match kind {
            HEADERS => self.skipping,
            CONTINUATION => self.block_bytes + self.skipping,
            _ => 0,
        };
        self.block_bytes <= self.most_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u8 = 0;

    fn frames(frames: &[(u8, usize)]) -> Vec<u8> {
        let mut bytes = vec![b'P'; PREFACE_BYTES];
        for (kind, length) in frames {
            let [.., high, middle, low] = length.to_be_bytes();
            bytes.extend([high, middle, low, *kind, 0, 0, 0, 0, 1]);
            bytes.extend(vec![HEADERS; *length]);
        }
        bytes
    }

    #[test]
    fn a_block_has_so_many_bytes_however_they_come() {
        let cases: [(&[(u8, usize)], bool); 6] = [
            (&[(HEADERS, 1000), (CONTINUATION, 0), (DATA, 16_000), (HEADERS, 1000)], true),
            (&[(HEADERS, 1001)], false),
            (&[(HEADERS, 400), (CONTINUATION, 400), (CONTINUATION, 200)], true),
            (&[(HEADERS, 400), (CONTINUATION, 400), (CONTINUATION, 201)], false),
            (&[(DATA, 70_000), (HEADERS, 0), (CONTINUATION, 70_000)], false),
            (&[], true),
        ];
        for (sent, fits) in cases {
            let bytes = frames(sent);
            for piece in [1, 2, 7, 9, 1024, usize::MAX] {
                let mut blocks = HeaderBlocks::new(1000);
                assert_eq!(bytes.chunks(piece.min(bytes.len())).all(|piece| blocks.look(piece)), fits, "{sent:?}");
            }
        }
    }
}
