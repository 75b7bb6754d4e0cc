//! What went out, per sink. May import `log` for the ids of sinks, and `flow` for where they stand.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use signalbox_contract::BreakerPhase;

use super::{Metrics, int};
use AttemptOutcome::Unreadable;

use crate::serve::flow::Standing;
use crate::serve::log::SinkId;

/// How an attempt ended: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(in crate::serve) enum AttemptOutcome {
    /// 2xx: the event is settled.
    Delivered,
    /// 429 or 503.
    Throttled,
    /// Any other answer, but for 5xx.
    Refused,
    /// 5xx, but for 503.
    Failed,
    /// No answer in time.
    TimedOut,
    /// No connection, or it broke.
    Unreachable,
    /// The record could not be read from the log.
    Unreadable,
}

impl AttemptOutcome {
    /// In the order of their discriminants.
    const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Throttled,
        Self::Refused,
        Self::Failed,
        Self::TimedOut,
        Self::Unreachable,
        Self::Unreadable,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    sink: String,
    phase: Phase,
}

/// [`BreakerPhase`] as the label `phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Phase {
    Serving,
    Tripped,
    Probing,
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
    dead_lettered: Counter,
    not_dead_lettered: Counter,
    lost: Counter,
    serving: Gauge,
    tripped: Gauge,
    probing: Gauge,
    limit: Gauge,
    retries_held: Gauge,
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
    let dead_lettered = Family::<SinkLabel, Counter>::default();
    registry.register("dead_lettered", "Events given up on, each kept as a dead letter", dead_lettered.clone());
    let not_dead_lettered = Family::<SinkLabel, Counter>::default();
    registry.register(
        "dead_letters_refused",
        "Times an event should have been given up on, and was not for want of room",
        not_dead_lettered.clone(),
    );
    let lost = Family::<SinkLabel, Counter>::default();
    registry.register(
        "lost",
        "Events whose records were gone from the log, so that nothing could be sent",
        lost.clone(),
    );
    let phase = Family::<PhaseLabel, Gauge>::default();
    registry.register(
        "breaker_phase",
        "1 for the phase that the sink's breaker is in, 0 for the others",
        phase.clone(),
    );
    let limit = Family::<SinkLabel, Gauge>::default();
    registry.register("concurrency_limit", "Attempts at once that the sink is trusted with now", limit.clone());
    let retries_held = Family::<SinkLabel, Gauge>::default();
    registry.register("retries_held", "Retries that are due, and wait for the retry budget", retries_held.clone());
    let metrics = |name: &String| {
        let phase = |value| phase.get_or_create(&PhaseLabel { sink: name.clone(), phase: value }).clone();
        let label = SinkLabel { sink: name.clone() };
        SinkMetrics {
            attempts: AttemptOutcome::ALL
                .map(|outcome| attempts.get_or_create(&AttemptLabel { sink: name.clone(), outcome }).clone()),
            delivered: delivered.get_or_create(&label).clone(),
            dead_lettered: dead_lettered.get_or_create(&label).clone(),
            not_dead_lettered: not_dead_lettered.get_or_create(&label).clone(),
            lost: lost.get_or_create(&label).clone(),
            serving: phase(Phase::Serving),
            tripped: phase(Phase::Tripped),
            probing: phase(Phase::Probing),
            limit: limit.get_or_create(&label).clone(),
            retries_held: retries_held.get_or_create(&label).clone(),
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
    /// An attempt ended, after so long.
    pub(in crate::serve) fn attempt(&self, sink: SinkId, outcome: AttemptOutcome, took: Duration) {
        self.count_attempt(sink, outcome);
        if let Some(effort) = self.0.effort.get(sink) {
            effort.attempt(took);
        }
    }

    /// An event could not even be sent.
    pub(in crate::serve) fn unreadable(&self, sink: SinkId) {
        self.count_attempt(sink, Unreadable);
    }

    fn count_attempt(&self, sink: SinkId, outcome: AttemptOutcome) {
        if let Some(counter) = self.0.sinks.get(sink).and_then(|sink| sink.attempts.get(outcome as usize)) {
            counter.inc();
        }
    }

    /// Attempts that ended so far.
    pub(super) fn attempts_total(&self, sink: SinkId) -> u64 {
        let Some(metrics) = self.0.sinks.get(sink) else { return 0 };
        // The last outcome is of what was never sent.
        metrics.attempts[..Unreadable as usize].iter().map(Counter::get).sum()
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

    /// An event was given up on and kept.
    pub(in crate::serve) fn dead_lettered(&self, sink: SinkId) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            metrics.dead_lettered.inc();
        }
    }

    /// An event should have been given up on, and could not be kept.
    pub(in crate::serve) fn not_dead_lettered(&self, sink: SinkId) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            metrics.not_dead_lettered.inc();
        }
    }

    /// The log has lost an event.
    pub(in crate::serve) fn lost(&self, sink: SinkId) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            metrics.lost.inc();
        }
    }

    /// Where a sink is now.
    pub(in crate::serve) fn standing(&self, sink: SinkId, standing: &Standing) {
        let Some(metrics) = self.0.sinks.get(sink) else { return };
        let count = |n| i64::try_from(n).unwrap_or(i64::MAX);
        for (gauge, phase) in [
            (&metrics.serving, BreakerPhase::Serving),
            (&metrics.tripped, BreakerPhase::Tripped),
            (&metrics.probing, BreakerPhase::Probing),
        ] {
            gauge.set(i64::from(phase == standing.phase));
        }
        metrics.limit.set(count(standing.limit));
        metrics.in_flight.set(count(standing.in_flight));
        metrics.retries_held.set(count(standing.retries_held));
    }

    /// Where a sink is now, for the report: its breaker's phase, its concurrency limit, and attempts under way.
    pub(in crate::serve) fn standing_now(&self, sink: SinkId) -> (BreakerPhase, u64, u64) {
        let Some(metrics) = self.0.sinks.get(sink) else { return Default::default() };
        let count = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        let phase = if metrics.tripped.get() == 1 {
            BreakerPhase::Tripped
        } else if metrics.probing.get() == 1 {
            BreakerPhase::Probing
        } else {
            BreakerPhase::Serving
        };
        (phase, count(&metrics.limit), count(&metrics.in_flight))
    }
}
