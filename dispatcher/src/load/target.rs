//! Where events go: the address, with or without TLS, HTTP/1.1 or HTTP/2, and connections to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// How far a request has come: what it waited for, when nothing came of it in time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The target's name is being looked up.
    Lookup,
    /// A connection is being made, with TLS if that is wanted.
    Connect,
    /// It is sent, or an answer is waited for.
    Answer,
}

impl Step {
    /// How a report calls a request that came no further in time.
    pub(super) fn timeout(self) -> &'static str {
        match self {
            Self::Lookup => "timeout in lookup",
            Self::Connect => "timeout in connect",
            Self::Answer => "timeout",
        }
    }
}

/// An open connection.
pub(super) enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// Where to connect to, and how.
pub(super) struct Target {
    pub(super) uri: Uri,
    pub(super) http2: bool,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// A connection that failed has been told of. Once is enough: the others are counted.
    told: AtomicBool,
}

impl Target {
    /// Reads `--target`. `ca` holds the certificates to trust, instead of those that browsers trust; with `insecure`
    /// any certificate will do.
    pub(super) fn new(target: &str, http2: bool, ca: Option<&Path>, insecure: bool) -> anyhow::Result<Self> {
        let uri: Uri = target.parse().context("--target is not a URI: write one such as http://HOST:8080/")?;
        let (Some(scheme @ ("http" | "https")), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("--target {target} is not an absolute http URI: write one such as http://HOST:8080/");
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let tls = if scheme == "https" {
            let mut config = config(ca, insecure)?;
            config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
            let name = ServerName::try_from(host.clone())
                .with_context(|| format!("--target {target}: {host} cannot be in a certificate: write a host name"))?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else if ca.is_some() || insecure {
            bail!("--ca and --insecure are for TLS: write --target https://…, or leave them out");
        } else {
            None
        };
        let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { uri, http2, host, port, tls, told: AtomicBool::new(false) })
    }

    /// Whether the target is this machine, by its address.
    pub(super) fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// A new connection, unless that fails. Tells how far it is.
    pub(super) async fn connect(&self, step: &mut Step) -> Option<Sender> {
        match self.try_to_connect(step).await {
            Ok(sender) => Some(sender),
            Err(error) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the first connection that failed: {error:#}");
                }
                None
            }
        }
    }

    async fn try_to_connect(&self, step: &mut Step) -> anyhow::Result<Sender> {
        *step = Step::Lookup;
        let found: Vec<_> = tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        *step = Step::Connect;
        let stream = TcpStream::connect(found.as_slice()).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => self.handshake(TokioIo::new(stream)).await,
            Some((tls, name)) => self.handshake(TokioIo::new(tls.connect(name.clone(), stream).await?)).await,
        }
    }

    async fn handshake(&self, io: impl Read + Write + Unpin + Send + 'static) -> anyhow::Result<Sender> {
        // What ends a connection shows in the requests on it.
        if self.http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(Sender::Two(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(Sender::One(sender))
        }
    }
}

fn config(ca: Option<&Path>, insecure: bool) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    if insecure {
        let verifier = Arc::new(Anyone(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let Some(ca) = ca else { return Ok(builder.with_webpki_roots().with_no_client_auth()) };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("--ca {} cannot be read: give a file of certificates in PEM", ca.display()))?;
    for certificate in certificates {
        roots.add(certificate).with_context(|| format!("--ca {}: a certificate is not valid", ca.display()))?;
    }
    if roots.is_empty() {
        bail!("--ca {} holds no certificate: give a file of certificates in PEM", ca.display());
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Believes every certificate, and checks only that the peer has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
