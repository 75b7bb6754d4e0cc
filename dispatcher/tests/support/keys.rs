//! Keys as the operator hands them out: one authority, and certificates for the shards and for itself.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) const SHARD: &str = "shard.orders.shop.signalbox";
pub(crate) const OPERATOR: &str = "operator.orders.shop.signalbox";

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// A new authority.
pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, in PEM.
pub(crate) struct Pair {
    cert: String,
    key: String,
}

/// A certificate for this name, changed like this, and its key.
pub(crate) fn pair(authority: &Authority, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Pair { cert: params.signed_by(&key, authority).unwrap().pem(), key: key.serialize_pem() }
}

/// Writes a shard's keys into this folder, and says in which configuration they are to be used.
pub(crate) fn control(authority: &Authority, folder: &Path, listen: &str) -> Value {
    let own = pair(authority, SHARD, |_| {});
    let files = [("tls.crt", own.cert), ("tls.key", own.key), ("ca.crt", authority.pem())];
    for (name, content) in &files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let [cert, key, ca] = files.map(|(name, _)| folder.join(name));
    json!({
        "listen": listen, "operator": OPERATOR, "shard": SHARD, "certFile": cert, "keyFile": key, "caFile": ca,
    })
}

/// Connects with these keys, and expects somebody of this name.
pub(crate) async fn connect(
    authority: &Authority,
    with: Option<&Pair>,
    expected: &str,
    address: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match with {
        None => config.with_no_client_auth(),
        Some(Pair { cert, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(expected.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
