//! What the metrics say of traffic and breakers: one set of each per region of a spec.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use signalbox_contract::BreakerPhase;

use super::RegionLabels;
use crate::fleet::{BreakerMemory, FleetPlan, RegionPlan, phase_word};

type Gauges = Family<RegionLabels, Gauge<u64, AtomicU64>>;

/// The gauges, and the counter of trips.
#[derive(Clone, Default)]
pub(super) struct Traffics {
    weight: Gauges,
    goal: Gauges,
    share: Gauges,
    phase: Family<PhaseLabels, Gauge<u64, AtomicU64>>,
    trips: Family<RegionLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabels {
    namespace: String,
    fleet: String,
    region: String,
    phase: &'static str,
}

/// A region's traffic, as of its last reconcile.
pub(super) struct TrafficSample {
    weight: u64,
    goal: u64,
    share: u64,
    phase: &'static str,
    /// This decision has tripped it.
    pub(super) tripped: bool,
}

impl TrafficSample {
    pub(super) fn of(region: &RegionPlan, plan: &FleetPlan) -> Option<Self> {
        let (breaker, traffic) = (region.breaker.as_ref()?, plan.traffic.regions.get(&region.name)?);
        let phase = breaker.memory.phase;
        let was_tripped = |from: &BreakerMemory| from.phase == BreakerPhase::Tripped;
        Some(Self {
            weight: region.weight.into(),
            goal: traffic.goal_permille.into(),
            share: traffic.share_permille.into(),
            phase: phase_word(phase),
            tripped: phase == BreakerPhase::Tripped && breaker.from.as_ref().is_some_and(|from| !was_tripped(from)),
        })
    }
}

impl Traffics {
    pub(super) fn register(&self, region: &mut Registry) {
        region.register("weight", "Share of new traffic by the spec, relative to the others", self.weight.clone());
        let goal = "Share of new traffic that it is to have by weights and breakers, in thousandths";
        region.register("goal_permille", goal, self.goal.clone());
        region.register("traffic_permille", "Share of new traffic that it has, in thousandths", self.share.clone());
        region.register("breaker_phase", "1 for the phase of the region's breaker", self.phase.clone());
        region.register("breaker_trips", "How often the region was tripped", self.trips.clone());
    }

    /// What is shown anew with each scrape. Trips are counted, and stay.
    pub(super) fn clear(&self) {
        for family in [&self.weight, &self.goal, &self.share] {
            family.clear();
        }
        self.phase.clear();
    }

    pub(super) fn show(&self, labels: &RegionLabels, sample: &TrafficSample) {
        self.weight.get_or_create(labels).set(sample.weight);
        self.goal.get_or_create(labels).set(sample.goal);
        self.share.get_or_create(labels).set(sample.share);
        let RegionLabels { namespace, fleet, region } = labels.clone();
        self.phase.get_or_create(&PhaseLabels { namespace, fleet, region, phase: sample.phase }).set(1);
        // So that it is there, as 0, before the first.
        let _ = self.trips.get_or_create(labels);
    }

    pub(super) fn tripped(&self, labels: &RegionLabels) {
        self.trips.get_or_create(labels).inc();
    }

    pub(super) fn forget(&self, labels: &RegionLabels) {
        self.trips.remove(labels);
    }
}
