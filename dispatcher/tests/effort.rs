//! The report's figures of what limits a shard, as a real process gives them.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use serde_json::{Value, json};
use support::{Shard, config, eventually, sink};

fn of_sink(report: &Value, field: &str) -> u64 {
    report["sinks"][0][field].as_u64().unwrap()
}

/// Sends so many events at once, on this many keys.
async fn send(shard: &Shard, events: u64, keys: u64) {
    let sent = (0..events).map(|id| async move { shard.send(id, &format!("key-{}", id % keys)).await.status.as_u16() });
    assert!(futures::future::join_all(sent).await.iter().all(|status| *status == 202));
}

#[tokio::test]
async fn a_slow_sink_shows_in_the_time_of_its_attempts_and_in_what_its_limit_keeps_back() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"delayMs": 100})).await;
    let mut config = config(&[("slow", &format!("http://{}/", sink.listen))]);
    config["sinks"][0]["maxConcurrency"] = json!(2);
    let shard = Shard::start(&config).await;
    let before = shard.daemon.report().await;
    assert_eq!((&before["settledTotal"], of_sink(&before, "limitedUsTotal")), (&json!(0), 0));
    send(&shard, 40, 40).await;
    let while_it_lasts = shard.daemon.report().await;
    assert!(of_sink(&while_it_lasts, "windowEvents") > 0, "{while_it_lasts}");
    assert_eq!(of_sink(&while_it_lasts, "blockedEvents"), 0, "each has a key of its own");
    shard.drained().await;
    let after = shard.daemon.report().await;
    assert_eq!((&after["settledTotal"], &after["acceptedTotal"]), (&json!(40), &json!(40)));
    assert_eq!((of_sink(&after, "attemptsTotal"), of_sink(&after, "windowEvents")), (40, 0));
    let attempts = of_sink(&after, "attemptUsTotal");
    let lived = 1000 * (after["uptimeMs"].as_u64().unwrap() - before["uptimeMs"].as_u64().unwrap());
    assert!(attempts >= 40 * 100_000 && attempts <= 2 * lived, "{attempts} us of {lived}");
    // Forty at two at once take two seconds, in all of which but the last tenth another could have been sent.
    let limited = of_sink(&after, "limitedUsTotal");
    assert!(limited >= 1_800_000 && limited <= lived, "{limited} us of {lived}");
    assert!(after["sequence"].as_u64() > before["sequence"].as_u64());
    let usage = &after["usage"];
    assert!(usage["cpuUsTotal"].as_u64() > before["usage"]["cpuUsTotal"].as_u64(), "{usage}");
    assert!(usage["cpuLimitMillis"].as_u64() > Some(0), "{usage}");
    let busy = usage["diskBusyUsTotal"].as_u64().unwrap();
    assert!(busy > 0 && busy <= lived, "{busy} us of {lived}");
    let waited = usage["diskWaitUsTotal"].as_u64().unwrap();
    assert!(waited > 0 && waited <= 40 * lived, "40 events waited {waited} us in {lived}");
}

#[tokio::test]
async fn a_hot_key_shows_as_a_long_lane_and_not_as_a_limit_of_attempts() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"delayMs": 50})).await;
    let shard = Shard::start(&config(&[("a", &format!("http://{}/", sink.listen))])).await;
    send(&shard, 40, 1).await;
    eventually("a long lane", || async {
        let report = shard.daemon.report().await;
        let [window, blocked, largest] =
            ["windowEvents", "blockedEvents", "largestLaneEvents"].map(|field| of_sink(&report, field));
        (window > 20 && largest == window && blocked == window - 1).then_some(())
    })
    .await;
    shard.drained().await;
    assert_eq!(of_sink(&shard.daemon.report().await, "limitedUsTotal"), 0);
}

#[tokio::test]
async fn a_sink_that_asks_for_less_and_a_full_backlog_are_counted() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"failRatio": 1, "status": 429, "retryAfterSeconds": 1})).await;
    let mut config = config(&[("a", &format!("http://{}/", sink.listen))]);
    config["backlogLimitEvents"] = json!(5);
    let shard = Shard::start(&config).await;
    send(&shard, 5, 5).await;
    eventually("a throttled attempt", || async {
        let report = shard.daemon.report().await;
        (of_sink(&report, "throttledTotal") > 0).then_some(())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(shard.send(9, "k").await.status, 429);
    }
    let report = shard.daemon.report().await;
    assert_eq!((&report["refusedTotal"], &report["usage"]["receiveRefusedTotal"]), (&json!(3), &json!(0)));
    let text = shard.daemon.get("/metrics").await.text();
    for name in ["attempt_seconds_total{", "limited_seconds_total{", "log_busy_seconds_total ", "blocked_events{"] {
        assert!(text.contains(&format!("signalbox_dispatcher_{name}")), "{name} in\n{text}");
    }
}

#[tokio::test]
async fn what_was_left_by_an_earlier_life_counts_as_settled_when_it_is_and_no_total_outlives_its_process() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"failRatio": 1, "status": 500})).await;
    let mut shard = Shard::start(&config(&[("a", &format!("http://{}/", sink.listen))])).await;
    send(&shard, 7, 7).await;
    shard.daemon.signal("KILL");
    shard.daemon.ended().await;
    sink.behave(&json!({})).await;
    shard.restart().await;
    shard.drained().await;
    let report = shard.daemon.report().await;
    assert_eq!((&report["acceptedTotal"], &report["settledTotal"]), (&json!(0), &json!(7)));
}
