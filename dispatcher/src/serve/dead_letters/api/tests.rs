//! The admin port's dead letters as people use them: requests to the real routes, over a real store and a log in
//! memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use signalbox_contract::ShardConfig;
use tempfile::TempDir;
use tokio::sync::watch;
use tower_service::Service as _;

use super::{Desk, router};
use crate::event;
use crate::serve::dead_letters::tests::letter;
use crate::serve::dead_letters::{DeadLetters, NewDeadLetter, Reason};
use crate::serve::log::ShardLog;
use crate::serve::log::memory::{Disk, MemoryLog};
use crate::serve::metrics::Metrics;
use crate::serve::shutdown::Phase;
use crate::serve::writer::Writer;

const ROOM: u64 = 10_000_000;

/// What outlives a shard.
#[derive(Default)]
struct Kept {
    log: Disk,
    dir: Option<TempDir>,
}

impl Kept {
    fn new() -> Self {
        Self { log: Disk::default(), dir: Some(tempfile::tempdir().unwrap()) }
    }

    fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }
}

/// The parts of a shard that dead letters meet.
struct Shard {
    letters: DeadLetters,
    log: Arc<MemoryLog>,
    phase: watch::Sender<Phase>,
    metrics: Metrics,
    routes: Router,
}

fn config(sinks: &[&str]) -> ShardConfig {
    let sink = |name: &&str| {
        json!({"name": name, "uri": "http://a/", "timeoutMs": 1, "maxConcurrency": 1,
            "retry": {"initialBackoffMs": 1, "maxBackoffMs": 1}})
    };
    serde_json::from_value(json!({
        "fleet": "f", "region": "r", "sinks": sinks.iter().map(sink).collect::<Vec<_>>(),
        "backlogLimitBytes": 300_000, "maxEventBytes": 1000
    }))
    .unwrap()
}

impl Shard {
    /// A shard with the sinks `a` and `b` on what is kept. To be called in a runtime.
    fn start(kept: &Kept) -> Self {
        Self::try_start(kept).expect("a store that can be opened")
    }

    fn try_start(kept: &Kept) -> Option<Self> {
        let names = ["a".to_owned(), "b".to_owned()];
        let letters = DeadLetters::open(kept.path(), ROOM).ok()?;
        let log = Arc::new(MemoryLog::open(&kept.log, &names));
        let metrics = Metrics::new(&names);
        let (writer, _) = Writer::start(log.clone(), metrics.clone(), Duration::ZERO).unwrap();
        let (phase, phases) = watch::channel(Phase::Serving);
        let config = Arc::new(config(&["a", "b"]));
        let desk = Desk::open(letters.clone(), config, log.clone(), writer, phases, metrics.clone(), None).unwrap();
        let cell = OnceLock::new();
        let _ = cell.set(desk);
        Some(Self { letters, log, phase, metrics, routes: router(Arc::new(cell)) })
    }

    async fn bury(&self, sink: &str, positions: std::ops::Range<u64>) {
        let all = positions.map(|position| self.letters.bury(letter(sink, position)));
        futures::future::try_join_all(all).await.unwrap();
    }

