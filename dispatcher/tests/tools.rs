//! The two tools against each other and against a shard: what they send, count, verify, find and draw.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Daemon, Load, PATIENCE, Shard, config, event_headers, refusing, request, sink, try_request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn url(sink: &Daemon) -> String {
    format!("http://{}/", sink.listen)
}

/// Sends an event to a sink, with these headers besides those that it needs.
async fn send(sink: &Daemon, id: &str, key: &str, more: &[(&'static str, &str)]) -> support::Response {
    let mut headers = event_headers(id, key);
    headers.extend_from_slice(more);
    request(&sink.listen, "POST", "/", &headers, "data").await
}

/// Whether two figures are the same but for what floating point makes of them.
fn near(one: &Value, other: f64) -> bool {
    (one.as_f64().unwrap() - other).abs() < 1e-6
}

#[tokio::test]
async fn every_profile_sends_the_events_that_it_should_and_the_sink_verifies_them() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let cases: [(&str, u64, &[&str]); 7] = [
        ("/constant", 100, &["--rate", "400", "--count", "100"]),
        ("/ramp", 150, &["--profile", "ramp", "--rate", "100", "--to-rate", "500", "--duration", "500ms"]),
        (
            "/step",
            180,
            &["--profile", "step", "--rate", "100", "--to-rate", "500", "--steps", "3", "--step-duration", "200ms"],
        ),
        (
            "/burst",
            210,
            &[
                "--profile",
                "burst",
                "--rate",
                "300",
                "--burst-rate",
                "900",
                "--burst-every",
                "200ms",
                "--burst-duration",
                "50ms",
                "--duration",
                "500ms",
            ],
        ),
        ("/batch", 103, &["--rate", "500", "--count", "103", "--batch", "10", "--connections", "3"]),
        ("/http2", 100, &["--rate", "400", "--count", "100", "--http2", "--connections", "2"]),
        ("/structured", 150, &["--rate", "500", "--count", "100", "--mode", "structured", "--warmup", "100ms"]),
    ];
    for (source, count, args) in cases {
        let (result, content) = Load::start(&url(&sink), &[args, &["--source", source]].concat()).result().await;
        assert!(content, "{source}: {result}");
        let sent = result["sent"].as_u64().unwrap();
        assert_eq!(sent, count, "{source}");
        let verified = sink.get(&format!("/verify?source={source}&count={sent}")).await;
        assert_eq!((verified.status.as_u16(), &verified.json()["verified"]), (200, &json!(true)), "{source}");
        let more = sink.get(&format!("/verify?source={source}&count={}", sent + 2)).await;
        assert_eq!((more.status.as_u16(), &more.json()["lost"]), (409, &json!(2)), "{source}");
        assert_eq!(more.json()["missing"], json!([[sent, sent + 1]]));
    }
    let summary = sink.summary().await;
    assert_eq!(summary["latency_ms"]["samples"], summary["unique"]);
    assert!(summary["per_second"].as_f64().unwrap() > 0.0, "{summary}");
}

#[tokio::test]
async fn the_json_has_every_field_and_adds_up() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let args = ["--rate", "200", "--duration", "1500ms", "--warmup", "500ms", "--keys", "3", "--size", "10"];
    let (result, content) = Load::start(&url(&sink), &args).result().await;
    assert!(content, "{result}");
    // What others read, under the names that it has always had.
    for field in ["source", "sent", "accepted", "notAccepted", "rejected", "errors", "retries", "elapsedSeconds"] {
        assert!(!result[field].is_null(), "{field}");
    }
    for field in ["p50", "p90", "p99", "p999", "max"] {
        assert!(result["latencyMs"][field].as_f64().unwrap() > 0.0, "{field}");
        assert!(result["generator"]["lagMs"][field].as_f64().unwrap() > 0.0, "{field}");
    }
    assert!(near(&result["targetRate"], 200.0) && result["achievedRate"].as_f64().unwrap() > 0.0);
    assert_eq!((&result["sent"], &result["latencyMs"]["samples"]), (&json!(400), &json!(300)), "without the warm-up");
    let parameters = &result["parameters"];
    assert_eq!((&parameters["profile"], &parameters["mode"]), (&json!("constant"), &json!("binary")));
    assert_eq!((&parameters["keys"], &parameters["size"], &parameters["http"]), (&json!(3), &json!(10), &json!("1.1")));
    assert_eq!(result["environment"]["coLocated"], json!(true));
    assert!(result["generator"]["cpuMicrosPerEvent"].as_f64().unwrap() > 0.0);
    let intervals = result["intervals"].as_array().unwrap();
    let accepted = |interval: &Value| interval["accepted"].as_f64().unwrap() * interval["seconds"].as_f64().unwrap();
    let total: f64 = intervals.iter().map(accepted).sum();
    assert!((total - 300.0).abs() < 0.01, "{total} in {intervals:?}");
    assert!(!result["latencyCurve"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn the_search_names_about_the_cap_of_a_sink_and_what_limits_it() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"maxRatePerSecond": 300})).await;
    let page = home.path().join("page.html").display().to_string();
    // The objective is one that a machine under any load keeps: what is to be found is the cap.
    let args = ["--find-max", "--objective", "p99=9s", "--rate", "100", "--duration", "400ms", "--html", &page];
    let (found, content) = Load::start(&url(&sink), &args).result().await;
    assert!(content, "{found}");
    // In 400 ms, what the sink takes at once after a rest is a quarter more.
    let rate = found["rate"].as_f64().unwrap();
    assert!((200.0..=400.0).contains(&rate), "{found}");
    assert_eq!((&found["limitedBy"], &found["confirmations"]), (&json!("errors"), &json!(2)), "{found}");
    assert!(found["limit"].as_f64().unwrap() > rate);
    let trials = found["trials"].as_array().unwrap();
    assert!(trials.iter().any(|trial| trial["verdict"] == "errors" && trial["report"]["rejected"]["429"] != json!(0)));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(found["answer"].as_str().unwrap()) && page.matches("<tr class=").count() == trials.len());
}

