//! Events that a sink refuses, from the last attempt until they are delivered after all: real processes, and the
//! command that people use.
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

use serde_json::{Value, json};
use support::{Daemon, Shard, config, eventually, refusing, sink};

/// Runs `dispatcher dead-letters`, on a thread that may block. Returns what it says and whether it was content.
async fn command(admin: &str, args: &[&str]) -> (String, String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
    command.args(["dead-letters", "--admin", &format!("http://{admin}")]).args(args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.success())
}

/// The same, which must be content, with the JSON that it says.
async fn ask(shard: &Shard, args: &[&str]) -> Value {
    let (said, complaint, content) = command(shard.daemon.admin.as_ref().unwrap(), &[args, &["--json"]].concat()).await;
    assert!(content, "{args:?}: {said} {complaint}");
    serde_json::from_str(said.trim()).unwrap_or_else(|e| panic!("{args:?}: {e} in {said}"))
}

/// The same for people.
async fn read(shard: &Shard, args: &[&str]) -> String {
    let (said, complaint, content) = command(shard.daemon.admin.as_ref().unwrap(), args).await;
    assert!(content, "{args:?}: {said} {complaint}");
    said
}

/// A shard that gives up after `attempts`, and a sink that refuses everything.
async fn refused(attempts: u32) -> (Shard, Daemon, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"failRatio": 1.0, "status": 400})).await;
    let mut config = config(&[("orders", &format!("http://{}/", sink.listen))]);
    config["deadLetterLimitBytes"] = json!(10_000_000);
    config["sinks"][0]["retry"] = json!({"initialBackoffMs": 1, "maxBackoffMs": 5, "maxAttempts": attempts});
    (Shard::start(&config).await, sink, home)
}

/// Waits until so many letters are kept and nothing else is left.
async fn dead(shard: &Shard, letters: u64) {
    eventually("dead letters", || async {
        let report = shard.daemon.report().await;
        (report["sinks"][0]["deadLetters"] == letters && report["backlogEvents"] == 0).then_some(())
    })
    .await;
}

async fn send(shard: &Shard, ids: std::ops::Range<u64>) {
    for id in ids {
        assert_eq!(shard.send(id, &format!("key-{}", id % 3)).await.status, 202);
    }
}

#[tokio::test]
async fn a_refused_event_is_kept_looked_at_and_delivered_when_the_sink_is_mended() {
    let (mut shard, sink, _home) = refused(3).await;
    send(&shard, 0..6).await;
    dead(&shard, 6).await;

    let text = read(&shard, &["list"]).await;
    assert!(text.starts_with("LETTER") && text.contains("6 letters in all"), "{text}");
    let list = ask(&shard, &["list", "--key", "key-1"]).await;
    assert_eq!(list["letters"].as_array().unwrap().len(), 2, "{list}");
    let letter = &list["letters"][0];
    assert_eq!(
        (&letter["sink"], &letter["reason"], &letter["attempts"]),
        (&json!("orders"), &json!("AttemptsExhausted"), &json!(3))
    );
    assert!(letter["lastAnswer"].as_str().unwrap().contains("400"), "{letter}");
    let id = letter["id"].as_str().unwrap();
    let event = ask(&shard, &["show", id]).await;
    assert_eq!((&event["source"], &event["partitionkey"]), (&json!("/test"), &json!("key-1")));
    let text = read(&shard, &["show", id]).await;
    assert!(text.contains("answered 400") && text.contains("\"partitionkey\": \"key-1\""), "{text}");

    // They outlive a crash, and are told from those that die of it again.
    shard.daemon.signal("KILL");
    shard.daemon.ended().await;
    shard.restart().await;
    dead(&shard, 6).await;

    let dry = ask(&shard, &["replay", "--dry-run", "--sink", "orders"]).await;
    assert_eq!((&dry["matched"], dry["first"].as_array().unwrap().len()), (&json!(6), 6));
    // Still refused: they come back as letters, and the replay ends all the same.
    ask(&shard, &["replay", "--rate", "10000", "--wait"]).await;
    dead(&shard, 6).await;
    assert_eq!(sink.summary().await["unique"], 0);

    sink.behave(&json!({})).await;
    assert_eq!(ask(&shard, &["delete", "--event-id", "5"]).await, json!({"deleted": 1}));
    let text = read(&shard, &["replay", "--sink", "orders", "--rate", "10000", "--wait"]).await;
    assert!(text.contains("done, 5 of 5 letters replayed"), "{text}");
    eventually("the events", || async { (sink.summary().await["unique"] == 5).then_some(()) }).await;
    dead(&shard, 0).await;
    assert!(read(&shard, &["list"]).await.starts_with("no dead letters\n"));
    let status = ask(&shard, &["status"]).await;
    assert_eq!((&status["replays"][0]["id"], &status["totals"]["letters"]), (&json!("replay-2"), &json!(0)));
    let metrics = shard.daemon.get("/metrics").await.text();
    assert!(metrics.contains("signalbox_dispatcher_dead_letters_replayed_total{sink=\"orders\"} 11\n"), "{metrics}");
}

