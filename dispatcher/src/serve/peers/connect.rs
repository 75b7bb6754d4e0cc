//! One connection to another shard: the name resolved, the certificates read, anew each time, because addresses of pods
//! change and so do certificates. Both sides show one, and the other's has to be made out to the shards of the fleet.
//! May import the crate's `server`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::select_ok;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use signalbox_contract::ControlConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::server::set_up_for_long;

/// How long a connection may take to be there, look-up and handshakes included.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(1);

/// How much earlier than the name an address is tried that the shard was heard from.
const HEAD_START: Duration = Duration::from_millis(100);

/// With requests under way, a shard that is silent for so long is asked whether it is still there.
const PING_TIME: Duration = Duration::from_secs(1);

/// And given so long to say so.
const PONG_TIME: Duration = Duration::from_secs(2);

/// Look-ups at once: each blocks a thread, for as long as the name server likes.
const LOOK_UPS: usize = 8;

/// What requests are sent with. Cheap to clone; the connection is closed with the last of them.
pub(super) type Sender = SendRequest<Full<Bytes>>;

/// How connections to other shards are made.
pub(super) struct Connector {
    cert: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
    name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
    look_ups: Arc<Semaphore>,
}

impl Connector {
    /// With the keys of the control port.
    pub(super) fn new(config: &ControlConfig) -> anyhow::Result<Self> {
        let name = ServerName::try_from(config.shard.clone())
            .map_err(|_| anyhow!("{} cannot be the name of a shard: give a DNS name", config.shard))?;
        Ok(Self {
            cert: config.cert_file.clone().into(),
            key: config.key_file.clone().into(),
            authorities: config.ca_file.clone().into(),
            name,
            provider: Arc::new(ring::default_provider()),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
        })
    }

    /// Connects to a host and port, or to the same port where that shard was heard from: to what is there first. The
    /// error says why not, for whoever waits for that shard.
    pub(super) async fn connect(&self, host: &str, heard_from: Option<IpAddr>) -> Result<Sender, String> {
        let by_name = async {
            if heard_from.is_some() {
                tokio::time::sleep(HEAD_START).await;
            }
            self.connected(self.look_up(host).await?).await
        };
        let mut ways = vec![by_name.boxed()];
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        if let Some(known) = heard_from.zip(port) {
            ways.push(self.connected(vec![known.into()]).boxed());
        }
        let either = select_ok(ways).map(|first| first.map(|(sender, _)| sender));
        match tokio::time::timeout(CONNECT_TIME, either).await {
            Ok(connected) => connected.map_err(|e| format!("{e:#}")),
            Err(_) => Err(format!("no connection within {} s", CONNECT_TIME.as_secs())),
        }
    }

    async fn connected(&self, addresses: Vec<SocketAddr>) -> anyhow::Result<Sender> {
        let stream = connect_tcp(&addresses).await?;
        set_up_for_long(&stream);
        let tls = TlsConnector::from(Arc::new(self.keys().await?));
        let stream = tls.connect(self.name.clone(), stream).await.context("no handshake")?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_TIME)
            .keep_alive_timeout(PONG_TIME)
            .handshake(TokioIo::new(stream))
            .await
            .context("no handshake")?;
        // It ends with its last sender; what goes wrong, the requests are told.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn look_up(&self, address: &str) -> anyhow::Result<Vec<SocketAddr>> {
        let permit = self.look_ups.clone().acquire_owned().await?;
        let host = address.to_owned();
        // The permit goes along: the attempt may end before the look-up that it started.
        let found = tokio::task::spawn_blocking(move || {
            let found = host.to_socket_addrs().map(Iterator::collect);
            drop(permit);
            found
        });
        found.await?.with_context(|| format!("{address} does not resolve"))
    }

    async fn keys(&self) -> anyhow::Result<ClientConfig> {
        let file = async |path: &PathBuf| {
            tokio::fs::read(path).await.with_context(|| format!("{} cannot be read", path.display()))
        };
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&file(&self.authorities).await?) {
            roots.add(authority?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&file(&self.cert).await?).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&file(&self.key).await?)?;
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// To the first of these that takes it.
async fn connect_tcp(addresses: &[SocketAddr]) -> anyhow::Result<TcpStream> {
    let mut refused = anyhow!("the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => refused = anyhow!("connection refused"),
            Err(e) => refused = anyhow!(e).context("no connection"),
        }
    }
    Err(refused)
}
