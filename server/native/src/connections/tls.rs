//! TLS on the ports: the server's certificate, and the verification of clients' certificates.

use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use crate::grpc::Name;
use crate::locks::lock;

/// The ALPN protocol.
const HTTP2: &[u8] = b"h2";

/// Contents of the configured files, in PEM except where noted.
pub struct Files {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// Client CA certificates (DER) and when each expires (Unix time in seconds); None: no client certificates are
    /// requested.
    pub client_ca: Option<Vec<(Vec<u8>, u64)>>,
    /// The certificate revocation list.
    pub client_crl: Option<Vec<u8>>,
    /// Whether clients must present a certificate.
    pub required: bool,
}

/// Why the files cannot be used.
pub struct Unusable(String);

impl Unusable {
    pub fn text(self) -> String {
        self.0
    }
}

fn unusable<E: Display>(what: &str) -> impl Fn(E) -> Unusable {
    move |error| Unusable(format!("{what}: {error}"))
}

/// The TLS configuration of new connections; None as long as there is none, which means no TLS.
#[derive(Default)]
pub struct Tls(Mutex<Option<Arc<ServerConfig>>>);

impl Tls {
    /// Uses these files for new connections; open ones are unaffected.
    pub fn secure(&self, files: &Files) -> Result<(), Unusable> {
        let config = Arc::new(server_config(files)?);
        *lock(&self.0) = Some(config);
        Ok(())
    }

    /// An acceptor with the current configuration; None without TLS.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        lock(&self.0).clone().map(TlsAcceptor::from)
    }
}

/// Performs the handshake; also returns the name in the client's certificate, if it presented one.
pub async fn accept(acceptor: &TlsAcceptor, socket: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Name>)> {
    let stream = acceptor.accept(socket).await?;
    let name = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(name_in);
    Ok((stream, name))
}

/// Whether a handshake failed because the client presented no certificate or an invalid one.
pub fn is_of_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

/// The only URI SAN of a certificate or, if it has none, its only DNS SAN.
fn name_in(certificate: &CertificateDer<'_>) -> Option<Name> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_uri_names().peekable();
    if names.peek().is_some() {
        return only(names);
    }
    only(certificate.valid_dns_names())
}

fn only<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<Name> {
    let name = names.next()?;
    names.next().is_none().then(|| Name::of_certificate(name))
}

fn server_config(files: &Files) -> Result<ServerConfig, Unusable> {
    let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&files.chain).collect();
    let chain = chain.map_err(unusable("the certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(unusable("the key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable("TLS"))?
        .with_client_cert_verifier(verifier(files)?)
        .with_single_cert(chain, key)
        .map_err(unusable("certificate and key"))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    if files.client_ca.is_some() {
        // A resumed session would carry over its certificate, and nobody would notice that it has expired meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// The verifier of client certificates. Expired certificates and expired revocation lists are rejected.
fn verifier(files: &Files) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let Some(client_ca) = &files.client_ca else {
        return Ok(Arc::new(NoClientAuth));
    };
    let usual = verifier_of(client_ca.iter(), files.client_crl.as_deref(), files.required)?;
    Ok(Arc::new(Authorities {
        certificates: client_ca.clone(),
        client_crl: files.client_crl.clone(),
        required: files.required,
        vouching: Mutex::new(Vouching { from: 0, until: 0, verifier: None }),
        usual,
    }))
}

/// Client CAs, each trusted only until its certificate expires: rustls does not check trust anchors for that.
#[derive(Debug)]
struct Authorities {
    /// With their expiry, as in `Files`.
    certificates: Vec<(Vec<u8>, u64)>,
    client_crl: Option<Vec<u8>>,
    required: bool,
    /// Verifies against all CAs, expired or not.
    usual: Arc<dyn ClientCertVerifier>,
    /// The verifier that is in use; only one is kept, as each contains the whole revocation list, which may be long.
    vouching: Mutex<Vouching>,
}

/// The CAs that are valid from one expiry to the next (Unix time in seconds).
#[derive(Debug)]
struct Vouching {
    from: u64,
    until: u64,
    /// None if no CA is valid.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Authorities {
    /// The verifier for the CAs that are valid at this time; None if there is none.
    fn verifier_at(&self, now: u64) -> Option<Arc<dyn ClientCertVerifier>> {
        let mut vouching = lock(&self.vouching);
        if !(vouching.from..vouching.until).contains(&now) {
            *vouching = self.vouching_at(now);
        }
        vouching.verifier.clone()
    }

    fn vouching_at(&self, now: u64) -> Vouching {
        let ends = || self.certificates.iter().map(|(_, end)| *end);
        let from = ends().filter(|end| *end <= now).max().unwrap_or(0);
        let until = ends().filter(|end| *end > now).min().unwrap_or(u64::MAX);
        let left = self.certificates.iter().filter(|(_, end)| *end > now);
        let verifier = if from == 0 {
            Some(Arc::clone(&self.usual))
        } else {
            verifier_of(left, self.client_crl.as_deref(), self.required).ok()
        };
        Vouching { from, until, verifier }
    }
}

impl ClientCertVerifier for Authorities {
    fn client_auth_mandatory(&self) -> bool {
        self.usual.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.usual.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verifier = self.verifier_at(now.as_secs()).ok_or(CertificateError::UnknownIssuer)?;
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// A verifier for certificates of these CAs, of which there must be at least one.
fn verifier_of<'a>(
    authorities: impl Iterator<Item = &'a (Vec<u8>, u64)>,
    client_crl: Option<&[u8]>,
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let mut roots = RootCertStore::empty();
    for (authority, _) in authorities {
        let added = roots.add(CertificateDer::from_slice(authority).into_owned());
        added.map_err(unusable("the clients' CA"))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
    if let Some(pem) = client_crl {
        let lists: Result<Vec<_>, PemError> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
        let lists = lists.map_err(unusable("the clients' CRL"))?;
        builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
    }
    if !required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(unusable("the clients' CA"))
}
