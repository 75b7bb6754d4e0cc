//! The certificate of a port: read from PEM files, and read again when they change.
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
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const POLL_TIME: Duration = Duration::from_secs(2);

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What a port needs to speak TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<Files>);

/// The two files, and what was in them.
struct Files {
    cert: PathBuf,
    key: PathBuf,
    /// The contents that are in use.
    first: Pem,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("cert", &self.cert).field("key", &self.key).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate that the next handshake gets.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Tls {
    /// Reads certificate and key. The error says what to give instead.
    pub(crate) fn load(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let first = read(cert, key)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified(&first, &provider, cert, key)?))));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self(Arc::new(Files { cert: cert.to_owned(), key: key.to_owned(), first, provider, current, acceptor })))
    }

    /// Answers the handshake of a connection. Nothing when the peer speaks something else, or takes too long.
    pub(super) async fn accept<I: AsyncRead + AsyncWrite + Unpin>(&self, stream: I) -> Option<TlsStream<I>> {
        match tokio::time::timeout(HANDSHAKE_TIME, self.0.acceptor.accept(stream)).await {
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
            let Ok(pem) = tokio::task::spawn_blocking(move || read(&files.cert, &files.key)).await else { return };
            let result = pem.and_then(|pem| {
                if pem == used {
                    found = None;
                    return Ok(None);
                }
                let new = certified(&pem, &self.0.provider, &self.0.cert, &self.0.key);
                let again = found.replace(pem.clone()).is_some_and(|before| before == pem);
                match new {
                    Ok(key) => Ok(Some((pem, key))),
                    // One file may have been read before the change and one after it: that mends itself.
                    Err(e) if again => Err(e),
                    Err(_) => Ok(None),
                }
            });
            match result {
                Ok(None) => {}
                Ok(Some((pem, key))) => {
                    *self.0.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    (used, found, told) = (pem, None, None);
                    tracing::info!(cert = %self.0.cert.display(), "the certificate was read again");
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

fn read(cert: &Path, key: &Path) -> anyhow::Result<Pem> {
    let file = |path: &Path| {
        std::fs::read(path).with_context(|| format!("{} cannot be read: give a PEM file that is there", path.display()))
    };
    Ok(Pem { cert: file(cert)?, key: file(key)? })
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
