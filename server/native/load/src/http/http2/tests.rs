use super::*;

const UNARY: &[u8] = b"\0\0\0\0\x02hi";

/// A connection to a peer that has sent these settings.
fn connected(settings: &[u8]) -> Http2 {
    let mut connection = Http2::new(vec![(":method".into(), "POST".into()), ("name".into(), "value".into())], true);
    let mut data = Vec::new();
    frame::put(&mut data, kind::SETTINGS, 0, 0, settings);
    assert!(!connection.has_room());
    assert_eq!(received(&mut connection, &data), []);
    connection.out().clear();
    connection
}

fn received(connection: &mut Http2, data: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    connection.receive(data, &mut events).unwrap();
    events
}

/// Kind, flags, stream and length of what was written.
fn written(connection: &mut Http2) -> Vec<(u8, u8, u32, usize)> {
    let mut data = std::mem::take(connection.out());
    let mut frames = Vec::new();
    while let Some((frame, bytes)) = Frame::first_of(&data) {
        frames.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
        data.drain(..bytes);
    }
    assert_eq!(data, b"");
    frames
}

/// Headers with status 200, a message, and trailers with this gRPC status.
fn answer(stream: u32, body: &[u8], status: &str) -> Vec<u8> {
    let mut data = Vec::new();
    frame::put(&mut data, kind::HEADERS, flag::END_HEADERS, stream, b"\x88");
    frame::put(&mut data, kind::DATA, 0, stream, body);
    let (first, rest) = trailers(status);
    frame::put(&mut data, kind::HEADERS, flag::END_STREAM, stream, &first);
    frame::put(&mut data, kind::CONTINUATION, flag::END_HEADERS, stream, &rest);
    data
}

fn trailers(status: &str) -> (Vec<u8>, Vec<u8>) {
    let mut block = RequestHeaders::new(&[("grpc-status", status)], false, 0).first;
    let rest = block.split_off(7);
    (block, rest)
}

fn end(tag: u64, grpc_status: u32, body: &[u8]) -> Event {
    let head = Head { http_status: Some(200), grpc_status: Some(grpc_status), ..Head::default() };
    Event::End { tag, head, body: body.into() }
}

#[test]
fn a_call_is_answered_however_the_answer_is_cut() {
    let data = answer(1, UNARY, "0");
    for cut in 0..data.len() {
        let mut connection = connected(b"");
        connection.begin(7, Some(1000), false, None);
        connection.send(1, UNARY, true);
        let [(kind::HEADERS, flag::END_HEADERS, 1, _), (kind::DATA, flag::END_STREAM, 1, 7)] =
            written(&mut connection)[..]
        else {
            panic!("a call has HEADERS and DATA");
        };
        let mut events = received(&mut connection, &data[..cut]);
        events.extend(received(&mut connection, &data[cut..]));
        assert_eq!(events, [end(7, 0, UNARY)]);
        assert_eq!((connection.open_streams(), written(&mut connection)), (0, vec![]));
    }
}

#[test]
fn calls_that_have_no_timeouts_get_none() {
    let lengths = [None, Some(1000)].map(|timeout_ms| {
        let mut connection = Http2::new(vec![("name".into(), "value".into())], false);
        let mut data = Vec::new();
        frame::put(&mut data, kind::SETTINGS, 0, 0, b"");
        received(&mut connection, &data);
        connection.begin(1, timeout_ms, false, None);
        connection.out().len()
    });
    assert_eq!(lengths[0], lengths[1]);
}

#[test]
fn later_calls_have_shorter_headers() {
    let mut connection = connected(b"");
    connection.begin(1, Some(1000), false, None);
    connection.begin(2, Some(1000), false, None);
    let frames = written(&mut connection);
    assert!(frames[1].3 < frames[0].3, "{frames:?}");
}