#[tokio::test]
async fn a_search_that_finds_nothing_says_so_and_fails() {
    let target = format!("http://{}/", refusing());
    let args = ["--find-max", "--objective", "p99=1s", "--rate", "2", "--duration", "100ms"];
    let (found, content) = Load::start(&target, &args).result().await;
    assert_eq!((content, &found["rate"], &found["limitedBy"]), (false, &Value::Null, &json!("errors")), "{found}");
    assert!(found["answer"].as_str().unwrap().contains("no rate"), "{found}");
}

#[tokio::test]
async fn the_page_loads_nothing_from_anywhere() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let file = home.path().join("page.html");
    let args = ["--rate", "200", "--count", "50", "--html", &file.display().to_string()];
    assert!(Load::start(&url(&sink), &args).result().await.1);
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for word in ["<script", "<link", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(word), "{word}");
    }
    assert_eq!(page.matches("http").count(), page.matches(&url(&sink)).count(), "addresses other than the target's");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_in_a_sentence() {
    for (args, word) in [
        (&["--rate", "1", "--count", "1", "--ca", "x"][..], "--ca and --insecure are for TLS"),
        (&["--rate", "1"], "--count or --duration"),
        (&["--rate", "1", "--profile", "ramp", "--duration", "1s"], "--to-rate"),
        (&["--rate", "1", "--count", "1", "--objective", "p99=1s"], "--find-max"),
        (&["--find-max", "--objective", "fast"], "such as p99=20ms"),
    ] {
        let args = [&["load", "--target", "http://127.0.0.1:1/"], args].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_dispatcher")).args(&args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(word), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn a_sink_behaves_as_it_is_told_to_those_who_are_meant() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"statusSequence": [500, 429, 200], "retryAfterSeconds": 7, "match": {"key": "bad"}})).await;
    for (id, status, wait) in [("1", 500, Some("7")), ("2", 429, Some("7")), ("3", 200, None), ("4", 500, Some("7"))] {
        let answer = send(&sink, id, "bad", &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (status, wait), "event {id}");
        assert_eq!(send(&sink, &format!("9{id}"), "good", &[]).await.status, 200);
    }
    let summary = sink.summary().await;
    assert_eq!((&summary["unique"], &summary["failed_on_purpose"]), (&json!(5), &json!(3)));

    sink.behave(&json!({"byteDelayMs": 1})).await;
    assert_eq!(send(&sink, "5", "k", &[]).await.text(), "slow on purpose\n");
    sink.behave(&json!({"closeConnections": true})).await;
    let headers = event_headers("6", "k");
    assert!(try_request(&sink.listen, "POST", "/", &headers, "data").await.is_err());
    sink.behave(&json!({"maxRatePerSecond": 0.001})).await;
    assert_eq!(send(&sink, "7", "k", &[]).await.status, 200);
    let above = send(&sink, "8", "k", &[]).await;
    assert_eq!((above.status.as_u16(), above.header("retry-after")), (429, Some("1")));
    let wrong = request(&sink.listen, "PUT", "/behaviour", &[], r#"{"statusSequence":[1]}"#).await;
    assert!(wrong.status == 400 && wrong.text().contains("between 200 and 599"), "{}", wrong.text());
}

#[tokio::test]
async fn a_sink_that_knows_the_secret_takes_only_what_is_signed() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let args = ["sink", "--listen", "127.0.0.1:0", "--signing-secret", &secret.display().to_string()];
    let sink = Daemon::start(home.path(), &args).await;
    assert_eq!(send(&sink, "1", "k", &[]).await.status, 401);
    let old = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    assert_eq!(send(&sink, "1", "k", &old).await.status, 401);
    let summary = sink.summary().await;
    assert_eq!(summary["signatures"], json!({"valid": 0, "invalid": 1, "missing": 1}));
    assert_eq!(summary["received"], json!(0));
}

#[tokio::test]
async fn over_tls_a_certificate_is_believed_when_it_should_be() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (cert, key, data) = (path("cert"), path("key"), path("data"));
    std::fs::write(&cert, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", &data];
    let to = url(&sink);
    let shard = Daemon::start(
        home.path(),
        &[&["serve", "--sink", &to, "--tls-cert", &cert, "--tls-key", &key], &listen[..]].concat(),
    )
    .await;
    shard.ready().await;
    let target = format!("https://localhost:{}/", shard.listen.rsplit(':').next().unwrap());
    let cases: [(&[&str], u64); 4] =
        [(&["--ca", &cert], 20), (&["--insecure"], 20), (&["--ca", &cert, "--http2"], 20), (&[], 0)];
    for (args, accepted) in cases {
        let args = [&["--rate", "200", "--count", "20"], args].concat();
        let (result, _) = Load::start(&target, &args).result().await;
        assert_eq!(result["accepted"], json!(accepted), "{args:?}: {result}");
        assert_eq!(result["errors"]["connect"].as_u64().unwrap_or(0), 20 - accepted, "{args:?}: {result}");
    }
}

#[tokio::test]
async fn end_to_end_the_sink_knows_how_long_events_took() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let shard = Shard::start(&config(&[("a", &url(&sink))])).await;
    let args = ["--rate", "300", "--count", "150", "--keys", "10", "--source", "/e"];
    let (result, content) = Load::start(&shard.url(), &args).result().await;
    assert!(content, "{result}");
    support::eventually("all events, verified", || async {
        (sink.get("/verify?source=/e&count=150").await.status == 200).then_some(())
    })
    .await;
    let latency = &sink.summary().await["latency_ms"];
    assert_eq!(latency["samples"], json!(150));
    assert!(latency["p50"].as_f64() <= latency["max"].as_f64() && latency["max"].as_f64() > Some(0.0), "{latency}");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_until_another_ends() {
    const FILES: u32 = 64;
    let home = tempfile::tempdir().unwrap();
    let sink = Daemon::start_with_files(FILES, home.path(), &["sink", "--listen", "127.0.0.1:0"]).await;
    let asking = || async {
        let mut connection = TcpStream::connect(&sink.listen).await.unwrap();
        connection.write_all(b"GET /summary HTTP/1.1\r\nhost: sink\r\n\r\n").await.unwrap();
        connection
    };
    let mut answer = [0; 15];
    let mut open = Vec::new();
    for _ in 0..FILES / 2 {
        let mut connection = asking().await;
        timeout(PATIENCE, connection.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        open.push(connection);
    }
    let mut waiting = asking().await;
    let early = timeout(Duration::from_millis(300), waiting.read_exact(&mut answer)).await;
    assert!(early.is_err(), "one more than the limit was answered");
    drop(open.pop());
    timeout(PATIENCE, waiting.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}