#[tokio::test]
async fn a_replay_that_is_killed_goes_on_and_every_letter_arrives() {
    let (mut shard, sink, _home) = refused(1).await;
    send(&shard, 0..150).await;
    dead(&shard, 150).await;
    sink.behave(&json!({})).await;
    ask(&shard, &["replay", "--rate", "100"]).await;
    for round in 1..=3 {
        eventually("progress", || async {
            let status = ask(&shard, &["status"]).await;
            (status["replays"][0]["replayed"].as_u64().unwrap() >= round * 30).then_some(())
        })
        .await;
        shard.daemon.signal("KILL");
        shard.daemon.ended().await;
        shard.restart().await;
    }
    let done = eventually("the end of the replay", || async {
        let status = ask(&shard, &["status"]).await;
        (status["replays"][0]["state"] == "Done").then_some(status)
    })
    .await;
    assert_eq!(done["totals"]["letters"], 0, "{done}");
    eventually("every event", || async { (sink.summary().await["unique"] == 150).then_some(()) }).await;
}

#[tokio::test]
async fn a_replay_is_cancelled_by_its_id() {
    let (shard, _sink, _home) = refused(1).await;
    send(&shard, 0..20).await;
    dead(&shard, 20).await;
    let replay = ask(&shard, &["replay", "--rate", "1"]).await;
    let text = read(&shard, &["cancel", replay["id"].as_str().unwrap()]).await;
    assert!(text.contains("replay-1: cancelled"), "{text}");
    let admin = shard.daemon.admin.as_ref().unwrap();
    let (_, complaint, content) = command(admin, &["cancel", "replay-9"]).await;
    assert!(!content && complaint.contains("there is no replay replay-9"), "{complaint}");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_what_to_do() {
    let shard = Shard::start(&config(&[("a", &format!("http://{}/", refusing()))])).await;
    let admin = shard.daemon.admin.as_ref().unwrap();
    let nobody = refusing();
    for (admin, args, words) in [
        (nobody.as_str(), &["list"][..], ["no shard answers at", "--admin"]),
        (admin, &["show", "a.1"], ["there is no dead letter a.1", "list them"]),
        (admin, &["delete"], ["nothing says which letters", "write a filter"]),
        (admin, &["delete", "--all", "--sink", "a"], ["every letter", "leave"]),
        (admin, &["list", "--reason", "bored"], ["bored", "write AttemptsExhausted"]),
        (admin, &["list", "--dead-after", "noon"], ["noon", "such as 2026"]),
        (admin, &["list", "--limit", "0"], ["0", "write 1 or more"]),
        (admin, &["replay", "--rate", "20000"], ["20000", "from 1 to 10000"]),
        // The port for events is not the one.
        (shard.daemon.listen.as_str(), &["list"], ["admin port", "--admin"]),
    ] {
        let (said, complaint, content) = command(admin, args).await;
        assert!(!content, "{args:?}: {said}");
        assert!(words.iter().all(|word| complaint.contains(word)), "{args:?}: {complaint}");
        assert!(!complaint.contains("panicked"), "{complaint}");
    }
    let text = read(&shard, &["status"]).await;
    assert!(text.contains("0 letters in all; the limit is 0"), "{text}");
}
