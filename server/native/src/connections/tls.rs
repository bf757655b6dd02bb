//! TLS on the ports: the certificate that is shown, and those that callers may show.

use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex};

use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
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
    /// Who vouches for callers' certificates; None: callers are asked for none.
    pub client_ca: Option<Vec<u8>>,
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

fn unusable(what: &str) -> impl Fn(&dyn Display) -> Unusable + '_ {
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
    let chain = certificates(&files.chain, "the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| unusable("the key")(&error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("TLS")(&error))?
        .with_client_cert_verifier(verifier(files)?)
        .with_single_cert(chain, key)
        .map_err(|error| unusable("certificate and key")(&error))?;
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
    let mut roots = RootCertStore::empty();
    for certificate in certificates(client_ca, "the clients' CA")? {
        roots.add(certificate).map_err(|error| unusable("the clients' CA")(&error))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
    if let Some(pem) = &files.client_crl {
        let lists: Result<Vec<_>, PemError> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
        let lists = lists.map_err(|error| unusable("the clients' CRL")(&error))?;
        builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
    }
    if !files.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| unusable("the clients' CA")(&error))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| unusable(what)(&error))?;
    if found.is_empty() {
        return Err(unusable(what)(&"there is none in the file"));
    }
    Ok(found)
}
