//! A giver and a claimer, with their writers, and sinks' tasks that only keep the gates.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use signalbox_contract::{Ordering, RetryConfig, SinkConfig};
use tokio::task::JoinHandle;

use super::{Transfers, UnknownSink};
use crate::serve::flow::Flow;
use crate::serve::gates::Gate;
use crate::serve::intake::Intake;
use crate::serve::log::pair::{Bequest, PairLog};
use crate::serve::log::{NewRecord, Position, ShardLog, SinkSet};
use crate::serve::metrics::Metrics;
use crate::serve::slots::SlotSet;
use crate::serve::writer::Writer;

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|&name| name.to_owned()).collect()
}

struct Shard {
    log: Arc<PairLog>,
    writer: Writer,
    transfers: Transfers,
    gates: Vec<Gate>,
    _dir: tempfile::TempDir,
}

impl Shard {
    fn new(sinks: &[&str], closed: &SlotSet) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(PairLog::open(dir.path(), &names(sinks)).unwrap());
        let metrics = Metrics::new(&names(sinks));
        let (writer, _) = Writer::start(log.clone(), metrics, Duration::from_mins(1)).unwrap();
        let (transfers, gates) = Transfers::new(log.clone(), writer.clone(), names(sinks), closed);
        Self { log, writer, transfers, gates, _dir: dir }
    }

    /// Nothing is in flight at any sink.
    fn answer(&mut self) -> Vec<JoinHandle<()>> {
        let answer = |mut gate: Gate| async move {
            loop {
                let version = gate.gates.borrow_and_update().version;
                gate.done.send_replace(version);
                if gate.gates.changed().await.is_err() {
                    return;
                }
            }
        };
        self.gates.drain(..).map(|gate| tokio::spawn(answer(gate))).collect()
    }
}

fn record(n: u64) -> NewRecord {
    let record = Bytes::from(format!("event {n}"));
    NewRecord { accepted_at_us: 5, key: Some(n % 3), skip: SinkSet::default(), identity: u128::from(n) + 1, record }
}

fn slots(all: &[usize]) -> SlotSet {
    all.iter().copied().collect()
}

#[tokio::test]
async fn a_claim_takes_over_what_the_giver_still_held_and_a_repeat_changes_nothing() {
    let mut giver = Shard::new(&["a", "b"], &SlotSet::default());
    giver.answer();
    giver.writer.append((0..9).map(record).collect()).await.unwrap();
    let settled = giver.log.unsettled(1, 0, 100).unwrap().entries[1];
    giver.writer.settle(1, settled).unwrap();
    let claimed = slots(&[1]);
    giver.transfers.close(&claimed).await.unwrap();
    let gifts = giver.transfers.gifts(&claimed, PairLog::FIRST, Position::MAX, 1 << 20, |_, _| Some(1)).unwrap().gifts;
    assert_eq!(gifts.iter().map(|gift| gift.entry.position).collect::<Vec<_>>(), [1, 4, 7]);

    // Its sinks are in another order.
    let heir = Shard::new(&["b", "a"], &SlotSet::all());
    let bequests: Vec<_> = gifts
        .iter()
        .map(|gift| Bequest {
            origin: gift.origin,
            accepted_at_us: gift.entry.accepted_at_us,
            key: gift.entry.key,
            skip: heir.transfers.skip(&names(&["a", "b"]), gift.waiting).unwrap(),
            identity: u128::from(gift.entry.position) + 1,
            record: gift.record.clone(),
        })
        .collect();
    assert_eq!(heir.transfers.inherit(bequests.clone()).await.unwrap(), claimed);
    assert!(heir.transfers.inherit(bequests).await.unwrap().is_empty());
    giver.transfers.moved(gifts.iter().map(|gift| gift.entry).collect()).await.unwrap();
    assert_eq!((giver.log.stats().unwrap().events, heir.log.stats().unwrap().events), (6, 3));
    assert_eq!(heir.log.stats().unwrap().sinks, [2, 3], "what b had is not for it");
    giver.transfers.moved(gifts.iter().map(|gift| gift.entry).collect()).await.unwrap();
    assert_eq!(giver.log.stats().unwrap().departed, 3, "what is moved again has gone once");
    heir.transfers.order(&claimed).await.unwrap();
    heir.transfers.open(&claimed);
    assert_eq!(heir.transfers.inherited().unwrap(), claimed);

    // A producer that had no answer sends it again, to its new owner.
    heir.writer.append(vec![record(4)]).await.unwrap();
    assert_eq!(heir.log.end(), 0, "it is a duplicate");
}

