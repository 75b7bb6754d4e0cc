//! TLS on the events port: both protocols, and certificates that change.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use support::{Shard, config, event_headers, eventually, refusing};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A folder as Kubernetes mounts a Secret: the files are links, by way of a link to a folder that is turned.
struct Mount {
    dir: TempDir,
    versions: u32,
}

impl Mount {
    fn new() -> (Self, CertificateDer<'static>) {
        let mut mount = Self { dir: tempfile::tempdir().unwrap(), versions: 0 };
        let cert = mount.renew();
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), mount.dir.path().join(name)).unwrap();
        }
        (mount, cert)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Turns to a new certificate.
    fn renew(&mut self) -> CertificateDer<'static> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.turn(&pair.cert.pem(), &pair.signing_key.serialize_pem());
        pair.cert.der().clone()
    }

    fn turn(&mut self, cert: &str, key: &str) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        std::fs::create_dir(self.path(&version)).unwrap();
        std::fs::write(self.path(&version).join("tls.crt"), cert).unwrap();
        std::fs::write(self.path(&version).join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&version, self.path("..data-new")).unwrap();
        std::fs::rename(self.path("..data-new"), self.path("..data")).unwrap();
    }

    async fn shard(&self) -> Shard {
        let mut config = config(&[("a", &format!("http://{}/", refusing()))]);
        config["tls"] = json!({"certFile": self.path("tls.crt"), "keyFile": self.path("tls.key")});
        Shard::start(&config).await
    }
}

/// A connection that trusts this certificate only and offers this protocol.
async fn connect(at: &str, cert: &CertificateDer<'static>, protocol: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

fn event(id: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method("POST").uri("https://localhost/").header("host", "localhost");
    for (name, value) in event_headers(id, "k") {
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from("x"))).unwrap()
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let (mount, cert) = Mount::new();
    let shard = mount.shard().await;
    let at = &shard.daemon.listen;

    let stream = connect(at, &cert, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(event("1")).await.unwrap().status(), 202);

    let stream = connect(at, &cert, "http/1.1").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(event("2")).await.unwrap().status(), 202);
    assert_eq!(shard.daemon.report().await["acceptedTotal"], json!(2));
}

#[tokio::test]
async fn plain_http_and_nonsense_on_a_port_with_tls_are_hung_up_on_and_harm_nobody() {
    let (mount, cert) = Mount::new();
    let shard = mount.shard().await;
    for bytes in [&b"POST / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"", &[0xff; 3000]] {
        let mut stream = TcpStream::connect(&shard.daemon.listen).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    connect(&shard.daemon.listen, &cert, "h2").await.unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (mut mount, first) = Mount::new();
    let shard = mount.shard().await;
    let at = &shard.daemon.listen;
    let open = connect(at, &first, "http/1.1").await.unwrap();
    let (mut open, connection) = hyper::client::conn::http1::handshake(TokioIo::new(open)).await.unwrap();
    tokio::spawn(connection);

    let second = mount.renew();
    eventually("the second certificate", || async { connect(at, &second, "h2").await.ok() }).await;
    assert!(connect(at, &first, "h2").await.is_err());
    assert_eq!(open.send_request(event("1")).await.unwrap().status(), 202);

    mount.turn("not a certificate", "not a key");
    let warnings = || {
        let logs = std::fs::read_dir(shard.home.path()).unwrap().flatten();
        let logs = logs.filter(|file| file.file_name().to_string_lossy().starts_with("log-"));
        let text: String = logs.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
        text.matches("the old one stays").count()
    };
    eventually("a warning", || async { (warnings() > 0).then_some(()) }).await;
    connect(at, &second, "h2").await.unwrap();

    let third = mount.renew();
    eventually("the third certificate", || async { connect(at, &third, "h2").await.ok() }).await;
    assert_eq!(warnings(), 1);
}

/// So it is that shards of other regions find out whether this one is there: see the dispatcher's `serve/neighbours/`.
#[tokio::test]
async fn who_asks_in_plain_whether_anybody_is_there_gets_an_alert_for_an_answer() {
    let (mount, _) = Mount::new();
    let shard = mount.shard().await;
    let mut stream = TcpStream::connect(&shard.daemon.listen).await.unwrap();
    stream.write_all(b"OPTIONS / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
}
