//! What came in. May import nothing of this crate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

/// Why a request was not accepted: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "each is explained where it is answered, in ingest/")]
pub(in crate::serve) enum Reject {
    Malformed,
    UnsupportedMediaType,
    TooLarge,
    BacklogFull,
    DiskFull,
    Overloaded,
    SlowBody,
    BrokenBody,
    Stopping,
    LogFailed,
    WrongMethod,
    WrongPath,
    HeldTooLong,
    HeldTooMany,
    ByOwner,
    Shed,
    OtherRegion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reject,
}

pub(super) struct IngestMetrics {
    accepted: Counter,
    waited_us: AtomicU64,
    unmatched: Counter,
    duplicates: Counter,
    rejected: Family<ReasonLabel, Counter>,
    handed_over: Counter,
    held: Gauge,
}

impl IngestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let accepted = Counter::default();
        registry.register(
            "accepted",
            "Events accepted into this log, each answered 202 after it was on disk",
            accepted.clone(),
        );
        let unmatched = Counter::default();
        registry.register("unmatched", "Events answered 202 that no sink wanted, so not stored", unmatched.clone());
        let duplicates = Counter::default();
        registry.register("duplicates", "Events answered 202 and not stored again", duplicates.clone());
        let rejected = Family::default();
        registry.register("rejected", "Requests that were not accepted, by reason", rejected.clone());
        let handed_over = Counter::default();
        let about = "Events answered 202 that are on the disk of the shard that owns their key, and not on this one's";
        registry.register("handed_over", about, handed_over.clone());
        let held = Gauge::default();
        registry.register("held", "Requests that wait for the shard that owns a key of theirs", held.clone());
        Self { handed_over, held, accepted, waited_us: AtomicU64::new(0), unmatched, duplicates, rejected }
    }
}

impl Metrics {
    /// So many events were answered 202, after they had waited so long for the disk.
    pub(in crate::serve) fn accepted(&self, events: u64, waited: Duration) {
        self.0.ingest.accepted.inc_by(events);
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.0.ingest.waited_us.fetch_add(micros.saturating_mul(events), Ordering::Relaxed);
    }

    /// So many events were stored by the shard that owns their key.
    pub(in crate::serve) fn handed_over(&self, events: usize) {
        self.0.ingest.handed_over.inc_by(events as u64);
    }

    /// So many more requests wait for the owner of a key, or fewer.
    pub(in crate::serve) fn held(&self, more: i64) {
        self.0.ingest.held.inc_by(more);
    }

    /// How long they waited, all of them together, in microseconds.
    pub(in crate::serve) fn waited_us_total(&self) -> u64 {
        self.0.ingest.waited_us.load(Ordering::Relaxed)
    }

    /// An event was answered 202 that no sink wanted.
    pub(in crate::serve) fn unmatched(&self) {
        self.0.ingest.unmatched.inc();
    }

    /// So many events had been stored before.
    pub(in crate::serve) fn duplicates(&self, events: usize) {
        self.0.ingest.duplicates.inc_by(events as u64);
    }

    /// Events answered 202 so far.
    pub(in crate::serve) fn accepted_total(&self) -> u64 {
        self.0.ingest.accepted.get()
    }

    /// Requests that were not accepted so far, for this reason.
    pub(in crate::serve) fn rejected_total(&self, reason: Reject) -> u64 {
        self.0.ingest.rejected.get(&ReasonLabel { reason }).map_or(0, |counter| counter.get())
    }

    /// A request was not accepted.
    pub(in crate::serve) fn rejected(&self, reason: Reject) {
        self.0.ingest.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }
}