    async fn raw(&self, method: &str, rest: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::builder().method(method).uri(format!("/v1/dead-letters{rest}"));
        let response = self.routes.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
        (response.status(), response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn ask(&self, method: &str, rest: &str) -> (u16, Value) {
        let (status, body) = self.raw(method, rest).await;
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let (status, page) = self.ask("GET", query).await;
        assert_eq!(status, 200, "{page}");
        ids(&page)
    }

    /// Waits until the latest replay is as wanted.
    async fn replay(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let replay = self.ask("GET", "/replays").await.1["replays"][0].take();
            if wanted(&replay) {
                return replay;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}: {replay}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How often each event is in the log, and for which sinks.
    fn appended(&self) -> BTreeMap<String, Vec<usize>> {
        let mut found = BTreeMap::<String, Vec<usize>>::new();
        for sink in 0..2 {
            for entry in self.log.unsettled(sink, 0, 100_000).unwrap().entries {
                let event = event::decode(self.log.read(entry.position).unwrap().unwrap()).unwrap();
                found.entry(event.get("id").unwrap().to_owned()).or_default().push(sink);
            }
        }
        found
    }
}

fn ids(page: &Value) -> Vec<String> {
    page["letters"].as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |replay| replay["state"] == state
}

#[tokio::test]
async fn a_list_has_what_is_known_of_each_letter_and_what_all_come_to() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    assert_eq!(shard.ids("").await, [""; 0], "before there is a store");
    shard.bury("a", 1..3).await;
    shard.bury("gone", 1..2).await;
    let (_, page) = shard.ask("GET", "").await;
    let first = &page["letters"][0];
    assert_eq!(
        (&first["id"], &first["sink"], &first["reason"]),
        (&json!("a.1"), &json!("a"), &json!("AttemptsExhausted"))
    );
    assert_eq!(first["event"], json!({"id": "1", "source": "/shop", "type": "order.created"}));
    assert_eq!((&first["attempts"], &first["lastAnswer"]), (&json!(8), &json!("answered 400")));
    assert_eq!(first["acceptedAt"], json!("1970-01-01T00:00:01Z"));
    let dead_at: jiff::Timestamp = first["deadAt"].as_str().unwrap().parse().unwrap();
    assert!(dead_at <= jiff::Timestamp::now() && first["size"].as_u64().unwrap() > 50);
    let totals = &page["totals"];
    assert_eq!((&totals["letters"], &totals["orphaned"], &totals["limitBytes"]), (&json!(3), &json!(1), &json!(ROOM)));
    assert_eq!(totals["sinks"]["a"]["reasons"], json!({"AttemptsExhausted": 2}));
}

#[tokio::test]
async fn filters_choose_and_pages_go_on_where_they_ended_while_letters_come_and_go() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    shard.bury("a", 10..20).await;
    shard.bury("b", 10..13).await;
    assert_eq!(shard.ids("?sink=b").await, ["b.10", "b.11", "b.12"]);
    assert_eq!(shard.ids("?sink=a&eventId=14").await, ["a.14"]);
    assert_eq!(shard.ids("?id=b.11").await, ["b.11"]);
    assert_eq!(shard.ids("?type=order.&source=%2Fshop&sink=b&limit=1").await, ["b.10"]);
    assert_eq!(shard.ids("?type=invoice.").await, [""; 0]);
    assert_eq!(shard.ids("?deadBefore=2020-01-01T00:00:00Z").await, [""; 0]);
    assert_eq!(shard.ids("?deadAfter=2020-01-01T00:00:00%2B01:00").await.len(), 13);

    let mut seen = Vec::new();
    let mut query = "?limit=4".to_owned();
    loop {
        let (_, page) = shard.ask("GET", &query).await;
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=4&cursor={next}");
        // Before, at and after where the list is.
        shard.bury("a", 1..2).await;
        shard.bury("c", 1..2).await;
        shard.ask("DELETE", "/a.13").await;
    }
    let mut expected: Vec<String> = (10..20).map(|n| format!("a.{n}")).collect();
    expected.extend(["b.10", "b.11", "b.12", "c.1"].map(str::to_owned));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn one_letter_is_shown_as_the_event_that_it_is() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    shard.bury("a", 1..2).await;
    let (status, event) = shard.ask("GET", "/a.1").await;
    let expected = json!({"id": "1", "source": "/shop", "specversion": "1.0", "type": "order.created",
        "data_base64": "ZGF0YSAx"});
    assert_eq!((status, event), (200, expected));
    let unreadable = NewDeadLetter { reason: Reason::Unreadable, record: bytes::Bytes::new(), ..letter("a", 2) };
    shard.letters.bury(unreadable).await.unwrap();
    assert_eq!(shard.ask("GET", "/a.2").await.0, 422);
    for id in ["a.3", "b.1", "nonsense", "a.01"] {
        let (status, answer) = shard.ask("GET", &format!("/{id}")).await;
        assert!(status == 404 && answer["error"].as_str().unwrap().contains(id), "{answer}");
    }
}

#[tokio::test]
async fn letters_are_deleted_one_by_one_by_filter_or_all_and_never_by_accident() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    shard.bury("a", 0..1200).await;
    shard.bury("b", 0..5).await;
    assert_eq!(shard.ask("DELETE", "/b.0").await, (200, json!({"deleted": 1})));
    assert_eq!(shard.ask("DELETE", "/b.0").await.0, 404);
    for query in ["", "?all=false", "?sinks=a", "?all=true&sink=a", "?sink="] {
        let (status, answer) = shard.ask("DELETE", query).await;
        assert_eq!(status, 400, "{query}: {answer}");
    }
    assert_eq!(shard.letters.totals().letters(), 1204);
    assert_eq!(shard.ask("DELETE", "?sink=a").await, (200, json!({"deleted": 1200})));
    assert_eq!(shard.ask("DELETE", "?all=true").await, (200, json!({"deleted": 4})));
    assert_eq!((shard.letters.totals().letters(), shard.letters.totals().bytes()), (0, 0));
}

