//! What goes to other regions and comes from them, and what is seen of them. May import nothing but the contract's words.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use signalbox_contract::TrafficReport;

use super::{Metrics, int};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegionLabel {
    region: String,
}

pub(super) struct RegionMetrics {
    version: Gauge,
    away_slots: Gauge,
    away_events: Gauge,
    handed: Counter,
    taken: Counter,
    repeated: Counter,
    held_back: Counter<f64, std::sync::atomic::AtomicU64>,
    asked: Family<RegionLabel, Gauge>,
    answered: Family<RegionLabel, Gauge>,
}

impl RegionMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let version = Gauge::default();
        registry.register("traffic_version", "Version of the traffic table on disk; 0 without one", version.clone());
        let away_slots = Gauge::default();
        let about = "Slots of this shard that it does not deliver by itself, by the traffic table";
        registry.register("away_slots", about, away_slots.clone());
        let away_events = Gauge::default();
        let about = "Events of such slots that wait to be taken over by another region";
        registry.register("away_events", about, away_events.clone());
        let handed = Counter::default();
        registry.register("region_handed_over", "Events that another region has taken over", handed.clone());
        let taken = Counter::default();
        registry.register("region_taken_over", "Events that were taken over from another region", taken.clone());
        let repeated = Counter::default();
        let about = "Events that another region has sent again, and that were here already";
        registry.register("region_repeated", about, repeated.clone());
        let held_back = Counter::default();
        registry.register_with_unit(
            "region_held_back",
            "Time in which events waited for other regions because these take no more in a second",
            Unit::Seconds,
            held_back.clone(),
        );
        let asked = Family::default();
        registry.register(
            "region_asked",
            "Shards of another region that were asked in the latest round",
            asked.clone(),
        );
        let answered = Family::default();
        registry.register("region_answered", "Those of them that answered", answered.clone());
        Self { version, away_slots, away_events, handed, taken, repeated, held_back, asked, answered }
    }
}

impl Metrics {
    /// Takes over what the shard says of its traffic.
    pub(in crate::serve) fn traffic(&self, report: &TrafficReport) {
        let metrics = &self.0.regions;
        metrics.version.set(int(report.version));
        metrics.away_slots.set(i64::from(report.away_slots));
        metrics.away_events.set(int(report.away_events));
        metrics.asked.clear();
        metrics.answered.clear();
        for seen in &report.regions {
            let label = RegionLabel { region: seen.name.clone() };
            metrics.asked.get_or_create(&label).set(i64::from(seen.asked));
            metrics.answered.get_or_create(&label).set(i64::from(seen.answered));
        }
    }

    /// Events that other regions have taken over, and that were taken over from them.
    pub(in crate::serve) fn between_regions(&self) -> (u64, u64) {
        (self.0.regions.handed.get(), self.0.regions.taken.get())
    }

    /// Another region has these events.
    pub(in crate::serve) fn handed_to_region(&self, events: usize) {
        self.0.regions.handed.inc_by(events as u64);
    }

    /// These events were another region's. They count as accepted too.
    pub(in crate::serve) fn taken_from_region(&self, events: usize, repeated: usize) {
        self.0.regions.taken.inc_by(events as u64);
        self.0.regions.repeated.inc_by(repeated as u64);
    }

    /// Events waited for so long because the other region takes no more.
    pub(in crate::serve) fn held_back(&self, span: Duration) {
        self.0.regions.held_back.inc_by(span.as_secs_f64());
    }
}
