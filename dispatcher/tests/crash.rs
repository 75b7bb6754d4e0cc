//! Being killed and being stopped, under load. Nothing accepted is lost, and the order of each key is kept.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Load, Shard, config, draw, eventually, seed, sink};

const EVENTS: u64 = 3_000;

/// Ends the shard several times with `signal` while events are sent, and checks that all of them arrive in order.
async fn survives(signal: &str, mut state: u64) {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let fail_ratio = [0.0, 0.05, 0.3][usize::try_from(draw(&mut state, 3)).unwrap()];
    sink.behave(&json!({"failRatio": fail_ratio, "delayMs": draw(&mut state, 4)})).await;
    let mut shard = Shard::start(&config(&[("a", &format!("http://{}/", sink.listen))])).await;
    let count = EVENTS.to_string();
    let args = ["--rate", "1500", "--count", &count, "--keys", "60", "--connections", "12", "--source", "/crash"];
    let mut load = Load::start(&shard.url(), &[&args[..], &["--retry-until-accepted", "50s"]].concat());
    let mut ends = 0;
    while ends < 3 && load.is_running() {
        let before = shard.daemon.report().await["acceptedTotal"].as_u64().unwrap();
        let after = before + 50 + draw(&mut state, 400);
        eventually("more events", || async {
            let accepted = shard.daemon.report().await["acceptedTotal"].as_u64().unwrap();
            (accepted >= after || sink.summary().await["unique"] == EVENTS).then_some(())
        })
        .await;
        let sent = Instant::now();
        shard.daemon.signal(signal);
        let status = shard.daemon.ended().await;
        if signal == "TERM" {
            assert!(status.success(), "{status}");
            assert!(sent.elapsed() < Duration::from_secs(5), "took {:?}", sent.elapsed());
        }
        ends += 1;
        shard.restart().await;
    }
    assert!(ends > 0, "the load was over before the shard was ended");
    let (result, content) = load.result().await;
    assert!(content, "{result}");
    assert_eq!(result["accepted"], json!(EVENTS));
    shard.drained().await;
    let summary = sink.summary().await;
    assert_eq!(sink.get("/received?source=/crash").await.json(), json!([[0, EVENTS - 1]]), "lost: {summary}");
    assert_eq!(summary["out_of_order"], json!(0), "{summary}");
}

#[tokio::test]
async fn killed_under_load_again_and_again_nothing_accepted_is_lost_or_reordered() {
    let mut state = seed();
    for _ in 0..3 {
        survives("KILL", draw(&mut state, u64::MAX)).await;
    }
}

#[tokio::test]
async fn told_to_stop_under_load_it_exits_in_time_and_loses_nothing() {
    survives("TERM", seed()).await;
}

#[tokio::test]
async fn without_traffic_it_stops_at_once() {
    let mut shard = Shard::start(&config(&[("a", &format!("http://{}/", support::refusing()))])).await;
    let sent = Instant::now();
    shard.daemon.signal("INT");
    assert!(shard.daemon.ended().await.success());
    assert!(sent.elapsed() < Duration::from_secs(2), "took {:?}", sent.elapsed());
}

#[tokio::test]
async fn a_sink_that_hangs_does_not_hold_up_the_stop() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"hang": true})).await;
    let mut config = config(&[("a", &format!("http://{}/", sink.listen)), ("b", "http://nowhere.invalid/")]);
    config["sinks"][0]["timeoutMs"] = json!(60_000);
    let mut shard = Shard::start(&config).await;
    assert_eq!(shard.send(1, "k").await.status, 202);
    eventually("an attempt in flight", || async {
        (shard.daemon.report().await["sinks"][0]["inFlight"] == 1).then_some(())
    })
    .await;
    let sent = Instant::now();
    shard.daemon.signal("TERM");
    assert!(shard.daemon.ended().await.success());
    assert!(sent.elapsed() < Duration::from_secs(5), "took {:?}", sent.elapsed());
    sink.behave(&json!({})).await;
    shard.restart().await;
    eventually("the event", || async { (sink.summary().await["unique"] == 1).then_some(()) }).await;
}

#[tokio::test]
async fn a_restart_finds_the_backlog_and_its_age() {
    let mut shard = Shard::start(&config(&[("a", &format!("http://{}/", support::refusing()))])).await;
    for id in 0..50 {
        assert_eq!(shard.send(id, "k").await.status, 202);
    }
    let before = shard.daemon.report().await;
    shard.daemon.signal("KILL");
    shard.daemon.ended().await;
    shard.restart().await;
    let after = shard.daemon.report().await;
    assert_eq!((&after["backlogEvents"], &after["backlogBytes"]), (&json!(50), &before["backlogBytes"]));
    assert!(after["oldestEventAgeMs"].as_u64() >= before["oldestEventAgeMs"].as_u64());
    assert_ne!(after["incarnation"], before["incarnation"]);
    assert_eq!(after["acceptedTotal"], json!(0));
}
