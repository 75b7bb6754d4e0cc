//! From events to durable events: what is the same for those of a producer and those that another shard passes on.
//!
//! Where nothing is routed, every event goes into the own log. Otherwise `passing.rs` says which way. May import `filter`,
//! `writer`, `log`, `metrics`, `traffic` and `claiming`.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use signalbox_contract::ShardConfig;
use tokio::sync::watch;

use super::answer::{Rejection, reject};
use super::held::Held;
use super::owner::HandOver;
use super::repeats::Repeats;
use super::room::{NoRoom, Reservation, Room};
use crate::event::{self, Event};
use crate::serve::claiming::{Admission, Router};
use crate::serve::clock;
use crate::serve::filter::Filters;
use crate::serve::log::{LogStats, NewRecord, OVERHEAD_BYTES, ShardLog, key_hash};
use crate::serve::metrics::{Metrics, Reject};
use crate::serve::shutdown::Phase;
use crate::serve::traffic::Traffic;
use crate::serve::writer::{NotStored, Writer};

/// Seconds to wait for another shard to have the traffic, or this one to be back.
pub(super) const RETRY_AFTER_SOON: u64 = 1;

/// Seconds to wait for a region to be well again.
const RETRY_AFTER_SHED: u64 = 5;

/// Who knows which way events go, and who takes them there.
pub(in crate::serve) struct Routing {
    pub(super) router: Arc<dyn Router>,
    pub(super) links: Arc<dyn HandOver>,
    pub(super) held: Held,
    traffic: Option<Arc<Traffic>>,
}

impl Routing {
    /// Events go where `router` says, through `links`.
    pub(in crate::serve) fn new(router: Arc<dyn Router>, links: Arc<dyn HandOver>) -> Self {
        Self { router, links, held: Held::default(), traffic: None }
    }

    /// The same, and `traffic` says whether events are refused.
    pub(in crate::serve) fn with_traffic(self, traffic: Arc<Traffic>) -> Self {
        Self { traffic: Some(traffic), ..self }
    }

    fn sheds(&self) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| traffic.sheds())
    }

    /// Whether the own region gives events away.
    pub(super) fn gives(&self) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| traffic.gives())
    }
}

/// Where accepted events go.
pub(in crate::serve) struct Store {
    filters: Filters,
    room: Room,
    writer: Writer,
    pub(super) metrics: Metrics,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) routing: Option<Routing>,
    sinks: Vec<String>,
    pub(super) repeats: Repeats,
}

impl Store {
    /// Into this log, which is like this now; and to other shards, if `routing` says so.
    pub(in crate::serve) fn new(
        config: Arc<ShardConfig>,
        log: Arc<dyn ShardLog>,
        stats: LogStats,
        writer: Writer,
        metrics: Metrics,
        phase: watch::Receiver<Phase>,
        routing: Option<Routing>,
    ) -> Self {
        let filters = Filters::new(&config.sinks);
        let sinks = config.sinks.iter().map(|sink| sink.name.clone()).collect();
        let (room, repeats) = (Room::new(config, log, stats), Repeats::default());
        Self { filters, room, writer, metrics, phase, routing, sinks, repeats }
    }

    /// The names of the sinks.
    pub(super) fn sinks(&self) -> &[String] {
        &self.sinks
    }

    /// What can be told before a body is read: whether events are accepted, and whether one would find room.
    pub(super) fn look(&self) -> Result<(), Rejection> {
        if !self.phase.borrow().accepts() {
            return Err(stopping());
        }
        match &self.routing {
            None => self.room.look().map_err(no_room),
            Some(routing) if routing.sheds() => Err(shed()),
            // They may be another's.
            Some(_) => Ok(()),
        }
    }

