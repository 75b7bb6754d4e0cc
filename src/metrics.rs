//! The operator's metrics, as OpenMetrics text.
//!
//! | name | what |
//! | --- | --- |
//! | `signalbox_operator_leader` | 1 while this replica leads |
//! | `signalbox_operator_reconciles_total{outcome}` | reconciles by outcome: `ok`, `overtaken` by another change of the fleet, or the room that failed |
//! | `signalbox_operator_watch_failures_total{kind}` | watches that broke and were begun again |
//! | `signalbox_operator_reports_refused_total{why}` | shards' reports that were not taken: `late`, `old`, `old_incarnation`, `absurd`, `malformed`, `foreign` |
//! | `signalbox_operator_routing_pushes_total{outcome}`, `signalbox_operator_traffic_pushes_total{outcome}` | routing and traffic tables given to shards: `taken`, `refused`, `unreachable`, or `unknown` to their image |
//! | `signalbox_region_shards_ready`, `_desired`, `_share_percent`, `_backlog_events` `{namespace,fleet,region}` | one region |
//! | `signalbox_region_shards_wanted`, `_arrival_per_second`, `_settled_per_second`, `_shard_capacity_per_second` `{namespace,fleet,region}` | what the autoscaler goes by, of a region whose size follows its load |
//! | `signalbox_region_scaling_reason{namespace,fleet,region,reason}` | 1 for the reason of its size |
//! | `signalbox_region_routing_epoch`, `_claiming_slots`, `_at_risk_slots`, `_shards_lost`, `_volumes_lost`, `_stranded_events` `{namespace,fleet,region}` | who owns the slots of event keys, and what shards hold that are lost or have no pod, of a region with a routing table |
//! | `signalbox_region_weight`, `_goal_permille`, `_traffic_permille` `{namespace,fleet,region}` | what the spec gives a region, the share of new traffic that it is to have by weights and breakers, and the one that it has |
//! | `signalbox_region_breaker_phase{namespace,fleet,region,phase}` | 1 for the phase of its breaker |
//! | `signalbox_region_breaker_trips_total{namespace,fleet,region}` | how often it was tripped, since this operator leads |
//! | `signalbox_region_reason{namespace,fleet,region,reason}` | 1 for the reason that the status gives |
//!
//! What is not known has no sample: a backlog that no shard reported is absent, not 0.

mod routing;
mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::fleet::{FleetIntent, FleetPlan, FleetSnapshot, RoutingPlan, ScalingDecision, ScalingNumbers};
use routing::Routings;
use traffic::{TrafficSample, Traffics};

/// The operator's metrics. Clones share their values.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    reconciles: Family<OutcomeLabel, Counter>,
    watch_failures: Family<KindLabel, Counter>,
    reports_refused: Family<WhyLabel, Counter>,
    routing_pushes: Family<OutcomeLabel, Counter>,
    traffic_pushes: Family<OutcomeLabel, Counter>,
    regions: Regions,
    fleets: Arc<Mutex<Fleets>>,
}

/// By namespace and name.
type Fleets = BTreeMap<(String, String), Vec<Sample>>;

#[derive(Clone, Default)]
struct Regions {
    ready: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    desired: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    share: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    backlog: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    reason: Family<ReasonLabels, Gauge<u64, AtomicU64>>,
    wanted: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    arrival: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    settled: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    capacity: Family<RegionLabels, Gauge<u64, AtomicU64>>,
    scaling_reason: Family<ReasonLabels, Gauge<u64, AtomicU64>>,
    routing: Routings,
    traffic: Traffics,
}

/// One region of one fleet, as of its last reconcile.
struct Sample {
    labels: RegionLabels,
    ready: u64,
    desired: u64,
    share: u64,
    backlog: Option<u64>,
    reason: &'static str,
    /// Of a region whose size follows its load.
    scaling: Option<ScalingSample>,
    /// Of a region with a routing table.
    routing: Option<RoutingPlan>,
    /// Of a region of the spec.
    traffic: Option<TrafficSample>,
}

