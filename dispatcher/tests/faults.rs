//! The world failing around a whole shard: a full disk, damaged files, sinks that take a second for each byte.
//!
//! Failing syncs and lost writes are tested where they can be made, at the log's seams; kills are in `crash.rs`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{PATIENCE, Shard, config, draw, event_headers, eventually, request, seed, sink, try_request};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A small filesystem in memory.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Nothing where it may not be made: that takes root.
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(dir.path());
        // Without the program it cannot be made either.
        command.output().ok().filter(|output| output.status.success()).map(|_| Self(dir))
    }

    /// Makes it larger.
    fn grow(&self, mib: u32) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,size={mib}m")]).arg(self.0.path());
        assert!(command.status().unwrap().success());
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// Sends an event that is large enough to fill a disk soon. Nothing: there was no answer.
async fn send_large(shard: &Shard, id: u64) -> Option<u16> {
    let (id, body) = (id.to_string(), "x".repeat(64 * 1024));
    let answer = try_request(&shard.daemon.listen, "POST", "/", &event_headers(&id, "k"), &body).await;
    answer.ok().map(|answer| answer.status.as_u16())
}

#[tokio::test]
async fn a_full_disk_refuses_events_loses_none_and_takes_them_again_when_there_is_space() {
    // Room for the log's own files, and for a few hundred events.
    let Some(disk) = SmallDisk::mount(160) else {
        println!("skipped: a small filesystem cannot be mounted here, which takes root");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"failRatio": 1, "status": 503})).await;
    let mut config = config(&[("a", &format!("http://{}/", sink.listen))]);
    // More than the disk holds: it is full before the shard thinks so.
    config["backlogLimitBytes"] = json!(10_000_000_000_u64);
    let mut shard = Shard::start_on(&config, &disk.path().join("data")).await;
    let mut accepted = Vec::new();
    let mut refused = 0;
    let mut next = 0;
    while refused < 3 {
        match send_large(&shard, next).await {
            Some(202) => accepted.push(next),
            Some(status) => {
                assert!([429, 503].contains(&status), "answered {status}");
                refused += 1;
            }
            // It may have stopped, since what is on its disk is no longer known.
            None => refused += 1,
        }
        next += 1;
        assert!(next < 10_000, "the disk is never full");
    }
    assert!(accepted.len() > 100, "only {} were accepted", accepted.len());
    disk.grow(600);
    let deadline = Instant::now() + PATIENCE;
    loop {
        next += 1;
        if shard.daemon.has_ended() {
            shard.restart().await;
        }
        if send_large(&shard, next).await == Some(202) {
            accepted.push(next);
            break;
        }
        assert!(Instant::now() < deadline, "no event is accepted although there is space");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sink.behave(&json!({})).await;
    shard.drained().await;
    let received: Vec<[u64; 2]> = serde_json::from_value(sink.get("/received?source=/test").await.json()).unwrap();
    let lost = accepted.iter().filter(|&&id| !received.iter().any(|[first, last]| (first..=last).contains(&&id)));
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<&u64>::new());
}

