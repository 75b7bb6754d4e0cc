//! What it takes to deliver to each sink, and what holds it back: the figures that tell what limits a shard. May import
//! `log` for the ids of sinks, `lanes`' outlook, and `stopwatch`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use signalbox_contract::SinkReport;

use super::{Metrics, set_seconds};
use crate::serve::lanes::Outlook;
use crate::serve::log::SinkId;
use crate::serve::stopwatch::Stopwatch;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

type Seconds = Counter<f64, AtomicU64>;

/// Of one sink.
pub(super) struct Effort {
    attempt_us: AtomicU64,
    throttled: AtomicU64,
    limited: Mutex<Stopwatch>,
    window: Gauge,
    blocked: Gauge,
    largest: Gauge,
    /// The first and the third, as they are shown.
    attempt_seconds: Seconds,
    limited_seconds: Seconds,
}

pub(super) fn register(registry: &mut Registry, names: &[String]) -> Vec<Effort> {
    let attempt_seconds = Family::<SinkLabel, Seconds>::default();
    registry.register_with_unit(
        "attempt",
        "Time that all attempts took together",
        Unit::Seconds,
        attempt_seconds.clone(),
    );
    let limited_seconds = Family::<SinkLabel, Seconds>::default();
    registry.register_with_unit(
        "limited",
        "Time in which an event could have been sent, and only the concurrency limit kept it",
        Unit::Seconds,
        limited_seconds.clone(),
    );
    let window = Family::<SinkLabel, Gauge>::default();
    registry.register("window_events", "Events of the backlog that are looked ahead to", window.clone());
    let blocked = Family::<SinkLabel, Gauge>::default();
    registry.register("blocked_events", "Of these, how many wait behind another of their key", blocked.clone());
    let largest = Family::<SinkLabel, Gauge>::default();
    registry.register("largest_lane_events", "Of these, how many are of the key that has most", largest.clone());
    let effort = |name: &String| {
        let label = SinkLabel { sink: name.clone() };
        Effort {
            attempt_us: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            limited: Mutex::default(),
            window: window.get_or_create(&label).clone(),
            blocked: blocked.get_or_create(&label).clone(),
            largest: largest.get_or_create(&label).clone(),
            attempt_seconds: attempt_seconds.get_or_create(&label).clone(),
            limited_seconds: limited_seconds.get_or_create(&label).clone(),
        }
    };
    names.iter().map(effort).collect()
}

impl Effort {
    /// An attempt took so long.
    pub(super) fn attempt(&self, took: Duration) {
        self.attempt_us.fetch_add(micros(took), Ordering::Relaxed);
    }

    /// Takes over what is not counted in seconds.
    pub(super) fn read(&self, now: Instant) {
        set_seconds(&self.attempt_seconds, Duration::from_micros(self.attempt_us.load(Ordering::Relaxed)));
        set_seconds(&self.limited_seconds, self.limited_total(now));
    }

    fn limited_total(&self, now: Instant) -> Duration {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner).total(now)
    }
}

impl Metrics {
    /// A sink asked for less.
    pub(in crate::serve) fn throttled(&self, sink: SinkId) {
        if let Some(effort) = self.0.effort.get(sink) {
            effort.throttled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From then on only the limit of attempts keeps an event from being sent; nothing: it does not.
    pub(in crate::serve) fn limited(&self, sink: SinkId, from: Option<Instant>, now: Instant) {
        if let Some(effort) = self.0.effort.get(sink) {
            effort.limited.lock().unwrap_or_else(PoisonError::into_inner).set(from, now);
        }
    }

    /// What the window of a sink holds.
    pub(in crate::serve) fn outlook(&self, sink: SinkId, outlook: Outlook) {
        let Some(effort) = self.0.effort.get(sink) else { return };
        for (gauge, events) in
            [(&effort.window, outlook.events), (&effort.blocked, outlook.blocked), (&effort.largest, outlook.largest)]
        {
            gauge.set(i64::try_from(events).unwrap_or(i64::MAX));
        }
    }

    /// All of it for one sink, in a report of nothing else.
    pub(in crate::serve) fn effort(&self, sink: SinkId, now: Instant) -> SinkReport {
        let Some(effort) = self.0.effort.get(sink) else { return SinkReport::default() };
        let count = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        SinkReport {
            attempts_total: self.attempts_total(sink),
            attempt_us_total: effort.attempt_us.load(Ordering::Relaxed),
            throttled_total: effort.throttled.load(Ordering::Relaxed),
            limited_us_total: micros(effort.limited_total(now)),
            blocked_events: count(&effort.blocked),
            largest_lane_events: count(&effort.largest),
            window_events: count(&effort.window),
            ..SinkReport::default()
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use crate::serve::lanes::Outlook;
    use crate::serve::metrics::AttemptOutcome;
    use std::time::{Duration, Instant};

    #[test]
    fn attempts_add_up_and_what_was_never_sent_is_none() {
        let (metrics, now) = (Metrics::new(&["a".to_owned(), "b".to_owned()]), Instant::now());
        metrics.attempt(1, AttemptOutcome::Delivered, Duration::from_millis(20));
        metrics.attempt(1, AttemptOutcome::Throttled, Duration::from_millis(10));
        metrics.throttled(1);
        metrics.unreadable(1);
        metrics.limited(1, Some(now + Duration::from_secs(2)), now);
        metrics.outlook(1, Outlook { events: 9, blocked: 5, largest: 4 });
        let effort = metrics.effort(1, now + Duration::from_secs(5));
        assert_eq!((effort.attempts_total, effort.attempt_us_total, effort.throttled_total), (2, 30_000, 1));
        assert_eq!(effort.limited_us_total, 3_000_000);
        assert_eq!((effort.window_events, effort.blocked_events, effort.largest_lane_events), (9, 5, 4));
        let other = metrics.effort(0, now + Duration::from_secs(5));
        assert_eq!((other.attempts_total, other.limited_us_total, other.window_events), (0, 0, 0));
    }
}
