//! A giver on a real log, whose claims and tables change and who starts again, and takers who fail: whatever happens,
//! what they have in the end is all of it, in order, and each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use signalbox_contract::{Peer, RegionShard, RoutingTable};
use tokio::task::JoinHandle;

use super::*;
use crate::serve::claiming::Handed;
use crate::serve::log::{NewRecord, PairLog, ShardLog as _, SinkSet, is_inherited};
use crate::serve::slots::slot_of;
use crate::serve::traffic::table;
use crate::serve::writer::Writer;
use crate::slots::owner;

/// Keys of events; one more has none.
const KEYS: u64 = 6;

/// What a region has taken.
#[derive(Default)]
struct Disk {
    state: u64,
    /// Keys and numbers of events.
    stored: Vec<(Option<u64>, u64)>,
    known: BTreeSet<Position>,
    last: BTreeMap<(usize, bool), Position>,
    /// What the claims have closed: nothing of it may come.
    shut: SlotSet,
    epoch: u64,
}

/// Takers, who fail as they are told to.
#[derive(Default)]
struct Fake {
    disk: Arc<Mutex<Disk>>,
    fails: bool,
    /// The address of a shard that does not answer.
    away: Arc<Mutex<Option<&'static str>>>,
}

impl Takers for Fake {
    fn give(&self, address: &str, given: Given) -> BoxFuture<'static, Outcome> {
        let (disk, fails) = (self.disk.clone(), self.fails);
        let away = *self.away.lock().unwrap();
        let (is_away, of_another) = (away == Some(address), away.is_some() && given.events.iter().any(is_of_1));
        async move {
            if is_away {
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Outcome::Unreachable("it stays away".to_owned());
            }
            if of_another {
                return Outcome::Redirect(table_of(1, 2));
            }
            let draw = |below| crate::random::next_of(&mut disk.lock().unwrap().state) % below;
            let (way, waits) = (if fails { draw(8) } else { 7 }, draw(3));
            tokio::time::sleep(Duration::from_millis(waits)).await;
            match way {
                0 => return Outcome::Unreachable("it never arrived".to_owned()),
                1 => {
                    let (status, sentence) = (StatusCode::TOO_MANY_REQUESTS, "full".to_owned());
                    return Outcome::Refused { status, sentence, seconds: Some(0) };
                }
                2 => return Outcome::Redirect(redirect(&disk)),
                _ => store(&disk, &given),
            }
            tokio::time::sleep(Duration::from_millis(waits)).await;
            if way == 3 { Outcome::Unreachable("the answer was lost".to_owned()) } else { Outcome::Stored }
        }
        .boxed()
    }

    fn rest(&self) {}
}

fn redirect(disk: &Mutex<Disk>) -> Arc<RoutingTable> {
    let mut disk = disk.lock().unwrap();
    disk.epoch += 1;
    table_of(disk.epoch, 1 + u32::try_from(disk.epoch % 2).unwrap())
}

/// A table of the region by which so many shards own all slots.
fn table_of(epoch: u64, shards: u32) -> Arc<RoutingTable> {
    let peer = |ordinal| Peer { ordinal, address: format!("shard-{ordinal}"), log: 0 };
    Arc::new(RoutingTable { epoch, shards, peers: (0..2).map(peer).collect(), ..RoutingTable::default() })
}

/// Whether it is an event of the second of two shards, by its key.
fn is_of_1(event: &Handed) -> bool {
    event.key.is_some_and(|key| owner(crate::slots::slot_of(key), 2) == 1)
}

