#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::*;

const LIMIT: usize = 1000;

fn prefixed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

/// The messages of a request that comes in these chunks.
fn read(chunks: &[&[u8]], encoding: Encoding) -> Result<Vec<Vec<u8>>, Flaw> {
    let mut messages = Messages::new(encoding, LIMIT);
    let mut found = Vec::new();
    for chunk in chunks {
        messages.push(chunk);
        while let Some(message) = messages.next()? {
            found.push(message.unpack(LIMIT)?.to_vec());
        }
    }
    messages.finish().map(|()| found)
}

#[test]
fn a_message_has_a_flag_and_its_length_before_it() {
    for length in [0, 1, 5, 255, 256, LIMIT] {
        let message = vec![7; length];
        let framed = frame(&message).unwrap();
        assert_eq!(framed, prefixed(0, &message));
        assert_eq!(only_message(&framed, LIMIT).unwrap(), message);
        assert_eq!(read(&[&framed], Encoding::Other), Ok(vec![message]));
    }
}

#[test]
fn messages_may_be_cut_anywhere() {
    let data = [prefixed(0, b"one"), prefixed(0, b""), prefixed(0, b"three")].concat();
    for cut in 0..=data.len() {
        let found = read(&[&data[..cut], &data[cut..]], Encoding::Other);
        assert_eq!(found, Ok(vec![b"one".to_vec(), vec![], b"three".to_vec()]));
    }
}

#[test]
fn a_request_that_ends_in_the_middle() {
    let data = prefixed(0, b"one");
    for end in 1..data.len() {
        assert_eq!(read(&[&data[..end]], Encoding::Other), Err(Flaw::Truncated));
    }
    assert_eq!(read(&[], Encoding::Other), Ok(vec![]));
}

#[test]
fn only_a_whole_plain_message_is_cut_out() {
    let whole = prefixed(0, b"abc");
    let others = [
        vec![],
        vec![0; 4],
        prefixed(1, b"abc"),
        prefixed(0, &[0; LIMIT + 1]),
        [&whole[..], b"x"].concat(),
        whole[..whole.len() - 1].to_vec(),
        vec![0, 0xff, 0xff, 0xff, 0xff],
    ];
    for other in others {
        assert_eq!(only_message(&other.into(), LIMIT), None);
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_message_comes() {
    for flag in [0, 1, 2, 255] {
        for length in [1001, 1 << 31, u32::MAX] {
            let data = [&[flag][..], &length.to_be_bytes()].concat();
            assert_eq!(read(&[&data], Encoding::Gzip), Err(Flaw::TooLong(length as usize)));
        }
    }
}

#[test]
fn compressed_messages_are_read() {
    let message = b"the same again, the same again".repeat(20);
    for (encoding, compressed) in [(Encoding::Gzip, gzipped(&message)), (Encoding::Deflate, deflated(&message))] {
        let data = [prefixed(1, &compressed), prefixed(0, b"plain")].concat();
        assert_eq!(read(&[&data], encoding), Ok(vec![message.clone(), b"plain".to_vec()]));
        for flaw in [prefixed(1, &[&compressed[..], b"x"].concat()), prefixed(1, &compressed[..compressed.len() - 1])] {
            assert_eq!(read(&[&flaw], encoding), Err(Flaw::Unreadable));
        }
    }
    for (encoding, compressed) in [(Encoding::Gzip, deflated(b"x")), (Encoding::Deflate, gzipped(b"x"))] {
        assert_eq!(read(&[&prefixed(1, &compressed)], encoding), Err(Flaw::Unreadable));
        assert_eq!(read(&[&prefixed(1, b"")], encoding), Err(Flaw::Unreadable));
    }
    let two = [gzipped(b"a"), gzipped(b"b")].concat();
    assert_eq!(read(&[&prefixed(1, &two)], Encoding::Gzip), Err(Flaw::Unreadable));
}

#[test]
fn what_is_to_be_decompressed_says_what_it_may_take() {
    let compressed = prefixed(1, &gzipped(b"abc"));
    let most = Some(compressed.len() + LIMIT);
    let (whole, begun) = (&compressed[..], &compressed[..compressed.len() - 1]);
    let cases = [
        (whole, Encoding::Gzip, [most, most]),
        (begun, Encoding::Gzip, [most, None]),
        (&whole[..4], Encoding::Gzip, [None, None]),
        (whole, Encoding::Other, [Some(compressed.len()), None]),
        (&prefixed(0, b"abc")[..], Encoding::Gzip, [Some(8), None]),
    ];
    for (data, encoding, expected) in cases {
        let mut messages = Messages::new(encoding, LIMIT);
        messages.push(data);
        let announced = messages.announced();
        let decompression_bytes = messages.next().unwrap().and_then(|message| message.decompression_bytes());
        assert_eq!([announced, decompression_bytes], expected);
    }
}

#[test]
fn what_inflates_past_the_limit_is_not_read_on() {
    assert_eq!(read(&[&prefixed(1, &gzipped(&[0; LIMIT]))], Encoding::Gzip), Ok(vec![vec![0; LIMIT]]));
    for encoded in [prefixed(1, &gzipped(&[0; LIMIT + 1])), prefixed(1, &gzipped(&vec![0; 100_000]))] {
        assert_eq!(read(&[&encoded], Encoding::Gzip), Err(Flaw::TooLong(LIMIT + 1)));
    }
}

#[test]
fn compression_must_be_announced() {
    assert_eq!(read(&[&prefixed(1, &gzipped(b"x"))], Encoding::Other), Err(Flaw::UnknownCompression));
    assert_eq!(read(&[&prefixed(2, b"x")], Encoding::Gzip), Err(Flaw::UnknownCompression));
    assert_eq!(Encoding::named(b"gzip"), Encoding::Gzip);
    assert_eq!(Encoding::named(b"deflate"), Encoding::Deflate);
    for name in [&b""[..], b"identity", b"br", b"GZIP", b"gzip,deflate"] {
        assert_eq!(Encoding::named(name), Encoding::Other);
    }
}

#[test]
fn any_bytes_are_messages_or_a_flaw() {
    let mut state = 1_u64;
    let mut random = move |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    for _ in 0..20_000 {
        let mut data =
            prefixed(u8::try_from(random(3)).unwrap(), &gzipped(&vec![1; usize::try_from(random(50)).unwrap()]));
        for _ in 0..random(4) {
            let place = usize::try_from(random(data.len() as u64)).unwrap();
            data[place] = u8::try_from(random(256)).unwrap();
        }
        let cut = usize::try_from(random(data.len() as u64)).unwrap();
        let whole = read(&[&data], Encoding::Gzip);
        let parts = read(&[&data[..cut], &data[cut..]], Encoding::Gzip);
        assert_eq!(whole, parts);
    }
}
