//! What came in. May import nothing of this crate.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Metrics;

/// Why a request was not accepted: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "each is explained where it is answered, in ingest.rs")]
pub(in crate::serve) enum Reject {
    Malformed,
    UnsupportedMediaType,
    TooLarge,
    BacklogFull,
    Overloaded,
    SlowBody,
    BrokenBody,
    Stopping,
    LogFailed,
    WrongMethod,
    WrongPath,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reject,
}

pub(super) struct IngestMetrics {
    accepted: Counter,
    rejected: Family<ReasonLabel, Counter>,
}

impl IngestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let accepted = Counter::default();
        registry.register("accepted", "Events answered 202, each after it was on disk", accepted.clone());
        let rejected = Family::default();
        registry.register("rejected", "Requests that were not accepted, by reason", rejected.clone());
        Self { accepted, rejected }
    }
}

impl Metrics {
    /// An event was answered 202.
    pub(in crate::serve) fn accepted(&self) {
        self.0.ingest.accepted.inc();
    }

    /// Events answered 202 so far.
    pub(in crate::serve) fn accepted_total(&self) -> u64 {
        self.0.ingest.accepted.get()
    }

    /// A request was not accepted.
    pub(in crate::serve) fn rejected(&self, reason: Reject) {
        self.0.ingest.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }
}