/// As a taker does it, which relies on that nothing of a slot comes after an event that was not taken.
fn store(disk: &Mutex<Disk>, given: &Given) {
    let mut disk = disk.lock().unwrap();
    for event in &given.events {
        let (slot, position) = (slot_of(event.key), event.origin.position);
        assert!(!disk.shut.contains(slot), "an event of a slot that the claims have closed");
        let place = (slot, is_inherited(position));
        let repeats = disk.last.get(&place).is_some_and(|last| *last >= position);
        assert_eq!(repeats, disk.known.contains(&position), "it cannot be told whether it came before");
        if !repeats {
            disk.known.insert(position);
            disk.last.insert(place, position);
            let number = std::str::from_utf8(&event.record).unwrap().trim_start().parse().unwrap();
            disk.stored.push((event.key, number));
        }
    }
}

/// The key of an event with this number.
fn key_of(number: u64) -> Option<u64> {
    Some(number % (KEYS + 1)).filter(|key| *key < KEYS)
}

/// A giver that is running.
struct Giver {
    traffic: Arc<Traffic>,
    transfers: Arc<Transfers>,
    log: Arc<PairLog>,
    writer: Writer,
    tasks: Vec<JoinHandle<()>>,
    phase: watch::Sender<Phase>,
}

impl Giver {
    fn start(dir: &std::path::Path, takers: Arc<Fake>) -> Self {
        let sinks = vec!["a".to_owned(), "b".to_owned()];
        let metrics = Metrics::new(&sinks);
        let log = Arc::new(PairLog::open(dir, &sinks).unwrap());
        let (writer, _) = Writer::start(log.clone(), metrics.clone(), Duration::ZERO).unwrap();
        let (transfers, gates) = Transfers::new(log.clone(), writer.clone(), sinks, &SlotSet::default());
        let transfers = Arc::new(transfers);
        let traffic = Arc::new(Traffic::load(("orders", "eu"), dir.to_owned(), metrics.clone()).unwrap());
        let phase = watch::Sender::new(Phase::Serving);
        let ends = (writer.end(), phase.subscribe());
        let evacuation = Evacuation::new(traffic.clone(), transfers.clone(), takers, metrics, ends).unwrap();
        let mut tasks = vec![tokio::spawn(evacuation.run())];
        // Sinks that deliver nothing.
        tasks.extend(gates.into_iter().map(|mut gate| {
            tokio::spawn(async move {
                loop {
                    let version = gate.gates.borrow_and_update().version;
                    gate.done.send_replace(version);
                    if gate.gates.changed().await.is_err() {
                        return;
                    }
                }
            })
        }));
        Self { traffic, transfers, log, writer, tasks, phase }
    }

    async fn accept(&self, events: std::ops::Range<u64>) {
        self.accept_large(events, 0).await;
    }

    /// Events of so many bytes.
    async fn accept_large(&self, events: std::ops::Range<u64>, bytes: usize) {
        let record = |number: u64| {
            let (key, record) = (key_of(number), Bytes::from(format!("{number:>bytes$}")));
            NewRecord { accepted_at_us: 1, key, skip: SinkSet::default(), identity: 0, record }
        };
        self.writer.append(events.map(record).collect()).await.unwrap();
    }