/// What the autoscaler goes by.
struct ScalingSample {
    wanted: u64,
    numbers: ScalingNumbers,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RegionLabels {
    namespace: String,
    fleet: String,
    region: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    namespace: String,
    fleet: String,
    region: String,
    reason: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let (leader, reconciles, watch_failures) = (Gauge::default(), Family::default(), Family::default());
        let (reports_refused, routing_pushes, traffic_pushes) =
            (Family::default(), Family::default(), Family::default());
        let regions = Regions::default();
        let mut registry = Registry::default();
        let operator = registry.sub_registry_with_prefix("signalbox_operator");
        operator.register("leader", "1 while this replica leads", leader.clone());
        operator.register("reconciles", "Reconciles by outcome", reconciles.clone());
        operator.register("watch_failures", "Watches that broke and were begun again", watch_failures.clone());
        operator.register("reports_refused", "Reports of shards that were not taken", reports_refused.clone());
        operator.register("routing_pushes", "Routing tables given to shards", routing_pushes.clone());
        operator.register("traffic_pushes", "Traffic tables given to shards", traffic_pushes.clone());
        let region = registry.sub_registry_with_prefix("signalbox_region");
        region.register("shards_ready", "Shards that accept events", regions.ready.clone());
        region.register("shards_desired", "Shards that the region is to have now", regions.desired.clone());
        region.register("share_percent", "Share of new events that it delivers, in percent", regions.share.clone());
        region.register(
            "backlog_events",
            "Events accepted and not yet delivered to every sink",
            regions.backlog.clone(),
        );
        region.register("reason", "1 for the reason that the status gives", regions.reason.clone());
        region.register("shards_wanted", "Shards that the load asks for", regions.wanted.clone());
        region.register("arrival_per_second", "Events that arrive, as the autoscaler sees it", regions.arrival.clone());
        region.register("settled_per_second", "Events that are settled, as it sees it", regions.settled.clone());
        region.register(
            "shard_capacity_per_second",
            "Events that one shard can settle, as far as it has learned",
            regions.capacity.clone(),
        );
        region.register("scaling_reason", "1 for the reason of the region's size", regions.scaling_reason.clone());
        regions.routing.register(region);
        regions.traffic.register(region);
        Self {
            registry: Arc::new(registry),
            leader,
            reconciles,
            watch_failures,
            reports_refused,
            routing_pushes,
            traffic_pushes,
            regions,
            fleets: Arc::default(),
        }
    }

    pub(crate) fn leads(&self) {
        self.leader.set(1);
    }