/// Flips a bit in the middle of `payload`, in whichever file of `dir` holds it.
fn damage(dir: &Path, payload: &[u8]) {
    let mut found = 0;
    for entry in
        std::fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file())
    {
        let file = std::fs::File::options().read(true).write(true).open(entry.path()).unwrap();
        // The events are few: they are at its beginning.
        let mut bytes = Vec::new();
        (&file).take(1024 * 1024).read_to_end(&mut bytes).unwrap();
        if let Some(at) = memmem(&bytes, payload) {
            let middle = at + payload.len() / 2;
            file.write_all_at(&[bytes[middle] ^ 0x10], middle as u64).unwrap();
            found += 1;
        }
    }
    assert!(found > 0, "the event is in no file of {}", dir.display());
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[tokio::test]
async fn damaged_events_are_reported_and_all_others_are_saved_in_order() {
    const EVENTS: u64 = 300;
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"failRatio": 1, "status": 503})).await;
    let mut shard = Shard::start(&config(&[("a", &format!("http://{}/", sink.listen))])).await;
    let payload = |id: u64| format!("the payload of event {id:04}");
    for id in 0..EVENTS {
        let (id_text, sequence) = (id.to_string(), (id / 7).to_string());
        let key = format!("k{}", id % 7);
        let mut headers = event_headers(&id_text, &key);
        headers.push(("ce-sequence", &sequence));
        let answer = request(&shard.daemon.listen, "POST", "/", &headers, &payload(id)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    shard.daemon.signal("KILL");
    shard.daemon.ended().await;
    let mut state = seed();
    // Not the last ones: damage there cannot be told from what a power cut leaves.
    let damaged: BTreeSet<u64> = (0..5).map(|_| draw(&mut state, EVENTS - 20)).collect();
    for &id in &damaged {
        damage(&shard.home.path().join("data/log"), payload(id).as_bytes());
    }
    shard.restart().await;
    sink.behave(&json!({})).await;
    shard.drained().await;
    let received: Vec<[u64; 2]> = serde_json::from_value(sink.get("/received?source=/test").await.json()).unwrap();
    let missing = (0..EVENTS).filter(|id| !received.iter().any(|[first, last]| (first..=last).contains(&id)));
    assert_eq!(missing.collect::<BTreeSet<_>>(), damaged);
    assert_eq!(sink.summary().await["out_of_order"], 0);
    assert!(shard.daemon.log().contains("damaged"), "nothing was said: {}", shard.daemon.log());
}

/// A server that reads requests and takes a second for each byte of `slow`, after `fast` at once.
async fn dribbling(fast: &'static str, slow: &'static str) -> String {
    async fn answer(mut stream: TcpStream, fast: &str, slow: &str) -> std::io::Result<()> {
        // The end of a small event: what matters is that it was asked.
        let mut asked = Vec::new();
        while !asked.ends_with(b"data") && stream.read_buf(&mut asked).await? > 0 {}
        stream.write_all(fast.as_bytes()).await?;
        for byte in slow.bytes() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stream.write_all(&[byte]).await?;
        }
        Ok(())
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The shard hangs up when its patience ends.
            tokio::spawn(async move { answer(stream, fast, slow).await });
        }
    });
    address
}

fn sink_of<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).unwrap()
}

#[tokio::test]
async fn a_sink_that_answers_a_byte_a_second_times_out_and_holds_up_nobody() {
    let home = tempfile::tempdir().unwrap();
    let well = sink(home.path()).await;
    let slow = dribbling("", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = config(&[("well", &format!("http://{}/", well.listen)), ("slow", &format!("http://{slow}/"))]);
    let mut shard = Shard::start(&config).await;
    for id in 0..200 {
        assert_eq!(shard.send(id, &format!("k{}", id % 40)).await.status, 202);
    }
    eventually("all at the sink that is well", || async { (well.summary().await["unique"] == 200).then_some(()) })
        .await;
    eventually("attempts that time out", || async {
        let report = shard.daemon.report().await;
        assert!(sink_of(&report, "slow")["inFlight"].as_u64() <= Some(16), "{report}");
        let failed = sink_of(&report, "slow")["lastFailure"]["message"].as_str().map(str::to_owned);
        failed.filter(|message| message.contains("2s")).map(|_| ())
    })
    .await;
    let report = shard.daemon.report().await;
    assert_eq!(sink_of(&report, "slow")["deliveredTotal"], 0);
    assert_eq!(sink_of(&report, "slow")["backlogEvents"], 200);
    assert_eq!(sink_of(&report, "well")["backlogEvents"], 0);
    let told = Instant::now();
    shard.daemon.signal("TERM");
    assert!(shard.daemon.ended().await.success());
    assert!(told.elapsed() < Duration::from_secs(5), "took {:?}", told.elapsed());
}

#[tokio::test]
async fn a_body_that_comes_a_byte_a_second_is_not_waited_for() {
    let slow = dribbling(
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    )
    .await;
    let shard = Shard::start(&config(&[("slow", &format!("http://{slow}/"))])).await;
    let start = Instant::now();
    for id in 0..5 {
        assert_eq!(shard.send(id, "one key").await.status, 202);
    }
    shard.drained().await;
    // One after the other; a whole body would take 50 s.
    assert!(start.elapsed() < Duration::from_secs(30), "took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_producer_that_sends_a_byte_a_second_holds_up_nobody() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let shard = Shard::start(&config(&[("a", &format!("http://{}/", sink.listen))])).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&shard.daemon.listen).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nce-id: 1\r\n").await.unwrap();
        slow.push(stream);
    }
    for id in 0..100 {
        let answer = request(&shard.daemon.listen, "POST", "/", &event_headers(&id.to_string(), "k"), "data").await;
        assert_eq!(answer.status, 202);
        slow[usize::try_from(id).unwrap()].write_all(b"x").await.unwrap();
    }
    eventually("all events", || async { (sink.summary().await["unique"] == 100).then_some(()) }).await;
}
