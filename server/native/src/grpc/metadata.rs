//! The metadata of a call, read from its headers, and the deadlines that follow from it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::grpc::framing::Encoding;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const REQUEST_BODY_BYTES: HeaderName = HeaderName::from_static("x-request-body-bytes");
/// Maximum number of digits of a size; longer ones are ignored.
const MOST_DIGITS: usize = 10;

/// How long calls may wait for their turn; set by Python.
#[derive(Clone, Copy)]
pub struct Patience {
    /// Share of the call's total time.
    pub share: f64,
    /// Upper bound.
    pub most: Duration,
}

impl Patience {
    /// How long a call with this many seconds in total waits for its turn.
    pub fn of(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds * self.share).map_or(self.most, |share| share.min(self.most))
    }
}

/// The metadata of a call; `transport/calls/call.py` describes its meaning.
#[derive(Clone)]
pub struct Metadata {
    authorization: Option<HeaderValue>,
    /// Takes the place of a missing `authorization` header.
    certificate: Option<Name>,
    request_id: Option<HeaderValue>,
    /// The trace context of the caller (W3C Trace Context).
    trace_parent: Option<HeaderValue>,
    /// The caller's address, if it was noted.
    address: Option<HeaderValue>,
    pub by_gateway: bool,
    /// Size of the REST body that the message was made from; 0 for gRPC.
    pub body_bytes: u64,
    timeout_seconds: Option<f64>,
    /// How long the call had been under way when it arrived here.
    waited_seconds: f64,
    /// When the call arrived here.
    pub came: Instant,
}

impl Metadata {
    /// The metadata of a call that arrives now.
    pub fn read(headers: &HeaderMap, peer: &Peer) -> Box<Self> {
        Box::new(Self {
            authorization: said(headers, &AUTHORIZATION).filter(|value| !is_blank(value)),
            certificate: peer.name(headers),
            request_id: said(headers, &REQUEST_ID),
            trace_parent: headers.get(TRACE_PARENT).cloned(),
            address: None,
            by_gateway: matches!(peer, Peer::Gateway),
            body_bytes: peer.told(headers, &REQUEST_BODY_BYTES).map_or(0, |value| body_bytes(value.as_bytes())),
            timeout_seconds: said(headers, &GRPC_TIMEOUT).and_then(|value| timeout_seconds(value.as_bytes())),
            waited_seconds: peer.told(headers, &REQUEST_START).map_or(0.0, waited_seconds),
            came: Instant::now(),
        })
    }

    /// Turns this into the metadata of a REST call on a port: it has this request ID, and headers of gRPC mean nothing.
    pub fn of_rest_call(mut self: Box<Self>, request_id: HeaderValue) -> Box<Self> {
        self.request_id = Some(request_id);
        self.timeout_seconds = None;
        self
    }

    /// The request ID that the response to a REST call gets; None for a call that the gateway has passed on, which adds
    /// the ID itself.
    pub fn response_id(&self) -> Option<HeaderValue> {
        if self.by_gateway { None } else { self.request_id.clone() }
    }

    /// Notes the caller's address: the peer's or, behind the gateway, the one that the gateway names.
    pub fn note_address(&mut self, headers: &HeaderMap, peer: &Peer) {
        self.address = peer.address(headers);
    }

