//! What tests of routing need: ways and owners that do as they are told, and a store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use signalbox_contract::{AddressPolicy, Ordering, Peer, RetryConfig, RoutingTable, ShardConfig, SinkConfig};
use tokio::sync::watch;

use super::{HandOver, Outcome, Routing, Store};
use crate::claims::{Epoch, Ordinal};
use crate::event::{self, Event};
use crate::serve::claiming::{Admission, Parcel, Router, Routes, Way};
use crate::serve::log::memory::{Disk, MemoryLog};
use crate::serve::log::{ShardLog, key_hash};
use crate::serve::metrics::Metrics;
use crate::serve::shutdown::Phase;
use crate::serve::writer::Writer;

pub(in crate::serve) const EPOCH: Epoch = 5;

/// A small event of this id and key.
pub(in crate::serve) fn event(id: &str, key: &str) -> Event {
    let mut headers = http::HeaderMap::new();
    for (name, value) in [("id", id), ("source", "/s"), ("specversion", "1.0"), ("type", "t"), ("partitionkey", key)] {
        headers.insert(http::HeaderName::try_from(format!("ce-{name}")).unwrap(), value.parse().unwrap());
    }
    event::parse(&headers, b"data").unwrap()
}

/// The id of an encoded event.
pub(in crate::serve) fn id_of(record: &Bytes) -> String {
    event::decode(record.clone()).unwrap().get("id").unwrap().to_owned()
}

/// A configuration with one sink.
pub(in crate::serve) fn config() -> ShardConfig {
    let sink = SinkConfig {
        name: "a".to_owned(),
        uri: "http://a/".to_owned(),
        timeout_ms: 1,
        max_concurrency: 1,
        retry: RetryConfig { initial_backoff_ms: 1, max_backoff_ms: 1, max_attempts: None },
        ordering: Ordering::PerKey,
        filter: BTreeMap::new(),
        signing_secret_file: None,
    };
    ShardConfig {
        fleet: "orders".to_owned(),
        region: "eu".to_owned(),
        sinks: vec![sink],
        backlog_limit_bytes: 1 << 20,
        backlog_limit_events: None,
        backlog_limit_age_ms: None,
        max_event_bytes: 1 << 20,
        duplicate_window_ms: 0,
        dead_letter_limit_bytes: 0,
        tls: None,
        control: None,
        addresses: AddressPolicy::default(),
    }
}

/// A table of three owners.
pub(in crate::serve) fn table(epoch: Epoch) -> RoutingTable {
    let peer = |ordinal| Peer { ordinal, address: format!("shard-{ordinal}:1"), log: 0 };
    let (fleet, region) = ("orders".to_owned(), "eu".to_owned());
    RoutingTable { fleet, region, epoch, shards: 3, peers: (0..3).map(peer).collect(), lost: Vec::new() }
}

/// Ways as a test says, by key.
pub(in crate::serve) struct FakeRouter {
    ways: Mutex<BTreeMap<u64, Way>>,
    table: Mutex<Arc<RoutingTable>>,
    version: watch::Sender<u64>,
    /// How often it was asked, and who said what.
    pub(in crate::serve) asked: Mutex<usize>,
    pub(in crate::serve) heard: Mutex<Vec<(Ordinal, Parcel)>>,
    /// Admissions that have not ended.
    pub(in crate::serve) admitted: watch::Sender<usize>,
}

impl FakeRouter {
    pub(in crate::serve) fn new(ways: &[(&str, Way)]) -> Arc<Self> {
        let router = Self {
            ways: Mutex::default(),
            table: Mutex::new(Arc::new(table(EPOCH))),
            version: watch::channel(0).0,
            asked: Mutex::default(),
            heard: Mutex::default(),
            admitted: watch::channel(0).0,
        };
        router.change(ways);
        Arc::new(router)
    }

    /// Takes a table.
    pub(in crate::serve) fn adopt(&self, table: RoutingTable) {
        *self.table.lock().unwrap() = Arc::new(table);
        self.version.send_modify(|version| *version += 1);
    }

    /// From now on these keys go these ways; others are held.
    pub(in crate::serve) fn change(&self, ways: &[(&str, Way)]) {
        *self.ways.lock().unwrap() = ways.iter().map(|(key, way)| (key_hash(key), *way)).collect();
        self.version.send_modify(|version| *version += 1);
    }
}

