//! Who may connect to a port that is not for everybody.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

/// Who may connect.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    /// A PEM file with the authorities that may vouch for them.
    pub(crate) authorities: PathBuf,
    /// The names that they may have: of the DNS kind, though nothing resolves them.
    pub(crate) names: Vec<String>,
}

impl Peers {
    /// The place, among the names, of the first that a certificate is made out to.
    pub(super) fn place_of(&self, certificate: &CertificateDer<'_>) -> Option<usize> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        self.names.iter().position(|name| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        })
    }
}

/// What checks them, given what the file holds.
pub(super) fn verifier(
    peers: &Peers,
    authorities: &[u8],
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let file = peers.authorities.display();
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let authority = authority.map_err(|e| anyhow!("{file} is not PEM ({e}): write the authorities there"))?;
        roots
            .add(authority)
            .map_err(|e| anyhow!("{file} has a certificate that is no authority ({e}): leave it out"))?;
    }
    let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| anyhow!("{file} cannot be used ({e}): write at least one authority there"))?;
    let names = peers.names.iter().map(|name| {
        ServerName::try_from(name.clone()).map_err(|_| anyhow!("{name} cannot be the name of a peer: give a DNS name"))
    });
    Ok(Arc::new(Named { chain, names: names.collect::<Result<_, _>>()? }))
}

/// Checks the chain, and then the name.
#[derive(Debug)]
struct Named {
    chain: Arc<dyn ClientCertVerifier>,
    names: Vec<ServerName<'static>>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(certificate, intermediates, now)?;
        let parsed = ParsedCertificate::try_from(certificate)?;
        let mut result = Err(Error::General("no name is expected here".to_owned()));
        for name in &self.names {
            result = verify_server_name(&parsed, name);
            if result.is_ok() {
                break;
            }
        }
        result.map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
