//! The certificate of a port, and who may connect to it: read from PEM files, and read again when they change.
//!
//! A port that is not for everybody asks for a certificate: signed by an authority that is in a file, and made out to one
//! of the names that are expected. Both have to be so: an authority that is trusted for one name is not for another.
//!
//! The files are looked at every few seconds, and their contents compared: that sees a file that is replaced, one that
//! is written over, and the links of a mounted Secret that are turned to another folder. Connections that are open
//! keep what they have. A new pair that cannot be used leaves the old one in place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::server::TlsStream;

use super::peers::{self, Peers};

/// How often the files are looked at.
const POLL_TIME: Duration = Duration::from_secs(2);

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What a port needs to speak TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<Files>);

/// The files, and what was in them.
struct Files {
    paths: Paths,
    /// The contents that were used first.
    first: Pem,
    /// What the next handshake gets.
    current: RwLock<Arc<ServerConfig>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("paths", &self.paths).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Paths {
    cert: PathBuf,
    key: PathBuf,
    /// If the port is not for everybody.
    peers: Option<Peers>,
}

#[derive(Clone, PartialEq, Eq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

impl Tls {
    /// Reads certificate and key, and who may connect if not everybody may. The error says what to give instead.
    pub(crate) fn load(cert: &Path, key: &Path, peers: Option<Peers>) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let paths = Paths { cert: cert.to_owned(), key: key.to_owned(), peers };
        let first = read(&paths)?;
        let current = RwLock::new(configured(&first, &paths, &provider)?);
        Ok(Self(Arc::new(Files { paths, first, current, provider })))
    }

    /// Whether only those with a certificate may connect.
    pub(super) fn is_for_peers(&self) -> bool {
        self.0.paths.peers.is_some()
    }

    /// Which of the expected names the peer at the other end has, by its place among them: the first, if it has several.
    pub(super) fn peer<I>(&self, stream: &TlsStream<I>) -> Option<usize> {
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        self.0.paths.peers.as_ref()?.place_of(certificate)
    }

    /// Answers the handshake of a connection. Nothing when the peer speaks something else, or takes too long.
    pub(super) async fn accept<I: AsyncRead + AsyncWrite + Unpin>(&self, stream: I) -> Option<TlsStream<I>> {
        let config = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        match tokio::time::timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(e)) => {
                tracing::debug!(error = %e, "a handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    /// Follows the files, for ever.
    pub(super) async fn follow(&self) {
        let mut used = self.0.first.clone();
        // What was found the last time, if it differs from what is in use.
        let mut found: Option<Pem> = None;
        let mut told = None;
        loop {
            tokio::time::sleep(POLL_TIME).await;
            let files = self.0.clone();
            let Ok(pem) = tokio::task::spawn_blocking(move || read(&files.paths)).await else { return };
            let result = pem.and_then(|pem| {
                if pem == used {
                    found = None;
                    return Ok(None);
                }
                let new = configured(&pem, &self.0.paths, &self.0.provider);
                let again = found.replace(pem.clone()).is_some_and(|before| before == pem);
                match new {
                    Ok(config) => Ok(Some((pem, config))),
                    // One file may have been read before the change and one after it: that mends itself.
                    Err(e) if again => Err(e),
                    Err(_) => Ok(None),
                }
            });
            match result {
                Ok(None) => {}
                Ok(Some((pem, config))) => {
                    *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    (used, found, told) = (pem, None, None);
                    tracing::info!(cert = %self.0.paths.cert.display(), "the certificate was read again");
                }
                Err(e) => {
                    let sentence = format!("{e:#}");
                    if told.as_ref() != Some(&sentence) {
                        tracing::warn!(reason = sentence, "the new certificate cannot be used: the old one stays");
                        told = Some(sentence);
                    }
                }
            }
        }
    }
}

fn read(paths: &Paths) -> anyhow::Result<Pem> {
    let file = |path: &Path| {
        std::fs::read(path).with_context(|| format!("{} cannot be read: give a PEM file that is there", path.display()))
    };
    let authorities = paths.peers.as_ref().map(|peers| file(&peers.authorities)).transpose()?.unwrap_or_default();
    Ok(Pem { cert: file(&paths.cert)?, key: file(&paths.key)?, authorities })
}

/// What a handshake is answered with. A new one remembers no session of the one before.
fn configured(pem: &Pem, paths: &Paths, provider: &Arc<CryptoProvider>) -> anyhow::Result<Arc<ServerConfig>> {
    let certified = certified(pem, provider, &paths.cert, &paths.key)?;
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &paths.peers {
        Some(peers) => builder.with_client_cert_verifier(peers::verifier(peers, &pem.authorities, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certified(pem: &Pem, provider: &CryptoProvider, cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let (cert, key) = (cert.display(), key.display());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.cert)
        .collect::<Result<_, _>>()
        .map_err(|e| anyhow!("{cert} is not PEM ({e}): write the certificates there, the server's own first"))?;
    if chain.is_empty() {
        return Err(anyhow!("{cert} has no certificate: write the certificates there, the server's own first"));
    }
    let private = PrivateKeyDer::from_pem_slice(&pem.key)
        .map_err(|e| anyhow!("{key} has no private key ({e}): write it there, in PEM"))?;
    CertifiedKey::from_der(chain, private, provider)
        .map_err(|e| anyhow!("{cert} and {key} cannot be used together ({e}): write a certificate and its own key"))
}