    async fn until_empty(&self) {
        let empty = async {
            while self.log.stats().unwrap().events > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), empty).await.expect("the log is never empty");
    }

    /// Ends as a process does that is killed, but for what is on its way into the log.
    async fn kill(self) {
        let Self { log, writer, transfers, tasks, .. } = self;
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        writer.close().await;
        drop(transfers);
        // What was reading has to let go of the directory.
        while Arc::strong_count(&log) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The table of this version by which the giver keeps so much.
fn keeps(version: u64, permille: u32) -> TrafficTable {
    let mut table = table(version, permille, 1);
    let shard = |n| RegionShard { address: format!("shard-{n}"), events: None };
    table.regions[1].shards = (0..2).map(shard).collect();
    table
}

fn check(disk: &Disk, accepted: u64) {
    let mut numbers: Vec<_> = disk.stored.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..accepted).collect::<Vec<_>>(), "all of them, each once");
    for key in 0..KEYS {
        let of_key: Vec<_> = disk.stored.iter().filter(|(of, _)| *of == Some(key)).map(|(_, number)| *number).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_and_changes_all_arrives_in_order_and_once() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in first..first + 6 {
        println!("SEED={seed}");
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Mutex::new(Disk { state: seed, ..Disk::default() }));
        let takers = || Arc::new(Fake { disk: disk.clone(), fails: true, ..Fake::default() });
        let mut state = seed << 7;
        let mut draw = |below: u64| crate::random::next_of(&mut state) % below;
        let (mut giver, mut accepted, mut version) = (Giver::start(dir.path(), takers()), 0, 0);
        for _ in 0..25 {
            match draw(5) {
                0 => {
                    version += 1;
                    let permille = [0, 300, 700, 1000][usize::try_from(draw(4)).unwrap()];
                    giver.traffic.push(keeps(version, permille)).await.unwrap();
                }
                1 => {
                    let slots: SlotSet = (0..3).map(|_| slot_of(Some(draw(KEYS)))).collect();
                    giver.transfers.close(&slots).await.unwrap();
                    disk.lock().unwrap().shut = slots;
                    tokio::time::sleep(Duration::from_millis(draw(10))).await;
                    disk.lock().unwrap().shut = SlotSet::default();
                    giver.transfers.open(&slots);
                }
                2 => {
                    giver.kill().await;
                    giver = Giver::start(dir.path(), takers());
                }
                _ => {
                    let more = 1 + draw(20);
                    giver.accept(accepted..accepted + more).await;
                    accepted += more;
                }
            }
            tokio::time::sleep(Duration::from_millis(draw(20))).await;
        }
        giver.traffic.push(keeps(version + 1, 0)).await.unwrap();
        giver.until_empty().await;
        check(&disk.lock().unwrap(), accepted);
        giver.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_back_is_not_given_and_what_was_given_is_counted() {
    let (dir, takers) = (tempfile::tempdir().unwrap(), Arc::new(Fake::default()));
    let giver = Giver::start(dir.path(), takers.clone());
    giver.traffic.push(keeps(1, 0)).await.unwrap();
    giver.accept(0..50).await;
    giver.until_empty().await;
    giver.traffic.push(keeps(2, 1000)).await.unwrap();
    let mut news = giver.traffic.news();
    while giver.traffic.report().away_slots > 0 {
        news.changed().await.unwrap();
    }
    giver.accept(50..60).await;
    giver.phase.send_replace(Phase::Finishing);
    let report = giver.traffic.report();
    assert_eq!((report.handed_over_total, report.away_events), (50, 0));
    assert_eq!(giver.log.stats().unwrap().events, 10);
    check(&takers.disk.lock().unwrap(), 50);
    giver.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_stays_away_holds_up_what_is_its_and_nothing_else() {
    let (dir, takers) = (tempfile::tempdir().unwrap(), Arc::new(Fake::default()));
    *takers.away.lock().unwrap() = Some("shard-1");
    let giver = Giver::start(dir.path(), takers.clone());
    giver.traffic.push(keeps(1, 0)).await.unwrap();
    // What is the shard's that is away fills more than a batch, before most of what is the other's.
    let (events, bytes) = (700, 8 * 1024);
    let is_its = |number: &u64| key_of(*number).is_some_and(|key| owner(crate::slots::slot_of(key), 2) == 1);
    let its = (0..events).filter(is_its).count();
    assert!((2..5).contains(&(its * bytes / BATCH_BYTES)), "{its} of {events}");
    giver.accept_large(0..events, bytes).await;
    let others = async {
        while takers.disk.lock().unwrap().stored.len() < usize::try_from(events).unwrap() - its {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), others).await.expect("the other shard does not get what is its");
    assert!(takers.disk.lock().unwrap().stored.iter().all(|(_, number)| !is_its(number)));
    *takers.away.lock().unwrap() = None;
    giver.until_empty().await;
    check(&takers.disk.lock().unwrap(), events);
    giver.kill().await;
}
