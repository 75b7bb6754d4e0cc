//! Where the shard is with its routing table, and what changed hands. May import nothing but the contract's words.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use signalbox_contract::RoutingReport;

use super::{Metrics, int};

pub(super) struct ClaimMetrics {
    epoch: Gauge,
    claiming: Gauge,
    at_risk: Gauge,
    given: Counter,
    inherited: Counter,
    claim_seconds: Histogram,
}

impl ClaimMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let epoch = Gauge::default();
        registry.register("routing_epoch", "Epoch of the routing table on disk; 0 without one", epoch.clone());
        let claiming = Gauge::default();
        registry.register(
            "claiming_slots",
            "Slots that the routing table gives to this shard, and that it does not deliver yet",
            claiming.clone(),
        );
        let at_risk = Gauge::default();
        registry.register(
            "slots_at_risk",
            "Slots of which a shard that was declared lost may still hold older events",
            at_risk.clone(),
        );
        let given = Counter::default();
        registry.register("given", "Events of the backlog that another shard has taken over", given.clone());
        let inherited = Counter::default();
        registry.register("inherited", "Events that were taken over from another shard's backlog", inherited.clone());
        // 1 ms to 16 s.
        let claim_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        registry.register_with_unit(
            "claim",
            "Time from taking a routing table to accepting all slots that it gives to this shard, if some are new",
            Unit::Seconds,
            claim_seconds.clone(),
        );
        Self { epoch, claiming, at_risk, given, inherited, claim_seconds }
    }
}

impl Metrics {
    /// Takes over what the claims say of themselves.
    pub(in crate::serve) fn routing(&self, report: &RoutingReport) {
        let metrics = &self.0.claims;
        metrics.epoch.set(int(report.epoch));
        metrics.claiming.set(i64::from(report.claiming));
        metrics.at_risk.set(i64::from(report.at_risk));
    }

    /// Another shard has these events.
    pub(in crate::serve) fn given(&self, events: usize) {
        self.0.claims.given.inc_by(events as u64);
    }

    /// These events were another shard's.
    pub(in crate::serve) fn inherited(&self, events: usize) {
        self.0.claims.inherited.inc_by(events as u64);
    }

    /// So long after a table was taken, all of its slots are accepted.
    pub(in crate::serve) fn claimed(&self, after: Duration) {
        self.0.claims.claim_seconds.observe(after.as_secs_f64());
    }
}