#[test]
fn a_body_waits_for_the_peer_s_windows() {
    let mut connection = connected(b"\0\x04\0\0\0\x0a");
    connection.begin(1, None, false, None);
    connection.send(1, &[0; 25], true);
    assert_eq!(written(&mut connection)[1..], [(kind::DATA, 0, 1, 10)]);
    assert!(connection.is_blocked() && !connection.has_room());
    let mut data = Vec::new();
    frame::put(&mut data, kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5]);
    frame::put(&mut data, kind::SETTINGS, 0, 0, b"\0\x04\0\0\0\x64");
    received(&mut connection, &data);
    let (settled, rest) = ((kind::SETTINGS, flag::ACK, 0, 0), (kind::DATA, flag::END_STREAM, 1, 10));
    assert_eq!(written(&mut connection), [(kind::DATA, 0, 1, 5), settled, rest]);
    assert!(connection.has_room());
}

#[test]
fn large_bodies_go_in_frames() {
    let mut connection = connected(b"\0\x04\0\x01\0\0");
    connection.begin(1, None, false, None);
    connection.send(1, &[0; 40_000], true);
    let lengths: Vec<_> = written(&mut connection).iter().skip(1).map(|frame| (frame.1, frame.3)).collect();
    assert_eq!(lengths, [(0, 16_384), (0, 16_384), (flag::END_STREAM, 7_232)]);
}

#[test]
fn an_answer_before_the_body_was_sent_ends_the_call() {
    let mut connection = connected(b"\0\x04\0\0\0\0");
    connection.begin(1, None, false, None);
    connection.send(1, UNARY, true);
    written(&mut connection);
    assert_eq!(received(&mut connection, &answer(1, b"", "14")), [end(1, 14, b"")]);
    assert_eq!(written(&mut connection), [(kind::RST_STREAM, 0, 1, 4)]);
    assert!(!connection.is_blocked());
}

#[test]
fn a_stream_is_split_into_messages() {
    let mut connection = connected(b"");
    connection.begin(9, None, true, None);
    connection.send(1, UNARY, false);
    connection.send(1, UNARY, false);
    let mut data = Vec::new();
    frame::put(&mut data, kind::DATA, 0, 1, &UNARY[..4]);
    frame::put(&mut data, kind::DATA, 0, 1, &[&UNARY[4..], UNARY].concat());
    let message = || Event::Message { tag: 9, message: b"hi".into() };
    assert_eq!(received(&mut connection, &data), [message(), message()]);
    connection.send(1, b"", true);
    assert_eq!(written(&mut connection)[3], (kind::DATA, flag::END_STREAM, 1, 0));
}

#[test]
fn a_peer_that_leaves_says_what_it_has_not_seen() {
    let mut connection = connected(b"");
    for tag in 1..=3 {
        connection.begin(tag, None, false, None);
    }
    let mut data = Vec::new();
    frame::put(&mut data, kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(received(&mut connection, &data), [Event::Unseen { tag: 3 }]);
    assert!(connection.is_leaving() && !connection.has_room());
    assert_eq!(connection.tags().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn resets_and_limits_of_the_peer_count() {
    let mut connection = connected(b"\0\x03\0\0\0\x01");
    connection.begin(1, None, false, None);
    assert!(!connection.has_room());
    let mut data = Vec::new();
    frame::put(&mut data, kind::RST_STREAM, 0, 1, &error::REFUSED_STREAM.to_be_bytes());
    assert_eq!(received(&mut connection, &data), [Event::Reset { tag: 1, code: error::REFUSED_STREAM }]);
    assert!(connection.has_room());
}

#[test]
fn what_is_due_too_long_is_cancelled() {
    let mut connection = connected(b"");
    connection.begin(5, None, false, None);
    connection.begin(6, None, false, None);
    written(&mut connection);
    assert_eq!((connection.cancel_oldest(6), connection.cancel_oldest(6)), (Some(5), None));
    assert_eq!(written(&mut connection), [(kind::RST_STREAM, 0, 1, 4)]);
    assert_eq!(received(&mut connection, &answer(1, UNARY, "0")), []);
}

#[test]
fn a_ping_is_answered() {
    let mut connection = connected(b"");
    let mut data = Vec::new();
    frame::put(&mut data, kind::PING, 0, 0, &[7; 8]);
    received(&mut connection, &data);
    assert_eq!(written(&mut connection), [(kind::PING, flag::ACK, 0, 8)]);
}
