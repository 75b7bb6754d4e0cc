//! One shard: its logs, its claims, and the task of a sink that goes by the gates.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle as Thread;
use std::time::Duration;

use bytes::Bytes;
use signalbox_contract::RoutingTable;
use tokio::task::JoinHandle;

use super::super::{Claiming, Router, Start, Started};
use super::network::{Link, Network};
use super::{Dice, Event, Sink};
use crate::claims::Ordinal;
use crate::serve::gates::Gate;
use crate::serve::log::{INHERITED, LogStats, NewRecord, PairLog, Position, ShardLog, SinkSet};
use crate::serve::metrics::Metrics;
use crate::serve::slots::slot_of;
use crate::serve::writer::{NotStored, Writer};

/// Keys from here on are no keys.
pub(super) const KEYLESS_FROM: u64 = 1_000_000;

/// A table of the fleet that all are of.
pub(super) fn fleet() -> RoutingTable {
    RoutingTable { fleet: "orders".to_owned(), region: "eu".to_owned(), ..RoutingTable::default() }
}

/// The hash of a key, spread over the slots.
pub(super) fn hash(key: u64) -> Option<u64> {
    (key < KEYLESS_FROM).then(|| key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7)
}

/// A shard's process.
pub(super) struct Up {
    pub(super) claiming: Arc<Claiming>,
    log: Arc<PairLog>,
    pub(super) writer: Writer,
    thread: Thread<()>,
    driver: JoinHandle<()>,
    sink: JoinHandle<()>,
}

impl Up {
    pub(super) fn stats(&self) -> LogStats {
        self.log.stats().unwrap()
    }
}

pub(super) struct Node {
    pub(super) ordinal: Ordinal,
    dir: tempfile::TempDir,
    network: Arc<Network>,
    sink: Arc<Sink>,
    seed: u64,
    up: Mutex<Option<Up>>,
    /// Of which one delivers: the first.
    sinks: Mutex<Vec<String>>,
    log_id: OnceLock<u64>,
}

impl Node {
    pub(super) fn new(ordinal: Ordinal, network: Arc<Network>, sink: Arc<Sink>, seed: u64) -> Self {
        Self {
            ordinal,
            dir: tempfile::tempdir().unwrap(),
            network,
            sink,
            seed,
            up: Mutex::default(),
            sinks: Mutex::new(vec!["sink".to_owned()]),
            log_id: OnceLock::new(),
        }
    }

    /// Looks at the process, if there is one.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Up) -> T) -> Option<T> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// The same all its life.
    pub(super) fn log_id(&self) -> u64 {
        *self.log_id.get_or_init(|| self.with(|up| up.log.id().unwrap()).unwrap())
    }

    /// From the next start on it has these sinks.
    pub(super) fn configure(&self, sinks: &[&str]) {
        *self.sinks.lock().unwrap() = sinks.iter().map(|&sink| sink.to_owned()).collect();
    }

    pub(super) async fn start(&self) {
        let sinks = self.sinks.lock().unwrap().clone();
        let (dir, names, metrics) = (self.dir.path().to_owned(), sinks.clone(), Metrics::new(&sinks));
        let log = tokio::task::spawn_blocking(move || open(&dir, &names)).await.unwrap();
        let (writer, thread) = Writer::start(log.clone(), metrics.clone(), Duration::from_mins(1)).unwrap();
        let RoutingTable { fleet, region, .. } = fleet();
        let start = Start {
            fleet,
            region,
            ordinal: self.ordinal,
            data_dir: self.dir.path().to_owned(),
            log: log.clone(),
            writer: writer.clone(),
            sinks,
            outbox: Arc::new(Link { from: self.ordinal, network: self.network.clone() }),
            metrics,
            tick: Duration::from_millis(50),
            batch_bytes: 100,
        };
        let Started { claiming, mut gates, driver, .. } = start.start().unwrap();
        let router: Arc<dyn Router> = claiming.clone();
        self.network.join(self.ordinal, Arc::downgrade(&router));
        let dice = Dice::new(self.seed ^ (u64::from(self.ordinal) << 32));
        let sink = tokio::spawn(deliver(log.clone(), writer.clone(), gates.remove(0), self.sink.clone(), dice));
        *self.up.lock().unwrap() = Some(Up { claiming, log, writer, thread, driver, sink });
    }

    /// Ends the process. What is queued for the log is written.
    pub(super) async fn stop(&self) {
        let Some(up) = self.up.lock().unwrap().take() else { return };
        up.driver.abort();
        up.sink.abort();
        let _ = up.driver.await;
        let _ = up.sink.await;
        drop(up.claiming);
        up.writer.close().await;
        up.thread.join().unwrap();
    }

    /// A producer, or a shard that passes it on, has an event.
    pub(super) async fn append(writer: &Writer, event: Event) -> Result<(), NotStored> {
        let record = Bytes::from(format!("{} {}", event.0, event.1));
        let identity = (u128::from(event.0) << 64 | u128::from(event.1)) + 1;
        let new = NewRecord { accepted_at_us: 1, key: hash(event.0), skip: SinkSet::default(), identity, record };
        writer.append(vec![new]).await
    }
}

/// Who used the directory before may need a moment to let go of it.
fn open(dir: &Path, sinks: &[String]) -> Arc<PairLog> {
    for _ in 0..200 {
        match PairLog::open(dir, sinks) {
            Ok(log) => return Arc::new(log),
            Err(error) => println!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the log cannot be opened");
}

/// Delivers a few events at a time, of open slots, inherited first.
async fn deliver(log: Arc<PairLog>, writer: Writer, gate: Gate, sink: Arc<Sink>, dice: Dice) {
    let mut settled: BTreeSet<Position> = BTreeSet::new();
    loop {
        let gates = gate.gates.borrow().clone();
        gate.done.send_replace(gates.version);
        let mut most = dice.below(6);
        'pass: for (mut next, end) in [(INHERITED, gates.inherited_end.unwrap_or(INHERITED)), (0, log.end())] {
            while next < end {
                let found = log.unsettled(0, next, 16).unwrap();
                next = found.next;
                for entry in found.entries {
                    if gates.closed.contains(slot_of(entry.key)) || settled.contains(&entry.position) {
                        continue;
                    }
                    if most == 0 {
                        break 'pass;
                    }
                    most -= 1;
                    let Some(record) = log.read(entry.position).unwrap() else { continue };
                    let text = String::from_utf8(record.to_vec()).unwrap();
                    let (key, number) = text.split_once(' ').unwrap();
                    sink.deliver((key.parse().unwrap(), number.parse().unwrap()));
                    settled.insert(entry.position);
                    if writer.settle(0, entry).is_err() {
                        return;
                    }
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(dice.below(8))).await;
    }
}