    /// The caller's address; empty if it was not noted.
    pub fn address(&self) -> &[u8] {
        self.address.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// The `authorization` header or, without one, the name in the certificate; empty if there is neither.
    pub fn authorization(&self) -> &[u8] {
        let certificate = || self.certificate.as_ref().map_or(&b""[..], Name::bytes);
        self.authorization.as_ref().map_or_else(certificate, HeaderValue::as_bytes)
    }

    /// The call's request ID; empty if it has none.
    pub fn request_id(&self) -> &[u8] {
        self.request_id.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// The caller's trace context; empty if it has none.
    pub fn trace_parent(&self) -> &[u8] {
        self.trace_parent.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// How long ago the call was received, here or at the gateway.
    pub fn waited_seconds(&self, now: Instant) -> f64 {
        self.waited_seconds + now.saturating_duration_since(self.came).as_secs_f64()
    }

    /// What is left of the caller's deadline after this time; None if the caller set none.
    pub fn remaining_seconds(&self, waited_seconds: f64) -> Option<f64> {
        self.timeout_seconds.map(|timeout| timeout - waited_seconds)
    }

    /// When the call was received, here or at the gateway; `came` if that cannot be represented.
    fn began(&self) -> Instant {
        let before = Duration::try_from_secs_f64(self.waited_seconds).unwrap_or_default();
        self.came.checked_sub(before).unwrap_or(self.came)
    }

    /// Until when the call may wait for its turn. Its total time is `most_seconds`, or less if the caller sets less.
    pub fn wait_until(&self, most_seconds: f64, patience: Patience) -> Instant {
        self.began() + patience.of(self.timeout_seconds.unwrap_or(f64::MAX).min(most_seconds))
    }

    /// Until when the request must have arrived. Its total time is `most_seconds`, or less if the caller sets less.
    pub fn receive_until(&self, most_seconds: f64) -> Instant {
        let seconds = self.timeout_seconds.unwrap_or(f64::MAX).min(most_seconds) - self.waited_seconds;
        self.came + Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
    }
}

/// A header's value. Where it stands several times, those that are not empty are joined by commas, as HTTP has it (RFC
/// 9110, section 5.3) and the gateway does: a caller cannot mean one of them to be read here and another one there.
pub fn said(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.clone();
    if values.next().is_none() {
        return Some(first);
    }
    let all: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).filter(|one| !one.is_empty()).collect();
    HeaderValue::from_bytes(&all.join(&b',')).ok()
}

fn is_blank(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(u8::is_ascii_whitespace)
}

/// The announced encoding of a request's messages; the last one counts, as on the other hosts.
pub fn encoding(headers: &HeaderMap) -> Encoding {
    headers.get_all(GRPC_ENCODING).iter().next_back().map_or(Encoding::Other, |value| Encoding::named(value.as_bytes()))
}

/// A `grpc-timeout` in seconds; None for an invalid one, which is ignored.
fn timeout_seconds(value: &[u8]) -> Option<f64> {
    let (&unit, digits) = value.split_last()?;
    if digits.len() > 8 {
        return None;
    }
    let seconds = match unit {
        b'H' => 3600.0,
        b'M' => 60.0,
        b'S' => 1.0,
        b'm' => 1e-3,
        b'u' => 1e-6,
        b'n' => 1e-9,
        _ => return None,
    };
    u32::try_from(number(digits)?).ok().map(|count| f64::from(count) * seconds)
}

fn body_bytes(value: &[u8]) -> u64 {
    if value.len() > MOST_DIGITS { 0 } else { number(value).unwrap_or(0) }
}

/// Parses ASCII digits; None for anything else.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// How long ago a Unix time in seconds was; 0 if the header cannot be parsed.
fn waited_seconds(value: &HeaderValue) -> f64 {
    let then = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    then.map_or(0.0, |then| (now - then).max(0.0))
}

const CALLER_ADDRESS: HeaderName = HeaderName::from_static("x-caller-address");
/// Header of the gateway with the URI and the DNS name of the caller's certificate: `uri=… dns=…`; empty or `-` stands
/// for none.
const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-client-certificate");
const NO_NAME: &[u8] = b"-";
/// First byte of a credential that comes from a certificate. A header value cannot contain it, so no token can pass for
/// one.
const CERTIFICATE: u8 = 0;
/// Mask of the /64 network of an IPv6 address: whoever has one address of it usually has all of them.
const NETWORK: u128 = u128::MAX << 64;

/// The name in a caller's certificate, encoded as the credential that `tokens.py` accepts in place of a token.
#[derive(Clone)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The credential for a name as it stands in the certificate.
    pub fn of_certificate(name: &str) -> Self {
        Self::of_bytes(name.as_bytes())
    }

    fn of_bytes(name: &[u8]) -> Self {
        Self(std::iter::once(CERTIFICATE).chain(name.iter().copied()).collect())
    }

    /// The encoded credential.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parses the gateway's header. Several names arrive joined by commas, which matches no member's name.
    fn told(value: &HeaderValue) -> Option<Self> {
        let mut words = value.as_bytes().split(|byte| *byte == b' ');
        let (uri, dns) = (words.next()?.strip_prefix(b"uri=")?, words.next()?.strip_prefix(b"dns=")?);
        if words.next().is_some() {
            return None;
        }
        [uri, dns].into_iter().find(|name| !name.is_empty() && *name != NO_NAME).map(Self::of_bytes)
    }
}

/// The peer of a connection.
#[derive(Clone)]
pub enum Peer {
    /// A caller that connected directly: its address, and the name in its certificate if it presented one.
    Caller(IpAddr, Option<Name>),
    /// The gateway, which tells in headers each call's origin, certificate and time of arrival.
    Gateway,
}

impl Peer {
    /// The name in the certificate of the call's caller.
    pub fn name(&self, headers: &HeaderMap) -> Option<Name> {
        match self {
            Peer::Caller(_, name) => name.clone(),
            Peer::Gateway => headers.get(CLIENT_CERTIFICATE).and_then(Name::told),
        }
    }

    /// The origin of a call.
    pub fn origin(&self, headers: &HeaderMap) -> Origin {
        match self {
            Peer::Caller(address, _) => Origin::Known(*address),
            Peer::Gateway => Origin::Told(headers.get(CALLER_ADDRESS).cloned()),
        }
    }

    /// The address of a call's caller, if it is known.
    pub fn address(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            Peer::Caller(address, _) => HeaderValue::try_from(address.to_string()).ok(),
            Peer::Gateway => headers.get(CALLER_ADDRESS).cloned(),
        }
    }

    /// The value of a header that is trusted only if it comes from the gateway; None for other peers.
    pub fn told<'a>(&self, headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
        match self {
            Peer::Caller(..) => None,
            Peer::Gateway => headers.get(name),
        }
    }
}

/// The address that a call comes from.
pub enum Origin {
    Known(IpAddr),
    /// The address according to the gateway's header, not parsed yet.
    Told(Option<HeaderValue>),
}

impl Origin {
    /// The address; None if the gateway named none or it cannot be parsed.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Origin::Known(address) => Some(*address),
            Origin::Told(told) => told.as_ref()?.to_str().ok()?.parse().ok(),
        }
    }
}

/// The network that an address is counted under: its /64 for IPv6, the address itself for IPv4 (as `guesses.network_of`
/// in Python).
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;

#[cfg(test)]
mod peers_tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_is_a_network_of_its_own_however_it_is_written() {
        let cases = [("::ffff:10.0.0.1", "10.0.0.1", true), ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false)];
        for (one, other, same) in cases {
            let network = |address: &str| address.parse().ok().map(network_of);
            assert_eq!(network(one) == network(other), same);
        }
    }
}
