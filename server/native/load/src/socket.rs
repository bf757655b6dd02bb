//! A non-blocking socket, with or without TLS (RFC 8446).

use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Limit of the unencrypted bytes that are buffered; beyond it, the socket accepts no more.
const MOST_UNENCRYPTED_BYTES: usize = 65_536;

pub struct Socket {
    plain: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Socket {
    /// Wraps a socket that is connecting. With `tls`, the peer has to present a certificate for `name`.
    pub fn new(plain: TcpStream, tls: Option<&Arc<ClientConfig>>, name: ServerName<'static>) -> io::Result<Self> {
        let tls = tls
            .map(|config| {
                let mut connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                connection.set_buffer_limit(Some(MOST_UNENCRYPTED_BYTES));
                Ok::<_, io::Error>(Box::new(connection))
            })
            .transpose()?;
        Ok(Self { plain, tls })
    }

    /// The socket to register for events.
    pub fn plain(&mut self) -> &mut TcpStream {
        &mut self.plain
    }

    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.plain.take_error()
    }

    /// Writes encrypted bytes that are still buffered.
    pub fn push(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.plain) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => written?,
            };
        }
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.plain.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut self.plain)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

impl Write for Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.plain.write(data) };
        let count = tls.writer().write(data)?;
        self.push()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push()
    }
}

/// Deserializes a CA file (PEM) into a TLS client configuration for HTTP/2.
pub fn trusting<'de, D: Deserializer<'de>>(file: D) -> Result<Option<Arc<ClientConfig>>, D::Error> {
    let Some(file) = Option::<PathBuf>::deserialize(file)? else { return Ok(None) };
    let unreadable = |problem: &dyn std::fmt::Display| D::Error::custom(format!("{}: {problem}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| unreadable(&error))? {
        roots.add(certificate.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(Arc::new(config)))
}