    pub(crate) fn reconciled(&self, outcome: &'static str) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn watch_failed(&self, kind: &str) {
        self.watch_failures.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    pub(crate) fn report_refused(&self, why: &'static str) {
        self.reports_refused.get_or_create(&WhyLabel { why }).inc();
    }

    pub(crate) fn routing_pushed(&self, outcome: &'static str) {
        self.routing_pushes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn traffic_pushed(&self, outcome: &'static str) {
        self.traffic_pushes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn fleet_decided(&self, intent: &FleetIntent, snapshot: &FleetSnapshot, plan: &FleetPlan) {
        let samples = plan.regions.iter().map(|region| {
            let shards = snapshot.regions.get(&region.name).into_iter().flat_map(|region| region.shards.values());
            let reports = shards.filter(|shard| shard.pod.is_some()).map(|shard| shard.report.value());
            Sample {
                labels: RegionLabels {
                    namespace: intent.namespace.clone(),
                    fleet: intent.name.clone(),
                    region: region.name.clone(),
                },
                ready: region.ready.into(),
                desired: region.replicas.into(),
                share: region.share_percent.into(),
                backlog: reports.map(|report| Some(report?.shard.backlog_events)).sum(),
                reason: region.reason.as_str(),
                scaling: region.scaling.as_ref().and_then(ScalingSample::of),
                routing: region.routing.clone(),
                traffic: TrafficSample::of(region, plan),
            }
        });
        let samples: Vec<_> = samples.collect();
        let tripped = samples.iter().filter(|sample| sample.traffic.as_ref().is_some_and(|traffic| traffic.tripped));
        tripped.for_each(|sample| self.regions.traffic.tripped(&sample.labels));
        self.fleets().insert((intent.namespace.clone(), intent.name.clone()), samples);
    }

    pub(crate) fn fleet_gone(&self, namespace: &str, fleet: &str) {
        let gone = self.fleets().remove(&(namespace.to_owned(), fleet.to_owned()));
        gone.iter().flatten().for_each(|sample| self.regions.traffic.forget(&sample.labels));
    }

    /// Whether there is any fleet to look after.
    pub(crate) fn has_fleets(&self) -> bool {
        !self.fleets().is_empty()
    }

    /// The text of all metrics.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        // Held until the end, so that two scrapes do not empty the families under each other.
        let fleets = self.fleets();
        let Regions { ready, desired, share, backlog, reason, .. } = &self.regions;
        self.regions.forget_scaling();
        self.regions.routing.clear();
        self.regions.traffic.clear();
        ready.clear();
        desired.clear();
        share.clear();
        backlog.clear();
        reason.clear();
        for sample in fleets.values().flatten() {
            let RegionLabels { namespace, fleet, region } = sample.labels.clone();
            ready.get_or_create(&sample.labels).set(sample.ready);
            desired.get_or_create(&sample.labels).set(sample.desired);
            share.get_or_create(&sample.labels).set(sample.share);
            if let Some(events) = sample.backlog {
                backlog.get_or_create(&sample.labels).set(events);
            }
            reason.get_or_create(&ReasonLabels { namespace, fleet, region, reason: sample.reason }).set(1);
            self.regions.show_scaling(sample);
            if let Some(plan) = &sample.routing {
                self.regions.routing.show(&sample.labels, plan);
            }
            if let Some(traffic) = &sample.traffic {
                self.regions.traffic.show(&sample.labels, traffic);
            }
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn fleets(&self) -> std::sync::MutexGuard<'_, Fleets> {
        // A panic elsewhere leaves a map of whole entries behind.
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScalingSample {
    fn of(decision: &ScalingDecision) -> Option<Self> {
        let wanted = decision.memory.wanted?;
        Some(Self { wanted: wanted.into(), numbers: decision.numbers, reason: decision.reason.as_str() })
    }
}

impl Regions {
    fn forget_scaling(&self) {
        for family in [&self.wanted, &self.arrival, &self.settled, &self.capacity] {
            family.clear();
        }
        self.scaling_reason.clear();
    }

    fn show_scaling(&self, sample: &Sample) {
        let Some(ScalingSample { wanted, numbers, reason }) = &sample.scaling else { return };
        self.wanted.get_or_create(&sample.labels).set(*wanted);
        // What no shard told is not 0.
        if numbers.known > 0 {
            self.arrival.get_or_create(&sample.labels).set(numbers.arrival);
            self.settled.get_or_create(&sample.labels).set(numbers.settled);
        }
        if let Some(capacity) = numbers.capacity {
            self.capacity.get_or_create(&sample.labels).set(capacity);
        }
        let RegionLabels { namespace, fleet, region } = sample.labels.clone();
        self.scaling_reason.get_or_create(&ReasonLabels { namespace, fleet, region, reason }).set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::decide;
    use crate::fixtures;
    use crate::fleet::{FleetMemory, HeldPhase, HoldPurpose, Observation, RegionHold};

    #[test]
    fn a_backlog_that_is_not_known_has_no_sample() {
        let mut snapshot = fixtures::settled();
        snapshot.regions.get_mut("us-east").unwrap().shards.get_mut(&1).unwrap().report = Observation::NotYet;
        let intent = fixtures::intent();
        let metrics = Metrics::new();
        metrics.fleet_decided(
            &intent,
            &snapshot,
            &decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now()),
        );
        let text = metrics.encode().unwrap();
        assert!(
            text.contains(r#"signalbox_region_backlog_events{namespace="shop",fleet="orders",region="eu-west"} 0"#),
            "{text}"
        );
        assert!(!text.contains(r#"backlog_events{namespace="shop",fleet="orders",region="us-east"}"#), "{text}");
    }

    #[test]
    fn a_region_with_a_table_says_where_it_is_with_it_and_one_without_says_nothing() {
        let (intent, mut snapshot) = (fixtures::intent(), fixtures::settled());
        for (ordinal, shard) in &mut snapshot.regions.get_mut("us-east").unwrap().shards {
            shard.report = fixtures::routed(*ordinal, 0, 0);
        }
        let metrics = Metrics::new();
        metrics.fleet_decided(
            &intent,
            &snapshot,
            &decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now()),
        );
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"region_routing_epoch{namespace="shop",fleet="orders",region="us-east"} 1"#), "{text}");
        assert!(text.contains(r#"region_shards_lost{namespace="shop",fleet="orders",region="us-east"} 0"#), "{text}");
        assert!(!text.contains(r#"routing_epoch{namespace="shop",fleet="orders",region="eu-west"}"#), "{text}");
    }

    #[test]
    fn events_on_volumes_of_shards_without_pods_are_counted() {
        let (intent, mut snapshot) = (fixtures::intent(), fixtures::settled());
        let shards = &mut snapshot.regions.get_mut("us-east").unwrap().shards;
        for (ordinal, shard) in shards {
            shard.report = fixtures::routed(*ordinal, 0, 30);
        }
        let first = decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now());
        snapshot.history = first.history.clone();
        let shard = snapshot.regions.get_mut("us-east").unwrap().shards.get_mut(&1).unwrap();
        (shard.pod, shard.report) = (None, Observation::NotYet);
        let metrics = Metrics::new();
        metrics.fleet_decided(&intent, &snapshot, &decide(&intent, &snapshot, &first.memory(), fixtures::now()));
        let text = metrics.encode().unwrap();
        let sample = r#"region_stranded_events{namespace="shop",fleet="orders",region="us-east"} 30"#;
        assert!(text.contains(sample), "{text}");
    }

    #[test]
    fn a_region_says_what_it_has_of_traffic_and_where_its_breaker_is_and_trips_are_counted_once() {
        let (mut intent, snapshot) = (fixtures::intent(), fixtures::settled());
        let hold = RegionHold {
            phase: HeldPhase::Tripped,
            until: fixtures::now() + std::time::Duration::from_mins(1),
            purpose: HoldPurpose::Drill,
        };
        intent.manual.holds.insert("us-east".to_owned(), hold);
        let metrics = Metrics::new();
        let first = decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now());
        metrics.fleet_decided(&intent, &snapshot, &first);
        metrics.fleet_decided(&intent, &snapshot, &decide(&intent, &snapshot, &first.memory(), fixtures::now()));
        let text = metrics.encode().unwrap();
        let labels = |region| format!(r#"{{namespace="shop",fleet="orders",region="{region}""#);
        for sample in [
            format!("signalbox_region_weight{}}} 50", labels("us-east")),
            format!("signalbox_region_goal_permille{}}} 1000", labels("eu-west")),
            format!("signalbox_region_traffic_permille{}}} 0", labels("us-east")),
            format!("signalbox_region_breaker_phase{},phase=\"Tripped\"}} 1", labels("us-east")),
            format!("signalbox_region_breaker_trips_total{}}} 1", labels("us-east")),
            format!("signalbox_region_breaker_trips_total{}}} 0", labels("eu-west")),
        ] {
            assert!(text.contains(&sample), "{sample}: {text}");
        }
    }

    #[test]
    fn a_fleet_that_is_gone_leaves_no_samples() {
        let (intent, snapshot) = (fixtures::intent(), fixtures::settled());
        let metrics = Metrics::new();
        metrics.fleet_decided(
            &intent,
            &snapshot,
            &decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now()),
        );
        metrics.fleet_gone("shop", "orders");
        assert!(!metrics.encode().unwrap().contains("orders"));
    }
}