#[tokio::test]
async fn closing_waits_for_what_is_in_flight() {
    let mut shard = Shard::new(&["a"], &SlotSet::default());
    shard.writer.append((0..9).map(record).collect()).await.unwrap();
    let config = SinkConfig {
        name: "a".to_owned(),
        uri: "http://sink/".to_owned(),
        timeout_ms: 1000,
        max_concurrency: 16,
        retry: RetryConfig { initial_backoff_ms: 10, max_backoff_ms: 50, max_attempts: None },
        ordering: Ordering::PerKey,
        filter: std::collections::BTreeMap::new(),
        signing_secret_file: None,
    };
    let now = std::time::Instant::now();
    let (mut flow, mut intake) = (Flow::new(&config, now), Intake::new(0));
    let mut gate = shard.gates.pop().unwrap();
    let look = |gate: &mut Gate, intake: &mut Intake, flow: &mut Flow| {
        let version = intake.look_at(&gate.gates.borrow_and_update(), flow);
        gate.done.send_replace(version);
    };
    look(&mut gate, &mut intake, &mut flow);
    intake.fill(&mut flow, &*shard.log, shard.log.end()).unwrap();
    let sent: Vec<_> = std::iter::from_fn(|| flow.next(now)).collect();
    assert_eq!(sent.len(), 3);
    let closed = slots(&[1]);
    let mut closing = std::pin::pin!(shard.transfers.close(&closed));
    assert!(futures::poll!(&mut closing).is_pending());
    look(&mut gate, &mut intake, &mut flow);
    assert!(futures::poll!(&mut closing).is_pending(), "one is in flight");
    let leaving = sent.iter().find(|sent| sent.entry.key == Some(1)).unwrap();
    flow.ended(leaving, crate::serve::answer::Verdict::Taken, now, 0);
    shard.writer.settle(0, leaving.entry).unwrap();
    look(&mut gate, &mut intake, &mut flow);
    closing.await.unwrap();
    let gifts = shard.transfers.gifts(&closed, PairLog::FIRST, Position::MAX, 1 << 20, |_, _| Some(1)).unwrap().gifts;
    let positions: Vec<_> = gifts.iter().map(|gift| gift.entry.position).collect();
    assert_eq!(positions, [4, 7], "what was delivered is in the log");
    assert!(std::iter::from_fn(|| flow.next(now)).all(|sent| sent.entry.key != Some(1)));
}

#[tokio::test]
async fn a_task_that_has_ended_holds_nothing_up() {
    let mut shard = Shard::new(&["a"], &SlotSet::default());
    shard.gates.clear();
    shard.transfers.close(&SlotSet::all()).await.unwrap();
}

#[tokio::test]
async fn what_is_for_a_sink_that_is_not_here_is_refused_and_a_sink_that_is_new_gets_nothing_old() {
    let shard = Shard::new(&["b", "new"], &SlotSet::default());
    let theirs = names(&["a", "b"]);
    let only = |sink| SinkSet::default().with(sink);
    assert_eq!(shard.transfers.skip(&theirs, only(1)), Ok(only(1)));
    assert_eq!(shard.transfers.skip(&theirs, only(0)), Err(UnknownSink("a".to_owned())));
    assert_eq!(shard.transfers.skip(&theirs, SinkSet::default()), Ok(only(0).with(1)));
}