    /// Those of the events that some sink wants, with room for them in the own log.
    pub(super) fn prepare(&self, events: &[Event]) -> Result<Prepared<'_>, Rejection> {
        self.reserved(self.records(events))
    }

    /// These records, with room for them in the own log.
    pub(super) fn reserved(&self, records: Vec<NewRecord>) -> Result<Prepared<'_>, Rejection> {
        self.having(records, Room::reserve)
    }

    /// The same, where half of each limit is left to producers.
    pub(super) fn reserved_beside_producers(&self, records: Vec<NewRecord>) -> Result<Prepared<'_>, Rejection> {
        self.having(records, Room::reserve_beside_producers)
    }

    fn having<'a>(
        &'a self,
        records: Vec<NewRecord>,
        reserve: impl FnOnce(&'a Room, u64, u64) -> Result<Reservation<'a>, NoRoom>,
    ) -> Result<Prepared<'a>, Rejection> {
        let bytes = records.iter().map(|new| new.record.len() as u64 + OVERHEAD_BYTES).sum();
        let count = records.len() as u64;
        let reservation =
            if records.is_empty() { None } else { Some(reserve(&self.room, bytes, count).map_err(no_room)?) };
        Ok(Prepared { store: self, records, reservation })
    }

    /// The records of those events that some sink wants.
    fn records(&self, events: &[Event]) -> Vec<NewRecord> {
        let accepted_at_us = clock::now_us();
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let Some(skip) = self.filters.skip(event) else {
                self.metrics.unmatched();
                continue;
            };
            records.push(NewRecord {
                accepted_at_us,
                key: event.key().map(key_hash),
                skip,
                identity: event::identity(event),
                record: event.record().clone(),
            });
        }
        records
    }
}

/// Events that have room in the own log.
pub(super) struct Prepared<'a> {
    store: &'a Store,
    records: Vec<NewRecord>,
    reservation: Option<Reservation<'a>>,
}

impl<'a> Prepared<'a> {
    /// Resolves when they are on disk. The admission goes along with them: whoever asked may go away before that.
    pub(super) async fn store(self, admission: Option<Admission>) -> Result<(), Rejection> {
        self.stored(|writer, records| writer.append_keeping(records, admission)).await
    }

    /// The same for events that were accepted elsewhere: see [`Writer::append_taken`].
    pub(super) async fn taken(self, admission: Option<Admission>) -> Result<(), Rejection> {
        self.stored(|writer, records| writer.append_taken(records, admission)).await
    }

    async fn stored<F: Future<Output = Result<(), NotStored>>>(
        self,
        append: impl FnOnce(&'a Writer, Vec<NewRecord>) -> F,
    ) -> Result<(), Rejection> {
        let Self { store, records, reservation } = self;
        let Some(reservation) = reservation else { return Ok(()) };
        let count = records.len() as u64;
        let queued = Instant::now();
        match append(&store.writer, records).await {
            Ok(()) => {
                reservation.stored();
                store.metrics.accepted(count, queued.elapsed());
                Ok(())
            }
            Err(NotStored::Full) => Err(reject(
                Reject::DiskFull,
                StatusCode::SERVICE_UNAVAILABLE,
                "the disk of this shard is full: send the event again, to another shard or when Retry-After is over",
            )
            .after(RETRY_AFTER_SOON)),
            Err(NotStored::Ended(e)) => Err(reject(
                Reject::LogFailed,
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{e}: send the event again, to another shard or after this one has restarted"),
            )
            .after(RETRY_AFTER_SOON)),
        }
    }
}

/// This shard accepts nothing any more.
pub(super) fn stopping() -> Rejection {
    reject(
        Reject::Stopping,
        StatusCode::SERVICE_UNAVAILABLE,
        "this shard is stopping: send the event again, to another one",
    )
    .after(RETRY_AFTER_SOON)
}

/// By the traffic table nothing is accepted.
fn shed() -> Rejection {
    reject(
        Reject::Shed,
        StatusCode::SERVICE_UNAVAILABLE,
        "no region of the fleet is well, and its owner wants events to be refused until one is: wait as Retry-After says",
    )
    .after(RETRY_AFTER_SHED)
}

fn no_room(why: NoRoom) -> Rejection {
    match why {
        NoRoom::Full(sentence, seconds) => {
            reject(Reject::BacklogFull, StatusCode::TOO_MANY_REQUESTS, sentence).after(seconds)
        }
        NoRoom::TooLarge(sentence) => reject(Reject::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, sentence),
    }
}
