//! TLS on the ports: the certificate that is shown, and those that callers may show.

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

use crate::locks::lock;
use crate::peers::Name;

/// What callers speak behind the handshake.
const HTTP2: &[u8] = b"h2";

/// Files as they are on disk (PEM).
pub struct Files {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// Who vouches for callers' certificates (DER), and until when (Unix time, in seconds); None: callers are asked for
    /// none.
    pub client_ca: Option<Vec<(Vec<u8>, u64)>>,
    /// Which of them count no more.
    pub client_crl: Option<Vec<u8>>,
    /// Whether a caller needs one.
    pub required: bool,
}

/// What is wrong with the files.
pub struct Unusable(String);

impl Unusable {
    pub fn text(self) -> String {
        self.0
    }
}

fn unusable<E: Display>(what: &str) -> impl Fn(E) -> Unusable {
    move |error| Unusable(format!("{what}: {error}"))
}

/// How handshakes are made; None until somebody says it: then there is no TLS.
#[derive(Default)]
pub struct Tls(Mutex<Option<Arc<ServerConfig>>>);

impl Tls {
    /// From now on, handshakes are made with these; connections that are open stay as they are.
    pub fn secure(&self, files: &Files) -> Result<(), Unusable> {
        let config = Arc::new(server_config(files)?);
        *lock(&self.0) = Some(config);
        Ok(())
    }

    /// What makes the next handshake; None where there is no TLS.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        lock(&self.0).clone().map(TlsAcceptor::from)
    }
}

/// Make a handshake; also returns the name in the caller's certificate, if it has shown one.
pub async fn accept(acceptor: &TlsAcceptor, socket: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Name>)> {
    let stream = acceptor.accept(socket).await?;
    let name = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(name_in);
    Ok((stream, name))
}

/// Whether a handshake failed as the caller showed no certificate, or none that is good.
pub fn is_of_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

/// The only URI in a certificate or, where it has none, its only DNS name.
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
        // A session that is resumed brings its certificate along, and nobody would see whether that has ended meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// Who looks at callers' certificates. One that is past its end, or a list that is, lets nobody in.
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

/// The authorities that vouch for callers, each until its certificate ends: the library does not look at that.
#[derive(Debug)]
struct Authorities {
    /// With the end of each, as in `Files`.
    certificates: Vec<(Vec<u8>, u64)>,
    client_crl: Option<Vec<u8>>,
    required: bool,
    /// Asks all of them, whether they have ended or not.
    usual: Arc<dyn ClientCertVerifier>,
    /// One at a time: each has all of the list, which may be long.
    vouching: Mutex<Vouching>,
}

/// The authorities that vouch from one such end to the next.
#[derive(Debug)]
struct Vouching {
    from: u64,
    until: u64,
    /// None: nobody.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Authorities {
    /// What asks those who have not ended at this time, where there are any.
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

/// For those that these authorities vouch for; there has to be one.
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
