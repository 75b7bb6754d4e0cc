//! The report as a stream: lines as things change, heartbeats while they do not, and an end.
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
use support::{Shard, config, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// One connection that watches.
struct Watch {
    stream: BufReader<TcpStream>,
    status: String,
}

impl Watch {
    async fn start(shard: &Shard) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(shard.daemon.admin.as_ref().unwrap()).await.unwrap());
        stream.write_all(b"GET /v1/report?watch=true HTTP/1.1\r\nhost: shard\r\n\r\n").await.unwrap();
        let mut status = String::new();
        stream.read_line(&mut status).await.unwrap();
        Self { stream, status }
    }

    /// The next line, or nothing when the stream has ended.
    async fn next(&mut self) -> Option<Value> {
        let reading = async {
            loop {
                let mut line = String::new();
                // What does not begin with a brace is a header, or says how long the next chunk is.
                match self.stream.read_line(&mut line).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) if line.starts_with('{') => return serde_json::from_str(&line).unwrap(),
                    Ok(_) if line == "0\r\n" => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(support::PATIENCE, reading).await.expect("a line")
    }

    async fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + support::PATIENCE;
        while let Some(line) = self.next().await {
            if is(&line) {
                return line;
            }
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
        }
        panic!("the stream ended before: {what}");
    }
}

async fn stuck() -> Shard {
    Shard::start(&config(&[("a", &format!("http://{}/", support::refusing()))])).await
}

#[tokio::test]
async fn a_watcher_is_told_at_once_then_of_changes_and_never_left_in_silence() {
    let shard = stuck().await;
    let mut watch = Watch::start(&shard).await;
    let first = watch.next().await.unwrap();
    assert_eq!((&first["backlogEvents"], &first["fleet"]), (&json!(0), &json!("test")));
    let started = Instant::now();
    let mut sequence = first["sequence"].as_u64().unwrap();
    for _ in 0..4 {
        let heartbeat = watch.next().await.unwrap();
        let number = heartbeat["sequence"].as_u64().unwrap();
        assert!(number > sequence, "{number} after {sequence}");
        sequence = number;
    }
    assert!(started.elapsed() > Duration::from_secs(2), "idle, and four lines within {:?}", started.elapsed());
    assert_eq!(shard.send(1, "k").await.status, 202);
    let answered = Instant::now();
    watch.until("the event", |line| line["backlogEvents"] == 1).await;
    // Generous: what is tested is that nothing waits for a heartbeat or a poll of seconds.
    assert!(answered.elapsed() < Duration::from_millis(700), "told after {:?}", answered.elapsed());
    watch.until("the sink's breaker", |line| line["sinks"][0]["phase"] == "Tripped").await;
}

#[tokio::test]
async fn the_stream_ends_with_the_process_and_does_not_hold_up_its_stop() {
    let mut shard = stuck().await;
    let mut watch = Watch::start(&shard).await;
    // One that is never delivered, so that the drain takes its time.
    assert_eq!(shard.send(1, "k").await.status, 202);
    let sent = Instant::now();
    shard.daemon.signal("TERM");
    watch.until("a shard that accepts nothing", |line| line["accepting"] == false).await;
    while watch.next().await.is_some() {}
    assert!(shard.daemon.ended().await.success());
    assert!(sent.elapsed() < Duration::from_secs(5), "took {:?}", sent.elapsed());
}

#[tokio::test]
async fn watchers_are_limited_and_those_who_leave_make_room() {
    let shard = stuck().await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        let watch = Watch::start(&shard).await;
        assert!(watch.status.contains("200"), "{}", watch.status);
        watchers.push(watch);
    }
    assert!(Watch::start(&shard).await.status.contains("429"));
    watchers.clear();
    eventually("room", || async { Watch::start(&shard).await.status.contains("200").then_some(()) }).await;
}