impl Router for FakeRouter {
    fn route(&self, keys: &[Option<u64>], _routed: Option<Epoch>) -> Routes {
        *self.asked.lock().unwrap() += 1;
        let known = self.ways.lock().unwrap();
        let way = |key: &Option<u64>| key.and_then(|key| known.get(&key).copied()).unwrap_or(Way::Hold);
        let ways: Vec<Way> = keys.iter().map(way).collect();
        let admission = ways.contains(&Way::Here).then(|| {
            self.admitted.send_modify(|admitted| *admitted += 1);
            let admitted = self.admitted.clone();
            Admission::new(move || admitted.send_modify(|admitted| *admitted -= 1))
        });
        Routes { ways, epoch: EPOCH, admission, seen: *self.version.borrow() }
    }

    fn changed(&self, seen: u64) -> BoxFuture<'static, ()> {
        let mut version = self.version.subscribe();
        async move {
            let _ = version.wait_for(|version| *version != seen).await;
        }
        .boxed()
    }

    fn heard(&self, from: Ordinal, parcel: Parcel) {
        self.heard.lock().unwrap().push((from, parcel));
    }

    fn table(&self) -> Option<Arc<RoutingTable>> {
        Some(self.table.lock().unwrap().clone())
    }
}

type Answers = dyn Fn(Ordinal, usize) -> Outcome + Send + Sync;

/// Owners that answer as a test says: by their number, and by how often they were asked.
pub(in crate::serve) struct FakeOwners {
    answers: Box<Answers>,
    /// Who was asked, and for which ids.
    pub(in crate::serve) asked: Mutex<Vec<(Ordinal, Vec<String>)>>,
}

impl FakeOwners {
    pub(in crate::serve) fn new(answers: impl Fn(Ordinal, usize) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answers: Box::new(answers), asked: Mutex::default() })
    }
}

impl HandOver for FakeOwners {
    fn hand_over(&self, to: &Peer, epoch: Epoch, records: Vec<Bytes>) -> BoxFuture<'static, Outcome> {
        assert_eq!(epoch, EPOCH);
        let mut asked = self.asked.lock().unwrap();
        let before = asked.iter().filter(|(owner, _)| *owner == to.ordinal).count();
        asked.push((to.ordinal, records.iter().map(id_of).collect()));
        futures::future::ready((self.answers)(to.ordinal, before)).boxed()
    }
}

/// A store in memory, and what belongs to it.
pub(in crate::serve) struct Fixture {
    pub(in crate::serve) store: Arc<Store>,
    pub(in crate::serve) log: Arc<MemoryLog>,
    pub(in crate::serve) disk: Disk,
    pub(in crate::serve) metrics: Metrics,
    pub(in crate::serve) phase: watch::Sender<Phase>,
    config: Arc<ShardConfig>,
    writer: Writer,
}

impl Fixture {
    pub(in crate::serve) fn new(config: ShardConfig, router: Arc<dyn Router>, links: Arc<dyn HandOver>) -> Self {
        let disk = Disk::default();
        let names: Vec<_> = config.sinks.iter().map(|sink| sink.name.clone()).collect();
        let log = Arc::new(MemoryLog::open(&disk, &names));
        let metrics = Metrics::new(&names);
        let window = Duration::from_millis(config.duplicate_window_ms);
        let (writer, _) = Writer::start(log.clone(), metrics.clone(), window).unwrap();
        let phase = watch::Sender::new(Phase::Serving);
        let config = Arc::new(config);
        let (stats, phases) = (log.stats().unwrap(), phase.subscribe());
        let routing = Some(Routing::new(router, links));
        let store = Store::new(config.clone(), log.clone(), stats, writer.clone(), metrics.clone(), phases, routing);
        let store = Arc::new(store);
        Self { store, log, disk, metrics, phase, config, writer }
    }

    /// The same log and limits, where events go this way.
    pub(in crate::serve) fn routed(self, routing: Routing) -> Self {
        let (config, log, stats) = (self.config.clone(), self.log.clone(), self.log.stats().unwrap());
        let (writer, metrics, phases) = (self.writer.clone(), self.metrics.clone(), self.phase.subscribe());
        let store = Store::new(config, log, stats, writer, metrics, phases, Some(routing));
        Self { store: Arc::new(store), ..self }
    }

    /// The ids of what is in the log, in order.
    pub(in crate::serve) fn stored(&self) -> Vec<String> {
        let entries = self.log.unsettled(0, 0, usize::MAX).unwrap().entries;
        entries.iter().map(|entry| id_of(&self.log.read(entry.position).unwrap().unwrap())).collect()
    }
}