#[tokio::test]
async fn bad_queries_are_answered_with_what_to_write() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    for (method, rest, words) in [
        ("GET", "?limit=0", "from 1 to 1000"),
        ("GET", "?limit=1001", "from 1 to 1000"),
        ("GET", "?cursor=a.1", "leave it out"),
        ("GET", "?deadAfter=12:00", "such as 2026-01-31T12:00:00Z"),
        ("GET", "?colour=red", "write id, sink"),
        ("DELETE", "", "all=true"),
        ("POST", "/replay?rate=0", "from 1 to 10000"),
        ("POST", "/replay?dryRun=perhaps", "true or false"),
        ("POST", "/replay?reason=x", "write AttemptsExhausted"),
    ] {
        let (status, answer) = shard.ask(method, rest).await;
        let sentence = answer["error"].as_str().unwrap();
        assert!(status == 400 && sentence.contains(words), "{method} {rest}: {sentence}");
    }
    assert_eq!(shard.ask("DELETE", "/replays/replay-7").await.0, 404);
}

#[tokio::test]
async fn a_replay_puts_letters_back_for_their_own_sink_in_order_and_removes_them() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    shard.bury("a", 0..150).await;
    shard.bury("b", 1000..1003).await;
    shard.bury("gone", 0..2).await;
    let unreadable = NewDeadLetter { reason: Reason::Unreadable, record: bytes::Bytes::new(), ..letter("a", 7000) };
    shard.letters.bury(unreadable).await.unwrap();

    let (status, dry) = shard.ask("POST", "/replay?dryRun=true").await;
    assert_eq!((status, &dry["matched"], &dry["orphaned"]), (200, &json!(154), &json!(2)));
    assert_eq!((dry["first"].as_array().unwrap().len(), shard.log.end()), (10, 0), "nothing is moved");

    let (status, replay) = shard.ask("POST", "/replay?rate=10000").await;
    assert_eq!((status, &replay["matched"], &replay["id"]), (202, &json!(154), &json!("replay-1")));
    let done = shard.replay("the end", is("Done")).await;
    assert_eq!((&done["replayed"], &done["failed"], &done["orphaned"]), (&json!(153), &json!(1), &json!(2)));
    assert_eq!(shard.ids("").await, ["a.7000", "gone.0", "gone.1"]);
    let appended = shard.appended();
    assert_eq!(appended.len(), 153);
    assert!(appended.iter().all(|(id, sinks)| *sinks == [usize::from(id.len() == 4)]), "{appended:?}");
    let order: Vec<u64> = (0..150)
        .map(|position| event::decode(shard.log.read(position).unwrap().unwrap()).unwrap())
        .map(|event| event.get("id").unwrap().parse().unwrap())
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    shard.metrics.dead_letters(&shard.letters.totals(), ROOM);
    let text = shard.metrics.text(None, 0).unwrap();
    for line in [
        "signalbox_dispatcher_dead_letters{sink=\"a\",reason=\"AttemptsExhausted\"} 0",
        "signalbox_dispatcher_dead_letters{sink=\"a\",reason=\"Unreadable\"} 1",
        "signalbox_dispatcher_dead_letters{sink=\"gone\",reason=\"AttemptsExhausted\"} 2",
        "signalbox_dispatcher_dead_letters_replayed_total{sink=\"a\"} 150",
        "signalbox_dispatcher_dead_letter_limit_bytes 10000000",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_replay_keeps_to_its_rate_and_there_is_one_at_a_time() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    shard.bury("a", 0..30).await;
    let started = Instant::now();
    assert_eq!(shard.ask("POST", "/replay?sink=a&rate=50").await.0, 202);
    let (status, answer) = shard.ask("POST", "/replay").await;
    assert!(status == 409 && answer["error"].as_str().unwrap().contains("replay-1 is under way"), "{answer}");
    let done = shard.replay("the end", is("Done")).await;
    assert_eq!(done["filter"], json!({"sink": "a"}));
    // 30 events at 50 a second in steps of 5: the last step begins 500 ms after the first.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(shard.ask("POST", "/replay").await.0, 202, "the next may start");
}

