//! Real shards under real limits, and what they report of it: recorded for the operator's bottleneck monitor, whose
//! tests read these files.
//!
//! ```text
//! cargo test -p signalbox-dispatcher --test limits -- --ignored --test-threads 1
//! ```
//!
//! takes a minute and a half, and writes `src/decide/bottleneck/tests/recorded/*.json`: one report a line, two seconds
//! apart. Two processors and no other work are best. Each run checks that the limit was really there.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Daemon, Load, Shard, config, sink};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Reports of one recording, and the time between them.
const REPORTS: usize = 20;
const STEP: Duration = Duration::from_secs(2);

struct Stage {
    _home: tempfile::TempDir,
    sink: Daemon,
    shard: Shard,
}

/// A shard with one sink that behaves like this, and is sent so many events at once.
async fn stage(behaviour: &Value, concurrency: u32) -> Stage {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(behaviour).await;
    let mut config = config(&[("audit", &format!("http://{}/", sink.listen))]);
    config["sinks"][0]["maxConcurrency"] = json!(concurrency);
    config["maxEventBytes"] = json!(1 << 20);
    // A machine that is busy with other things makes no failures of it.
    config["sinks"][0]["timeoutMs"] = json!(30_000);
    let shard = Shard::start(&config).await;
    Stage { _home: home, sink, shard }
}

/// Takes reports under this load, and keeps them as `name`.
async fn record(stage: &Stage, load: &[&str], name: &str) -> (Value, Value) {
    let duration = format!("{}s", (REPORTS as u64 + 2) * STEP.as_secs());
    let args: Vec<_> = load.iter().copied().chain(["--duration", &duration]).collect();
    let _load = Load::start(&stage.shard.url(), &args);
    let mut reports = Vec::new();
    for _ in 0..REPORTS {
        tokio::time::sleep(STEP).await;
        reports.push(stage.shard.daemon.report().await);
    }
    let lines = reports.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/decide/bottleneck/tests/recorded");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.json")), lines).unwrap();
    assert!(stage.sink.summary().await.is_object());
    (reports.first().unwrap().clone(), reports.last().unwrap().clone())
}

fn at_sink(report: &Value, field: &str) -> u64 {
    report["sinks"][0][field].as_u64().unwrap()
}

async fn capped_sink() {
    let stage = stage(&json!({"maxRatePerSecond": 50}), 64).await;
    let (_, last) = record(&stage, &["--rate", "200"], "sink").await;
    assert!(at_sink(&last, "throttledTotal") > 0 && at_sink(&last, "backlogEvents") > 500, "{last}");
}

async fn small_concurrency() {
    let stage = stage(&json!({"delayMs": 100}), 2).await;
    let (_, last) = record(&stage, &["--rate", "100"], "concurrency-limit").await;
    assert!(at_sink(&last, "limitedUsTotal") > 15_000_000, "{last}");
}

async fn hot_key() {
    let stage = stage(&json!({"delayMs": 50}), 64).await;
    let (_, last) = record(&stage, &["--rate", "100", "--keys", "1"], "hot-key").await;
    assert!(at_sink(&last, "blockedEvents") > 300, "{last}");
}

async fn nothing() {
    let stage = stage(&json!({"delayMs": 20}), 64).await;
    let (_, last) = record(&stage, &["--rate", "50"], "nothing").await;
    assert!(at_sink(&last, "deliveredTotal") > 1_000, "{last}");
}

/// Bodies that never come take up all the room for bodies.
async fn slow_bodies() {
    let stage = stage(&json!({}), 64).await;
    let listen = stage.shard.daemon.listen.clone();
    let hogs = tokio::spawn(async move {
        loop {
            let mut hogs = Vec::new();
            for _ in 0..80 {
                let mut hog = TcpStream::connect(&listen).await.unwrap();
                let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\nce-specversion: 1.0\r\nce-id: 1\r\n\
                            ce-source: /a\r\nce-type: a\r\ncontent-length: 1000000\r\n\r\n";
                hog.write_all(head.as_bytes()).await.unwrap();
                hogs.push(hog);
            }
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
    });
    let (_, last) = record(&stage, &["--rate", "50"], "ingest").await;
    hogs.abort();
    assert!(last["usage"]["receiveRefusedTotal"].as_u64() > Some(100), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "records what other tests read: see the head of this file"]
async fn record_limits_that_leave_processors_free() {
    tokio::join!(capped_sink(), small_concurrency(), hot_key(), nothing(), slow_bodies());
}

#[tokio::test]
#[ignore = "records what other tests read: see the head of this file"]
async fn record_a_shard_with_one_processor_and_more_than_it_can_do() {
    let stage = stage(&json!({}), 64).await;
    let pid = stage.shard.daemon.id().to_string();
    for command in
        [["taskset", "--all-tasks", "--cpu-list", "--pid", "0"], ["renice", "--priority", "-19", "--pid", ""]]
    {
        let args = command[1..].iter().filter(|arg| !arg.is_empty());
        assert!(Command::new(command[0]).args(args).arg(&pid).status().unwrap().success());
    }
    let (first, last) = record(&stage, &["--rate", "0", "--connections", "64"], "cpu").await;
    let used = |report: &Value| report["usage"]["cpuUsTotal"].as_u64().unwrap() / 1000;
    let lived = last["uptimeMs"].as_u64().unwrap() - first["uptimeMs"].as_u64().unwrap();
    assert!((used(&last) - used(&first)) * 10 > lived * 8, "{} of {lived} ms", used(&last) - used(&first));
}
