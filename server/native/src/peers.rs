//! Who is at the other end of a connection, and where its calls come from.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

const CALLER_ADDRESS: HeaderName = HeaderName::from_static("x-caller-address");
/// Says which URI and which DNS name there are in the caller's certificate: `uri=… dns=…`; nothing or `-` for none.
const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-client-certificate");
const NO_NAME: &[u8] = b"-";
/// Begins what a caller shows by its certificate: no header can.
const CERTIFICATE: u8 = 0;
/// The bits of an IPv6 address that name its network: whoever has one address has all others that begin like it.
const NETWORK: u128 = u128::MAX << 64;

/// The name in a caller's certificate, as `tokens.py` takes it in the place of a token.
#[derive(Clone)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// The name as it stands in the certificate.
    pub fn of_certificate(name: &str) -> Self {
        Self::of_bytes(name.as_bytes())
    }

    fn of_bytes(name: &[u8]) -> Self {
        Self(std::iter::once(CERTIFICATE).chain(name.iter().copied()).collect())
    }

    /// What it is in the place of a token.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as the gateway says it. Several names have commas between them, which is a name that nobody has.
    fn told(value: &HeaderValue) -> Option<Self> {
        let mut words = value.as_bytes().split(|byte| *byte == b' ');
        let (uri, dns) = (words.next()?.strip_prefix(b"uri=")?, words.next()?.strip_prefix(b"dns=")?);
        if words.next().is_some() {
            return None;
        }
        [uri, dns].into_iter().find(|name| !name.is_empty() && *name != NO_NAME).map(Self::of_bytes)
    }
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub enum Peer {
    /// A caller, with its address, and with the name in its certificate where it has shown one.
    Caller(IpAddr, Option<Name>),
    /// The gateway, which says whose call each is, with which certificate it came, and when.
    Gateway,
}

impl Peer {
    /// With which certificate a call comes.
    pub fn name(&self, headers: &HeaderMap) -> Option<Name> {
        match self {
            Peer::Caller(_, name) => name.clone(),
            Peer::Gateway => headers.get(CLIENT_CERTIFICATE).and_then(Name::told),
        }
    }

    /// Where a call comes from.
    pub fn origin(&self, headers: &HeaderMap) -> Origin {
        match self {
            Peer::Caller(address, _) => Origin::Known(*address),
            Peer::Gateway => Origin::Told(headers.get(CALLER_ADDRESS).cloned()),
        }
    }

    /// The address of whose call it is, where it is known.
    pub fn address(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        match self {
            Peer::Caller(address, _) => HeaderValue::try_from(address.to_string()).ok(),
            Peer::Gateway => headers.get(CALLER_ADDRESS).cloned(),
        }
    }

    /// What a header says that the gateway alone sets.
    pub fn told<'a>(&self, headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
        match self {
            Peer::Caller(..) => None,
            Peer::Gateway => headers.get(name),
        }
    }
}

/// Where a call comes from, as far as that is known.
pub enum Origin {
    Known(IpAddr),
    /// What the gateway says.
    Told(Option<HeaderValue>),
}

impl Origin {
    /// The caller's address.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Origin::Known(address) => Some(*address),
            Origin::Told(told) => told.as_ref()?.to_str().ok()?.parse().ok(),
        }
    }
}

/// The network that an address stands for, as its own first address (in Python, `guesses.network_of`).
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
