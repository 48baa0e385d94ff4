//! Encrypted associations: TLS 1.2 and 1.3 with certificates on one side or both (PS3.15, B).

use crate::error::NetError;
use crate::wire::{Stream, is_pause};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether peers that open associations must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They must, and an authority of ours must have signed it.
    Required,
    /// They may; a wrong one is refused.
    Optional,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TlsError {
    #[error("{}: cannot be used ({reason}); give a PEM file with {what}", path.display())]
    File { path: PathBuf, what: &'static str, reason: String },
    #[error("the certificate and the key cannot be used ({0}); check that they belong together")]
    Pair(String),
    #[error("the certificates of the authorities cannot be used ({0})")]
    Authorities(String),
}

/// A node's certificate and key, and the authorities that it trusts.
#[derive(Clone)]
pub struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads PEM files: the node's certificate with those between it and an authority, its key, and the certificates of
    /// the authorities that sign the peers'.
    ///
    /// # Errors
    /// A file cannot be read, has nothing of its kind, or certificate and key do not belong together.
    pub fn from_files(
        certificate: &Path,
        key: &Path,
        authorities: &Path,
        clients: ClientCertificates,
    ) -> Result<Self, TlsError> {
        let chain = certificates(certificate, "the node's certificate")?;
        let of_key =
            |error: &dyn Display| TlsError::File { path: key.into(), what: "a private key", reason: error.to_string() };
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(&error))?;
        let wrong = |error: &dyn Display| TlsError::Authorities(error.to_string());
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities, "the certificates of authorities")? {
            roots.add(authority).map_err(|error| wrong(&error))?;
        }
        let roots = Arc::new(roots);
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let verifier = match clients {
            ClientCertificates::Required => verifier,
            ClientCertificates::Optional => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(|error| wrong(&error))?;
        let pair = |error: rustls::Error| TlsError::Pair(error.to_string());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(pair)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map_err(pair)?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    /// Negotiates encryption with a peer that opened a connection.
    pub(crate) fn accept(&self, tcp: TcpStream, patience: Duration) -> Result<Box<dyn Stream>, NetError> {
        let connection =
            ServerConnection::new(self.server.clone()).map_err(|error| NetError::Tls(error.to_string()))?;
        Encrypted { connection: connection.into(), tcp }.shake_hands(patience)
    }

    /// Negotiates encryption with the node at `host`, whose certificate must be for that name or address.
    pub(crate) fn connect(&self, tcp: TcpStream, host: &str, patience: Duration) -> Result<Box<dyn Stream>, NetError> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(host).map_err(|error| NetError::Tls(error.to_string()))?;
        let connection =
            ClientConnection::new(self.client.clone(), name).map_err(|error| NetError::Tls(error.to_string()))?;
        Encrypted { connection: connection.into(), tcp }.shake_hands(patience)
    }
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::File { path: path.into(), what, reason };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(failed("it has no certificate".into())) } else { Ok(found) }
}

/// An encrypted connection. A read takes at most one piece from the network, so that a peer that sends byte by byte is held
/// to its deadlines.
struct Encrypted {
    connection: Connection,
    tcp: TcpStream,
}

impl Encrypted {
    fn shake_hands(mut self, patience: Duration) -> Result<Box<dyn Stream>, NetError> {
        let deadline = Instant::now() + patience;
        while self.connection.is_handshaking() {
            match self.send().and_then(|()| if self.connection.wants_read() { self.receive() } else { Ok(()) }) {
                Err(error) if !is_pause(&error) => return Err(NetError::Tls(error.to_string())),
                _ if Instant::now() > deadline => return Err(NetError::Timeout),
                _ => {}
            }
        }
        self.send()?;
        Ok(Box::new(self))
    }

    fn send(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.connection.read_tls(&mut self.tcp)? == 0 && self.connection.is_handshaking() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the connection"));
        }
        let processed = self.connection.process_new_packets();
        // What is wrong is told to the peer.
        let sent = self.send();
        processed.map_err(io::Error::other)?;
        sent
    }
}

impl Read for Encrypted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.connection.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        self.receive()?;
        self.connection.reader().read(into)
    }
}

impl Write for Encrypted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.connection.writer().write(bytes)?;
        self.send()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.tcp.flush()
    }
}

impl Stream for Encrypted {
    fn shut_down(&mut self) {
        self.connection.send_close_notify();
        let _ = self.send();
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}
