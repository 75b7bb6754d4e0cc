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

use serde_json::{Value, json};
use support::{Load, Shard, config, draw, eventually, seed, sink};

const EVENTS: u64 = 3_000;

/// Runs of [`killed_under_load_again_and_again_nothing_accepted_is_lost_or_reordered`], unless `SIGNALBOX_CRASH_RUNS`
/// says how many.
const RUNS: u64 = 5;

/// Attempts at once in those runs.
const CONCURRENCY: u64 = 32;

/// Most events that one kill may send twice: those being sent, and those that the sink has taken while the log was
/// still busy with the sync before the one that would have kept it.
const IN_FLIGHT: u64 = 2 * CONCURRENCY;

/// What came of one run, or of all.
#[derive(Debug, Default)]
struct Toll {
    events: u64,
    kills: u64,
    /// Of the kills, those of a shard that was not ready yet.
    while_recovering: u64,
    /// Events that the sink got twice.
    duplicates: u64,
    /// Events that the load sent again because their answer was lost.
    unanswered: u64,
}

/// Kills the shard one to four times at random moments while events are sent and delivered, sometimes before it has
/// recovered from the last time, and checks that all of them arrive in order.
async fn killed(mut state: u64) -> Toll {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let fail_ratio = [0.0, 0.0, 0.02, 0.1][usize::try_from(draw(&mut state, 4)).unwrap()];
    sink.behave(&json!({"failRatio": fail_ratio, "delayMs": draw(&mut state, 4)})).await;
    let mut config = config(&[("a", &format!("http://{}/", sink.listen))]);
    config["sinks"][0]["maxConcurrency"] = json!(CONCURRENCY);
    config["duplicateWindowMs"] = json!([0, 120_000][usize::try_from(draw(&mut state, 2)).unwrap()]);
    let mut shard = Shard::start(&config).await;
    let mut toll = Toll { events: 500 + draw(&mut state, 1_000), ..Toll::default() };
    let (count, rate) = (toll.events.to_string(), (1_000 + draw(&mut state, 3_000)).to_string());
    let (keys, connections) = ((1 + draw(&mut state, 200)).to_string(), (1 + draw(&mut state, 32)).to_string());
    let flags = ["--rate", &rate, "--count", &count, "--keys", &keys, "--connections", &connections];
    let load =
        Load::start(&shard.url(), &[&flags[..], &["--source", "/crash", "--retry-until-accepted", "50s"]].concat());
    for _ in 0..=draw(&mut state, 4) {
        // The moment is what is random here, and so it is waited for rather than a condition.
        tokio::time::sleep(Duration::from_millis(draw(&mut state, 200))).await;
        shard.daemon.signal("KILL");
        shard.daemon.ended().await;
        toll.kills += 1;
        if draw(&mut state, 4) == 0 {
            shard.killed_while_starting(Duration::from_micros(draw(&mut state, 30_000))).await;
            (toll.kills, toll.while_recovering) = (toll.kills + 1, toll.while_recovering + 1);
        }
        shard.restart().await;
    }
    let (result, content) = load.result().await;
    assert!(content, "{result}");
    assert_eq!(result["accepted"], json!(toll.events));
    sink.behave(&json!({})).await;
    shard.drained().await;
    let summary = sink.summary().await;
    assert_eq!(sink.get("/received?source=/crash").await.json(), json!([[0, toll.events - 1]]), "lost: {summary}");
    assert_eq!(summary["out_of_order"], json!(0), "{summary}");
    toll.duplicates = summary["duplicates"].as_u64().unwrap();
    // Where no connection was made, nothing was sent.
    let errors = result["errors"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "connect");
    toll.unanswered = errors.filter_map(|(_, count)| Value::as_u64(count)).sum();
    let most = toll.kills * IN_FLIGHT + toll.unanswered;
    assert!(toll.duplicates <= most, "more than {most} were sent twice: {toll:?} {summary}");
    toll
}

/// Ends the shard several times with SIGTERM while events are sent, and checks that all of them arrive in order.
async fn stopped(mut state: u64) {
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
        shard.daemon.signal("TERM");
        let status = shard.daemon.ended().await;
        assert!(status.success(), "{status}");
        assert!(sent.elapsed() < Duration::from_secs(5), "took {:?}", sent.elapsed());
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

/// The whole: `SIGNALBOX_CRASH_RUNS=1000 cargo test --release -p signalbox-dispatcher --test crash -- killed --nocapture`.
/// A run that fails is repeated alone with the `SEED` that it printed last and `SIGNALBOX_CRASH_RUNS=1`.
#[tokio::test]
async fn killed_under_load_again_and_again_nothing_accepted_is_lost_or_reordered() {
    let runs = std::env::var("SIGNALBOX_CRASH_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number of runs"));
    let first = seed();
    let mut all = Toll::default();
    for run in 0..runs {
        let seed = first.wrapping_add(run);
        println!("run {run}: SEED={seed}");
        let toll = killed(seed).await;
        all.events += toll.events;
        all.kills += toll.kills;
        all.while_recovering += toll.while_recovering;
        all.duplicates += toll.duplicates;
        all.unanswered += toll.unanswered;
    }
    println!("{runs} runs: 0 lost, 0 out of order; {all:?}");
    assert!(all.kills >= runs);
}

#[tokio::test]
async fn told_to_stop_under_load_it_exits_in_time_and_loses_nothing() {
    stopped(seed()).await;
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
