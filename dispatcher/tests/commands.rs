//! The command line: what it refuses and says, and the two tools.
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

use serde_json::json;
use support::{Daemon, Load, Shard, config, full, refusing, request, sink};

/// Runs a command that must fail, and returns what it says.
fn refused(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_dispatcher")).args(args).output().unwrap();
    assert!(!output.status.success(), "{args:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_in_a_sentence_that_says_what_to_write() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), pair.cert.pem()).unwrap();
    std::fs::write(path("other"), other.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    let serve = |cert: &str, key: &str| {
        let (cert, key, data) = (path(cert), path(key), path("data"));
        refused(&[
            "serve",
            "--sink",
            "http://127.0.0.1:9/",
            "--data-dir",
            &data,
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
        ])
    };
    for (cert, key, word) in [
        ("nowhere", "other", "cannot be read"),
        ("empty", "other", "has no certificate"),
        ("cert", "empty", "has no private key"),
        ("cert", "other", "cannot be used together"),
    ] {
        let sentence = serve(cert, key);
        assert!(sentence.contains(word), "{sentence}");
    }
    assert!(refused(&["serve", "--sink", "http://127.0.0.1:9/", "--tls-cert", &path("cert")]).contains("--tls-key"));
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_in_a_sentence_that_says_what_to_write() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let whole = config(&[("a", "http://a/")]).to_string();
    let torn = file("torn", &whole[..whole.len() / 2]);
    let mut wrong = config(&[("a", "http://a/")]);
    wrong["sinks"][0]["uri"] = json!("a:8080");
    let wrong = file("wrong", &wrong.to_string());
    let missing = home.path().join("missing").display().to_string();
    let whole = file("whole", &whole);
    for (args, words) in [
        (vec!["serve"], ["--config FILE", "--sink URL"]),
        (vec!["serve", "--config", &whole, "--sink", "http://a/"], ["exclude each other", "leave --config out"]),
        (vec!["serve", "--config", &torn], ["torn", "write the JSON of a ShardConfig, whole"]),
        (vec!["serve", "--config", &missing], ["cannot be read", "give the path"]),
        (vec!["serve", "--config", &wrong], ["a:8080", "write one such as"]),
        (vec!["serve", "--sink", "http://a/", "--trace-ratio", "2"], ["2", "from 0 to 1"]),
        (vec!["serve", "--sink", "http://a/", "--traces", "/nowhere/x"], ["/nowhere/x", "name a file"]),
        (vec!["serve", "--sink", "orders"], ["orders", "write one such as"]),
        (vec!["load", "--target", "http://127.0.0.1/", "--rate", "fast", "--count", "1"], ["fast", "such as 500"]),
        (vec!["load", "--target", "ftp://a/", "--rate", "1", "--count", "1"], ["ftp://a/", "absolute http URI"]),
        (vec!["sink", "--fail-ratio", "2"], ["failRatio", "between 0 and 1"]),
    ] {
        let said = refused(&args);
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_told_so() {
    let shard = Shard::start(&config(&[("a", &format!("http://{}/", refusing()))])).await;
    let data = shard.home.path().join("data").display().to_string();
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let args = [&["serve", "--sink", "http://a/", "--data-dir", &data], &listen[..]].concat();
    let said = refused(&args);
    assert!(said.contains("in use by another process"), "{said}");
    let taken = ["serve", "--sink", "http://a/", "--listen", &shard.daemon.listen, "--data-dir", "/nowhere"];
    assert!(refused(&taken).contains(&format!("cannot listen on {}", shard.daemon.listen)));
    assert_eq!(shard.send(1, "k").await.status, 202);
}

#[tokio::test]
async fn sinks_on_the_command_line_are_enough() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (sink(home.path()).await, sink(home.path()).await);
    let urls = [&one, &two].map(|sink| format!("http://{}/", sink.listen));
    let data = home.path().join("data").display().to_string();
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", &data];
    let args = [&["serve", "--sink", &urls[0], "--sink", &urls[1]], &listen[..]].concat();
    let shard = Daemon::start(home.path(), &args).await;
    shard.ready().await;
    let load =
        Load::start(&format!("http://{}/", shard.listen), &["--rate", "500", "--duration", "500ms", "--keys", "0"]);
    let (result, content) = load.result().await;
    assert!(content, "{result}");
    assert_eq!(result["sent"], json!(250));
    for sink in [&one, &two] {
        support::eventually("all events", || async { (sink.summary().await["unique"] == 250).then_some(()) }).await;
    }
    let report = shard.report().await;
    assert_eq!((&report["fleet"], &report["sinks"][1]["name"]), (&json!("standalone"), &json!("sink-2")));
}

#[tokio::test]
async fn load_counts_what_was_not_accepted_and_is_not_content() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let url = format!("http://{}/", sink.listen);
    sink.behave(&json!({"failRatio": 1.0, "status": 429})).await;
    let (result, content) = Load::start(&url, &["--rate", "200", "--count", "20"]).result().await;
    assert!(!content);
    assert_eq!((&result["accepted"], &result["notAccepted"]), (&json!(0), &json!(20)));
    assert_eq!(result["rejected"], json!({"429": 20}));

    let url_refusing = format!("http://{}/", refusing());
    let (result, content) = Load::start(&url_refusing, &["--rate", "200", "--count", "5"]).result().await;
    assert_eq!((content, &result["errors"]), (false, &json!({"connect": 5})));

    sink.behave(&json!({"hang": true})).await;
    let args = ["--rate", "200", "--count", "2", "--timeout", "200ms"];
    assert_eq!(Load::start(&url, &args).result().await.0["errors"], json!({"timeout": 2}));
    let (full, _waits) = full();
    let url_full = format!("http://{full}/");
    assert_eq!(Load::start(&url_full, &args).result().await.0["errors"], json!({"timeout in connect": 2}));

    sink.behave(&json!({"failRatio": 0.5})).await;
    request(&sink.listen, "POST", "/reset", &[], "").await;
    let args = ["--rate", "1000", "--count", "200", "--keys", "5", "--retry-until-accepted", "50s", "--source", "/r"];
    let (result, content) = Load::start(&url, &args).result().await;
    assert!(content && result["retries"].as_u64().unwrap() > 0, "{result}");
    let summary = sink.summary().await;
    assert_eq!(summary["sources"]["/r"], json!({"received": 200, "unique": 200, "duplicates": 0, "out_of_order": 0}));
    assert_eq!(summary["failed_on_purpose"], result["retries"]);
}

#[tokio::test]
async fn load_sends_an_event_again_as_often_as_it_may_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let url = format!("http://{}/", sink.listen);
    sink.behave(&json!({"failRatio": 1.0, "status": 500})).await;
    for (more, tries) in [(&["--retries", "1"][..], 20), (&["--retries", "2", "--retry-until-accepted", "50s"], 30)] {
        let args = [&["--rate", "200", "--count", "10"], more].concat();
        let (result, content) = Load::start(&url, &args).result().await;
        assert!(!content, "{result}");
        assert_eq!((&result["notAccepted"], &result["rejected"]), (&json!(10), &json!({"500": tries})), "{more:?}");
    }
    sink.behave(&json!({"statusSequence": [500, 200]})).await;
    let args = ["--rate", "200", "--count", "10", "--connections", "1", "--retries", "1"];
    let (result, content) = Load::start(&url, &args).result().await;
    assert!(content, "{result}");
    assert_eq!((&result["accepted"], &result["retries"]), (&json!(10), &json!(10)));
}

#[tokio::test]
async fn load_without_a_schedule_sends_as_fast_as_it_is_answered_for_as_long_as_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let url = format!("http://{}/", sink.listen);
    let args = ["--rate", "0", "--duration", "300ms", "--connections", "2", "--reconnect-every", "10"];
    let (result, content) = Load::start(&url, &args).result().await;
    assert!(content, "{result}");
    assert_eq!(sink.summary().await["unique"], result["accepted"]);
    assert!(result["latencyMs"]["p999"].as_f64().unwrap() > 0.0);
}
