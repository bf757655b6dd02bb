//! The peer of a connection, and the origin of the calls on it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

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
mod tests {
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
