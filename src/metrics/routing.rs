//! What the metrics say of routing: one set of gauges per region that has a table.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::RegionLabels;
use crate::fleet::RoutingPlan;

type Gauges = Family<RegionLabels, Gauge<u64, AtomicU64>>;

/// The gauges.
#[derive(Clone, Default)]
pub(super) struct Routings {
    epoch: Gauges,
    claiming: Gauges,
    at_risk: Gauges,
    lost: Gauges,
    volumes_lost: Gauges,
    stranded: Gauges,
}

impl Routings {
    pub(super) fn register(&self, region: &mut Registry) {
        region.register("routing_epoch", "Version of the routing table", self.epoch.clone());
        region.register("claiming_slots", "Slots that their owners do not deliver yet", self.claiming.clone());
        region.register("at_risk_slots", "Slots whose events may come out of order", self.at_risk.clone());
        region.register("shards_lost", "Shards that nobody waits for", self.lost.clone());
        region.register("volumes_lost", "Volumes that were lost with what they held", self.volumes_lost.clone());
        let stranded = "Events of shards that are lost or have no pod, as far as that is known";
        region.register("stranded_events", stranded, self.stranded.clone());
    }

    pub(super) fn clear(&self) {
        for family in [&self.epoch, &self.claiming, &self.at_risk, &self.lost, &self.volumes_lost, &self.stranded] {
            family.clear();
        }
    }

    pub(super) fn show(&self, labels: &RegionLabels, plan: &RoutingPlan) {
        let lost = u64::try_from(plan.routing.lost.len()).unwrap_or(u64::MAX);
        self.epoch.get_or_create(labels).set(plan.routing.epoch);
        self.claiming.get_or_create(labels).set(plan.claiming.into());
        self.at_risk.get_or_create(labels).set(plan.at_risk.into());
        self.lost.get_or_create(labels).set(lost);
        self.volumes_lost.get_or_create(labels).set(plan.routing.volumes_lost.into());
        self.stranded.get_or_create(labels).set(plan.stranded_events);
    }
}
