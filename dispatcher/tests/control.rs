//! The control port: keys on both sides, names as well as chains, and authorities that change.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use support::keys::{Authority, OPERATOR, Pair, SHARD, authority, connect, control, pair};
use support::{Shard, config, eventually, refusing};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// A shard with keys, and where they are.
struct Keyed {
    shard: Shard,
    keys: TempDir,
    authority: Authority,
}

impl Keyed {
    async fn start() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let authority = authority();
        let mut config = config(&[("a", &format!("http://{}/", refusing()))]);
        config["control"] = control(&authority, keys.path(), "127.0.0.1:0");
        Self { shard: Shard::start(&config).await, keys, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    /// What somebody with these keys is answered, who expects a shard of this name. A path is got, unless a method stands
    /// before it.
    async fn asked(&self, with: Option<&Pair>, expected: &str, path: &str) -> std::io::Result<String> {
        let address = self.shard.daemon.control.as_ref().unwrap();
        let mut stream = connect(&self.authority, with, expected, address).await?;
        let (method, path) = path.split_once(' ').unwrap_or(("GET", path));
        let head = format!("{method} {path} HTTP/1.1\r\nhost: shard\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = vec![0; 64 << 10];
        let length = stream.read(&mut answer).await?;
        answer.truncate(length);
        Ok(String::from_utf8(answer).unwrap())
    }

    async fn accepts(&self, pair: &Pair) -> bool {
        self.asked(Some(pair), SHARD, "/v1/report").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

#[tokio::test]
async fn the_operator_is_answered_on_the_control_port_and_gets_its_stream_there() {
    let keyed = Keyed::start().await;
    let operator = pair(&keyed.authority, OPERATOR, |_| {});
    assert!(keyed.accepts(&operator).await);
    let stream = keyed.asked(Some(&operator), SHARD, "/v1/report?watch=true").await.unwrap();
    assert!(stream.contains("application/x-ndjson"), "{stream}");
    let letters = keyed.asked(Some(&operator), SHARD, "/v1/dead-letters").await.unwrap();
    assert!(letters.starts_with("HTTP/1.1 200"), "{letters}");
    // Nor is it a way to what is elsewhere.
    let metrics = keyed.asked(Some(&operator), SHARD, "/metrics").await.unwrap();
    assert!(metrics.starts_with("HTTP/1.1 404"), "{metrics}");
}

#[tokio::test]
async fn who_has_no_certificate_of_the_fleet_for_the_right_name_and_time_is_refused() {
    let keyed = Keyed::start().await;
    assert!(keyed.asked(None, SHARD, "/v1/report").await.is_err(), "no certificate");
    let refused = [
        ("of another authority", pair(&authority(), OPERATOR, |_| {})),
        ("of another fleet", pair(&keyed.authority, "operator.mail.shop.signalbox", |_| {})),
        ("of another namespace", pair(&keyed.authority, "operator.orders.bank.signalbox", |_| {})),
        ("of nobody", pair(&keyed.authority, "a.b", |params| params.subject_alt_names.clear())),
        ("expired", pair(&keyed.authority, OPERATOR, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))),
        (
            "not yet valid",
            pair(&keyed.authority, OPERATOR, |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1)),
        ),
        (
            "for servers only",
            pair(&keyed.authority, OPERATOR, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
    ];
    for (why, pair) in &refused {
        let answer = keyed.asked(Some(pair), SHARD, "/v1/report").await;
        assert!(answer.as_ref().map_or(true, String::is_empty), "{why}: {answer:?}");
    }
    let operator = pair(&keyed.authority, OPERATOR, |_| {});
    assert!(keyed.asked(Some(&operator), "shard.mail.shop.signalbox", "/v1/report").await.is_err(), "another's shard");
    assert!(keyed.accepts(&operator).await);
}

#[tokio::test]
async fn a_shard_and_the_operator_are_told_apart_by_the_name_and_neither_has_what_is_the_others() {
    let keyed = Keyed::start().await;
    let status = async |who: &Pair, what: &str| {
        let answer = keyed.asked(Some(who), SHARD, what).await.unwrap();
        let sentence = answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
        (answer["HTTP/1.1 ".len()..][..3].to_owned(), sentence)
    };
    let shard = pair(&keyed.authority, SHARD, |_| {});
    let routes = ["/v1/report", "/v1/report?watch=true", "/v1/dead-letters", "DELETE /v1/dead-letters", "/metrics"];
    for path in routes.into_iter().chain(["PUT /v1/routing", "PUT /v1/traffic", "/"]) {
        let (status, sentence) = status(&shard, path).await;
        assert!(status == "403" && sentence.contains("shards say to each other"), "{path}: {status} {sentence}");
    }
    let operator = pair(&keyed.authority, OPERATOR, |_| {});
    for path in ["POST /v1/peers/messages", "POST /v1/peers/events", "POST /v1/regions/events"] {
        let (refused, sentence) = status(&operator, path).await;
        assert!(refused == "403" && sentence.contains("operator's"), "{path}: {refused} {sentence}");
        // This one has no number, so it takes part in no routing.
        let (closed, sentence) = status(&shard, path).await;
        assert!(closed == "503" && sentence.contains("no routing"), "{path}: {closed} {sentence}");
    }
    let both = pair(&keyed.authority, OPERATOR, |params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName(SHARD.try_into().unwrap()));
    });
    assert_eq!(status(&both, "/v1/report").await.0, "200", "who has both names is the operator");
    assert_eq!(status(&both, "POST /v1/peers/events").await.0, "403");
}

#[tokio::test]
async fn from_outside_the_admin_port_answers_probes_and_metrics_only() {
    let keyed = Keyed::start().await;
    let outside = async |path: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(keyed.shard.daemon.admin.as_ref().unwrap().parse().unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: shard\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer["HTTP/1.1 ".len()..][..3].to_owned()
    };
    for path in ["/v1/report", "/v1/report?watch=true", "/v1/dead-letters"] {
        assert_eq!(outside(path).await, "403", "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(outside(path).await, "200", "{path}");
    }
    assert_eq!(keyed.shard.daemon.get("/v1/dead-letters").await.status, 200, "from within");
}

#[tokio::test]
async fn a_new_authority_is_trusted_beside_the_old_one_and_the_old_one_no_longer_than_it_is_there() {
    let keyed = Keyed::start().await;
    let old = pair(&keyed.authority, OPERATOR, |_| {});
    let next = authority();
    let new = pair(&next, OPERATOR, |_| {});
    assert!(keyed.accepts(&old).await && !keyed.accepts(&new).await);
    std::fs::write(keyed.path("ca.crt"), format!("{}{}", keyed.authority.pem(), next.pem())).unwrap();
    eventually("trust in the new authority", || async { keyed.accepts(&new).await.then_some(()) }).await;
    assert!(keyed.accepts(&old).await);
    std::fs::write(keyed.path("ca.crt"), next.pem()).unwrap();
    eventually("no trust in the old authority", || async { (!keyed.accepts(&old).await).then_some(()) }).await;
    assert!(keyed.accepts(&new).await);
    std::fs::write(keyed.path("ca.crt"), "nothing").unwrap();
    eventually("a word about it", || async {
        keyed.shard.daemon.log().contains("the new certificate cannot be used").then_some(())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(5), keyed.accepts(&new)).await.map(|accepted| assert!(accepted)).unwrap();
}
