#![allow(clippy::unwrap_used, clippy::float_cmp)]

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

type Headers<'a> = &'a [(&'static str, &'a [u8])];

fn metadata(headers: Headers<'_>) -> Box<Metadata> {
    from(headers, &Peer::Caller(LOCALHOST, None))
}

fn from(headers: Headers<'_>, peer: &Peer) -> Box<Metadata> {
    let pairs =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()));
    Metadata::read(&pairs.collect(), peer)
}

#[test]
fn timeouts() {
    let readable: [(&[u8], f64); 7] = [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"250m", 0.25),
        (b"5u", 5e-6),
        (b"0n", 0.0),
        (b"99999999S", 99_999_999.0),
    ];
    for (value, seconds) in readable {
        let remaining = metadata(&[("grpc-timeout", value)]).remaining_seconds(0.0).unwrap();
        assert!((remaining - seconds).abs() < 1e-9, "{remaining} {seconds}");
    }
    for value in [&b""[..], b"S", b"1", b"x", b"-1S", b"1 S", b"+1S", b"123456789S", b"1s", b"1 second", b"\xff"] {
        assert_eq!(metadata(&[("grpc-timeout", value)]).remaining_seconds(0.0), None);
    }
}

#[test]
fn sizes() {
    let said: Headers<'_> = &[("x-request-body-bytes", b"1234567890")];
    assert_eq!(from(said, &Peer::Gateway).body_bytes, 1_234_567_890);
    assert_eq!(metadata(said).body_bytes, 0);
    for value in [&b""[..], b"x", b"-1", b"+1", b"1.5", b"12345678901", b"\xb2"] {
        assert_eq!(from(&[("x-request-body-bytes", value)], &Peer::Gateway).body_bytes, 0);
    }
}

#[test]
fn waiting_counts_from_the_gateway() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let started = format!("{:.3}", now - 2.0);
    let headers: Headers<'_> = &[("x-request-start", started.as_bytes()), ("grpc-timeout", b"5S")];
    let call = from(headers, &Peer::Gateway);
    let waited = call.waited_seconds(call.came);
    assert!((1.9..3.0).contains(&waited));
    assert!((call.remaining_seconds(waited).unwrap() - 3.0).abs() < 1.0);
    for value in [&b""[..], b"x", b"nan", b"inf", b"99999999999"] {
        let call = from(&[("x-request-start", value)], &Peer::Gateway);
        assert_eq!(call.waited_seconds(call.came), 0.0);
    }
    let direct = metadata(headers);
    assert_eq!(direct.waited_seconds(direct.came), 0.0);
}

#[test]
fn a_request_has_to_be_there_in_time() {
    let cases: [(Headers<'_>, f64); 5] = [
        (&[], 5.0),
        (&[("grpc-timeout", b"1S")], 1.0),
        (&[("grpc-timeout", b"99999999H")], 5.0),
        (&[("x-request-start", b"0")], 0.0),
        (&[("x-request-start", b"-inf")], 0.0),
    ];
    for (headers, seconds) in cases {
        let call = from(headers, &Peer::Gateway);
        assert_eq!((call.receive_until(5.0) - call.came).as_secs_f64(), seconds);
    }
}

#[test]
fn what_a_call_has_waited_at_the_gateway_counts_while_it_waits_for_its_turn() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let (started, patience) = (format!("{:.3}", now - 2.0), Patience { share: 0.5, most: Duration::from_secs(20) });
    let call = from(&[("x-request-start", started.as_bytes()), ("grpc-timeout", b"8S")], &Peer::Gateway);
    for (most_seconds, left) in [(100.0, 2.0), (6.0, 1.0)] {
        let until = call.wait_until(most_seconds, patience) - call.came;
        assert!((until.as_secs_f64() - left).abs() < 0.5, "{until:?} {left}");
    }
}

#[test]
fn the_address_is_that_of_who_came_and_only_the_gateway_says_another() {
    let mut headers = HeaderMap::new();
    headers.insert("x-caller-address", HeaderValue::from_static("203.0.113.7"));
    let caller = Peer::Caller("2001:db8::1".parse().unwrap(), None);
    for (peer, address) in [(Peer::Gateway, "203.0.113.7"), (caller, "2001:db8::1")] {
        let mut metadata = Metadata::read(&headers, &peer);
        assert_eq!(metadata.address(), b"");
        metadata.note_address(&headers, &peer);
        assert_eq!(metadata.address(), address.as_bytes());
    }
}

#[test]
fn a_certificate_counts_where_there_is_no_token_and_the_gateway_alone_tells_of_one() {
    const CERTIFICATE: &str = "x-client-certificate";
    let caller = Peer::Caller(LOCALHOST, Some(Name::of_certificate("spiffe://a/b")));
    assert_eq!(from(&[], &caller).authorization(), b"\0spiffe://a/b");
    assert_eq!(from(&[("authorization", b" ")], &caller).authorization(), b"\0spiffe://a/b");
    assert_eq!(from(&[("authorization", b"token")], &caller).authorization(), b"token");
    assert_eq!(metadata(&[(CERTIFICATE, b"uri=spiffe://a/b dns=")]).authorization(), b"");
    let told: [(&[u8], &[u8]); 8] = [
        (b"uri=spiffe://a/b dns=", b"\0spiffe://a/b"),
        (b"uri=spiffe://a/b dns=a.example", b"\0spiffe://a/b"),
        (b"uri= dns=a.example", b"\0a.example"),
        (b"uri=- dns=a.example", b"\0a.example"),
        (b"uri= dns=", b""),
        (b"uri=- dns=-", b""),
        (b"uri=spiffe://a dns=b dns=", b""),
        (b"a.example", b""),
    ];
    for (value, expected) in told {
        assert_eq!(from(&[(CERTIFICATE, value)], &Peer::Gateway).authorization(), expected);
    }
}

#[test]
fn patience_is_a_share_and_so_long_at_most() {
    let patience = Patience { share: 0.25, most: Duration::from_secs(1) };
    for (seconds, most) in [(0.0, 0.0), (0.4, 0.1), (4.0, 1.0), (60.0, 1.0), (f64::MAX, 1.0), (f64::NAN, 1.0)] {
        assert!((patience.of(seconds).as_secs_f64() - most).abs() < 1e-9);
    }
}

#[test]
fn a_header_that_stands_several_times_is_joined_by_commas() {
    let joined = |values: &[&'static str]| {
        let headers = values.iter().map(|value| (REQUEST_ID, HeaderValue::from_static(value))).collect();
        said(&headers, &REQUEST_ID)
    };
    assert_eq!(joined(&[]), None);
    for (values, expected) in
        [(&[""][..], ""), (&["a"], "a"), (&["a", "b"], "a,b"), (&["", "a", ""], "a"), (&["", ""], "")]
    {
        assert_eq!(joined(values).unwrap(), expected);
    }
    let call =
        metadata(&[("authorization", b"a"), ("authorization", b"b"), ("grpc-timeout", b"1S"), ("grpc-timeout", b"2S")]);
    assert_eq!((call.authorization(), call.remaining_seconds(0.0)), (&b"a,b"[..], None));
}
