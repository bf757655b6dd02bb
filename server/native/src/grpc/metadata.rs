//! What is taken of a request's headers, and how long its call may wait.

use std::time::{Duration, Instant, SystemTime};

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::grpc::framing::Encoding;
use crate::peers::{Name, Peer};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const REQUEST_BODY_BYTES: HeaderName = HeaderName::from_static("x-request-body-bytes");
/// How many digits a size may have; a longer one is ignored.
const MOST_DIGITS: usize = 10;

/// How calls wait: Python says so.
#[derive(Clone, Copy)]
pub struct Patience {
    /// For this share of the time that they have.
    pub share: f64,
    /// And at most so long.
    pub most: Duration,
}

impl Patience {
    /// How long a call waits for its turn that has so many seconds in all.
    pub fn of(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds * self.share).map_or(self.most, |share| share.min(self.most))
    }
}

/// What a call is beside its messages; `transport/calls/call.py` says what of it means what.
#[derive(Clone)]
pub struct Metadata {
    authorization: Option<HeaderValue>,
    /// Counts where there is no such header.
    certificate: Option<Name>,
    request_id: Option<HeaderValue>,
    /// The trace that it is part of (W3C Trace Context).
    trace_parent: Option<HeaderValue>,
    /// The caller's address, where it is noted.
    address: Option<HeaderValue>,
    pub by_gateway: bool,
    /// How long the body was, where the message was made from it.
    pub body_bytes: u64,
    timeout_seconds: Option<f64>,
    /// What had passed before the call came here.
    waited_seconds: f64,
    /// When the call came here.
    pub came: Instant,
}

impl Metadata {
    /// The metadata of a call that comes now.
    pub fn read(headers: &HeaderMap, peer: &Peer) -> Box<Self> {
        Box::new(Self {
            authorization: headers.get(AUTHORIZATION).filter(|value| !is_blank(value)).cloned(),
            certificate: peer.name(headers),
            request_id: headers.get(REQUEST_ID).cloned(),
            trace_parent: headers.get(TRACE_PARENT).cloned(),
            address: None,
            by_gateway: matches!(peer, Peer::Gateway),
            body_bytes: peer.told(headers, &REQUEST_BODY_BYTES).map_or(0, |value| body_bytes(value.as_bytes())),
            timeout_seconds: headers.get(GRPC_TIMEOUT).and_then(|value| timeout_seconds(value.as_bytes())),
            waited_seconds: peer.told(headers, &REQUEST_START).map_or(0.0, waited_seconds),
            came: Instant::now(),
        })
    }

    /// Note whose call it is: by the address of who sent it here or, where that is the gateway, by what it says.
    pub fn note_address(&mut self, headers: &HeaderMap, peer: &Peer) {
        self.address = peer.address(headers);
    }

    /// The caller's address; empty where it is not noted.
    pub fn address(&self) -> &[u8] {
        self.address.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// The header of that name or, where there is none, the certificate's name; empty where there is neither.
    pub fn authorization(&self) -> &[u8] {
        let certificate = || self.certificate.as_ref().map_or(&b""[..], Name::bytes);
        self.authorization.as_ref().map_or_else(certificate, HeaderValue::as_bytes)
    }

    /// The call's name in the log; empty where it has none.
    pub fn request_id(&self) -> &[u8] {
        self.request_id.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// The trace that the call is part of; empty where it names none.
    pub fn trace_parent(&self) -> &[u8] {
        self.trace_parent.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// How long ago the call came in.
    pub fn waited_seconds(&self, now: Instant) -> f64 {
        self.waited_seconds + now.saturating_duration_since(self.came).as_secs_f64()
    }

    /// What is left of the caller's deadline when the call has waited so long; None when there is none.
    pub fn remaining_seconds(&self, waited_seconds: f64) -> Option<f64> {
        self.timeout_seconds.map(|timeout| timeout - waited_seconds)
    }

    /// When the call came in, here or at the gateway; long ago where it says so.
    fn began(&self) -> Instant {
        let before = Duration::try_from_secs_f64(self.waited_seconds).unwrap_or_default();
        self.came.checked_sub(before).unwrap_or(self.came)
    }

    /// Until when the call waits for its turn, which may take `most_seconds` in all where the caller sets less.
    pub fn wait_until(&self, most_seconds: f64, patience: Patience) -> Instant {
        self.began() + patience.of(self.timeout_seconds.unwrap_or(f64::MAX).min(most_seconds))
    }

    /// Until when the request has to be there, which may take `most_seconds` where the caller sets no earlier deadline.
    pub fn receive_until(&self, most_seconds: f64) -> Instant {
        let seconds = self.timeout_seconds.unwrap_or(f64::MAX).min(most_seconds) - self.waited_seconds;
        self.came + Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
    }
}

fn is_blank(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(u8::is_ascii_whitespace)
}

/// How the messages may be compressed.
pub fn encoding(headers: &HeaderMap) -> Encoding {
    headers.get(GRPC_ENCODING).map_or(Encoding::Other, |value| Encoding::named(value.as_bytes()))
}

/// A `grpc-timeout` in seconds; None for an unreadable one, which a server has to ignore.
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

/// Digits alone; not so many that their number has no place.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// How long ago a moment was, given as Unix time in seconds; 0 where the value says nothing.
fn waited_seconds(value: &HeaderValue) -> f64 {
    let then = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    then.map_or(0.0, |then| (now - then).max(0.0))
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
