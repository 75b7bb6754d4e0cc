//! The operator's side of the control port: what it shows, and whom it takes for a shard. A leaf, for those who listen to
//! shards and those who speak to them. May import `fleet`.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::fleet::Keyring;

/// What it takes to speak to the shards of one fleet.
#[derive(Clone)]
pub(crate) struct Identity {
    connector: TlsConnector,
    shard: ServerName<'static>,
}

impl Identity {
    /// Of the operator, towards shards whose certificates are made out to `shard`. An error is a sentence about the keys.
    pub(crate) fn new(keyring: &Keyring, shard: String) -> Result<Self, String> {
        let unusable = |why: &dyn std::fmt::Display| format!("the fleet's keys cannot be used: {why}");
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(keyring.trusted().as_bytes()) {
            roots.add(authority.map_err(|e| unusable(&e))?).map_err(|e| unusable(&e))?;
        }
        let chain = CertificateDer::pem_slice_iter(keyring.operator.cert.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(keyring.operator.key.as_bytes()).map_err(|e| unusable(&e))?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(&e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.map_err(|e| unusable(&e))?, key)
            .map_err(|e| unusable(&e))?;
        let shard = ServerName::try_from(shard).map_err(|e| unusable(&e))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), shard })
    }

    /// Shows the certificate, and checks the other's: its authority, its time, and its name.
    pub(crate) async fn secure(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.shard.clone(), stream).await
    }
}
