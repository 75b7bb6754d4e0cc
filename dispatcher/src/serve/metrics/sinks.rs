//! What went out, per sink. May import `log` for the ids of sinks.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, int};
use crate::serve::log::SinkId;

/// How an attempt ended: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(in crate::serve) enum AttemptOutcome {
    /// 2xx: the event is settled.
    Delivered,
    /// 429 or 503.
    Throttled,
    /// Any other answer.
    Refused,
    /// No answer in time.
    TimedOut,
    /// No connection, or it broke.
    Unreachable,
    /// The record could not be read from the log.
    Unreadable,
}

impl AttemptOutcome {
    /// In the order of their discriminants.
    const ALL: [Self; 6] =
        [Self::Delivered, Self::Throttled, Self::Refused, Self::TimedOut, Self::Unreachable, Self::Unreadable];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabel {
    sink: String,
    outcome: AttemptOutcome,
}

pub(super) struct SinkMetrics {
    /// By outcome.
    attempts: [Counter; AttemptOutcome::ALL.len()],
    delivered: Counter,
    backlog: Gauge,
    in_flight: Gauge,
    latency: Histogram,
}

pub(super) fn register(registry: &mut Registry, names: &[String]) -> Vec<SinkMetrics> {
    let attempts = Family::<AttemptLabel, Counter>::default();
    registry.register("attempts", "Delivery attempts, by sink and outcome", attempts.clone());
    let delivered = Family::<SinkLabel, Counter>::default();
    registry.register("delivered", "Events that the sink answered 2xx", delivered.clone());
    let backlog = Family::<SinkLabel, Gauge>::default();
    registry.register("sink_backlog_events", "Events not yet settled at this sink", backlog.clone());
    let in_flight = Family::<SinkLabel, Gauge>::default();
    registry.register("in_flight", "Attempts under way", in_flight.clone());
    // 1 ms to 35 min.
    let latency =
        Family::<SinkLabel, Histogram>::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 22)));
    registry.register_with_unit(
        "delivery_latency",
        "From accepting an event until the sink has answered 2xx",
        Unit::Seconds,
        latency.clone(),
    );
    let metrics = |name: &String| {
        let label = SinkLabel { sink: name.clone() };
        SinkMetrics {
            attempts: AttemptOutcome::ALL
                .map(|outcome| attempts.get_or_create(&AttemptLabel { sink: name.clone(), outcome }).clone()),
            delivered: delivered.get_or_create(&label).clone(),
            backlog: backlog.get_or_create(&label).clone(),
            in_flight: in_flight.get_or_create(&label).clone(),
            latency: latency.get_or_create(&label).clone(),
        }
    };
    names.iter().map(metrics).collect()
}

impl SinkMetrics {
    /// Takes over what the log says.
    pub(super) fn backlog(&self, events: u64) {
        self.backlog.set(int(events));
    }
}

impl Metrics {
    /// An attempt ended.
    pub(in crate::serve) fn attempt(&self, sink: SinkId, outcome: AttemptOutcome) {
        if let Some(counter) = self.0.sinks.get(sink).and_then(|sink| sink.attempts.get(outcome as usize)) {
            counter.inc();
        }
    }

    /// An event was settled, so long after it was accepted.
    pub(in crate::serve) fn delivered(&self, sink: SinkId, latency: Duration) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            metrics.delivered.inc();
            metrics.latency.observe(latency.as_secs_f64());
        }
    }

    /// Events that this sink answered 2xx so far.
    pub(in crate::serve) fn delivered_total(&self, sink: SinkId) -> u64 {
        self.0.sinks.get(sink).map_or(0, |metrics| metrics.delivered.get())
    }

    /// So many attempts are under way.
    pub(in crate::serve) fn in_flight(&self, sink: SinkId, attempts: usize) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            metrics.in_flight.set(i64::try_from(attempts).unwrap_or(i64::MAX));
        }
    }

    /// Attempts under way.
    pub(in crate::serve) fn in_flight_now(&self, sink: SinkId) -> u64 {
        self.0.sinks.get(sink).map_or(0, |metrics| u64::try_from(metrics.in_flight.get()).unwrap_or(0))
    }
}