#[tokio::test]
async fn a_replay_waits_for_room_and_can_be_cancelled() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    // Each takes some 170 bytes of a backlog that may have 300,000, half of it for replays.
    shard.bury("a", 0..2000).await;
    shard.ask("POST", "/replay?rate=10000").await;
    let waiting = shard.replay("a replay that waits", |replay| replay["waitingFor"].is_string()).await;
    assert!(waiting["waitingFor"].as_str().unwrap().contains("below half of its limit of bytes"), "{waiting}");
    assert_eq!(waiting["state"], "Running");
    let backlog = shard.log.stats().unwrap().bytes;
    assert!((120_000..=150_000).contains(&backlog), "{backlog}");
    let (status, cancelled) = shard.ask("DELETE", "/replays/replay-1").await;
    assert_eq!((status, &cancelled["state"]), (200, &json!("Cancelled")));
    assert_eq!(shard.ask("DELETE", "/replays/replay-1").await.1["state"], "Cancelled");
    let replayed = cancelled["replayed"].as_u64().unwrap();
    assert_eq!(shard.letters.totals().letters() + replayed, 2000);
    assert_eq!(shard.appended().len() as u64, replayed);
}

#[tokio::test]
async fn a_replay_waits_while_the_disk_is_full_and_goes_on_when_it_is_not() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    shard.bury("a", 0..20).await;
    kept.log.fill(true);
    shard.ask("POST", "/replay").await;
    let waiting = shard.replay("a replay that waits", |replay| replay["waitingFor"].is_string()).await;
    assert!(waiting["waitingFor"].as_str().unwrap().contains("room on the disk"), "{waiting}");
    assert_eq!((&waiting["replayed"], shard.letters.totals().letters()), (&json!(0), 20));
    kept.log.fill(false);
    let done = shard.replay("the end", is("Done")).await;
    assert_eq!((&done["replayed"], &done["waitingFor"], shard.appended().len()), (&json!(20), &Value::Null, 20));
}

#[tokio::test]
async fn what_dies_again_during_a_replay_is_not_replayed_by_it() {
    let kept = Kept::new();
    let shard = Shard::start(&kept);
    shard.bury("a", 0..20).await;
    shard.ask("POST", "/replay?rate=20").await;
    shard.replay("progress", |replay| replay["replayed"].as_u64() > Some(0)).await;
    shard.bury("a", 100..120).await;
    let done = shard.replay("the end", is("Done")).await;
    assert_eq!((&done["replayed"], shard.letters.totals().letters()), (&json!(20), 20));
}

#[test]
fn a_replay_goes_on_after_a_crash_and_every_letter_arrives() {
    let kept = Kept::new();
    let total = 400_u64;
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = runtime();
    first.block_on(async {
        let shard = Shard::start(&kept);
        shard.bury("a", 0..total).await;
        shard.ask("POST", "/replay?sink=a&rate=1000").await;
        shard.replay("progress", |replay| replay["replayed"].as_u64() > Some(50)).await;
    });
    // Nothing is told to stop: tasks end wherever they are.
    first.shutdown_background();
    let mut restarts = 0;
    loop {
        let runtime = runtime();
        let done = runtime.block_on(async {
            let mut started = None;
            while started.is_none() {
                // Until the one before has let go of the store.
                started = Shard::try_start(&kept);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let shard = started.unwrap();
            let before = shard.replay("a replay", |replay| replay["id"] == "replay-1").await;
            let enough = before["replayed"].as_u64().unwrap() + 60;
            let replay = shard
                .replay("progress", |replay| {
                    replay["state"] == "Done" || (restarts < 3 && replay["replayed"].as_u64().unwrap() > enough)
                })
                .await;
            let done = replay["state"] == "Done";
            if done {
                assert_eq!(shard.ids("").await, [""; 0]);
                let appended = shard.appended();
                assert_eq!(appended.len() as u64, total, "each at least once");
                let again = appended.values().filter(|times| times.len() > 1).count();
                assert!(again <= 100 * 4, "{again} were appended again");
                let _ = shard.phase.send(Phase::Leaving);
            }
            done
        });
        runtime.shutdown_background();
        if done {
            break;
        }
        restarts += 1;
    }
    assert!(restarts >= 1, "it was never interrupted");
}

#[tokio::test]
async fn before_the_log_is_open_the_answer_says_so() {
    let mut routes = router(Arc::default());
    let request = Request::builder().uri("/v1/dead-letters").body(Body::empty()).unwrap();
    let response = routes.call(request).await.unwrap();
    assert_eq!(response.status(), 503);
}
