//! What the log holds, and how long it takes to make events durable. May import the figures of
//! `log`, and `stopwatch`.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, int, set_seconds};
use crate::serve::clock;
use crate::serve::log::LogStats;
use crate::serve::stopwatch::Stopwatch;

pub(super) struct LogMetrics {
    backlog_events: Gauge,
    backlog_bytes: Gauge,
    lost: Gauge,
    oldest_age: Gauge<f64, AtomicU64>,
    sync_seconds: Histogram,
    group_events: Histogram,
    busy: Mutex<Stopwatch>,
    /// The same as it is shown.
    busy_seconds: Counter<f64, AtomicU64>,
}

impl LogMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let backlog_events = Gauge::default();
        registry.register("backlog_events", "Events not yet settled at every sink", backlog_events.clone());
        let backlog_bytes = Gauge::default();
        registry.register("backlog_bytes", "Bytes that the backlog takes in the log", backlog_bytes.clone());
        let lost = Gauge::default();
        registry.register(
            "log_lost_events",
            "Events that were found damaged on disk since the start, and cannot be delivered",
            lost.clone(),
        );
        let oldest_age = Gauge::default();
        registry.register_with_unit(
            "oldest_event_age",
            "How long ago the oldest event of the backlog was accepted; 0 when it is empty",
            Unit::Seconds,
            oldest_age.clone(),
        );
        // 50 us to 1.6 s.
        let sync_seconds = Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        registry.register_with_unit(
            "log_sync",
            "Time to append one group of events and fdatasync it",
            Unit::Seconds,
            sync_seconds.clone(),
        );
        let group_events = Histogram::new(exponential_buckets(1.0, 2.0, 13));
        registry.register("log_group_events", "Events that shared one fdatasync", group_events.clone());
        let busy_seconds = Counter::default();
        registry.register_with_unit(
            "log_busy",
            "Time in which the log's thread was writing or waiting for the disk",
            Unit::Seconds,
            busy_seconds.clone(),
        );
        let busy = Mutex::default();
        Self { backlog_events, backlog_bytes, lost, oldest_age, sync_seconds, group_events, busy, busy_seconds }
    }

    /// Takes over how long the log was busy.
    pub(super) fn read_busy(&self, now: Instant) {
        set_seconds(&self.busy_seconds, self.busy_total(now));
    }

    fn busy_total(&self, now: Instant) -> Duration {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).total(now)
    }

    /// Takes over what the log says of itself.
    pub(super) fn read(&self, stats: &LogStats, now_us: i64) {
        self.backlog_events.set(int(stats.events));
        self.backlog_bytes.set(int(stats.bytes));
        self.lost.set(int(stats.lost));
        let age = stats.oldest_accepted_at_us.map_or(Duration::ZERO, |at| clock::since(at, now_us));
        self.oldest_age.set(age.as_secs_f64());
    }
}

impl Metrics {
    /// A group of events was made durable.
    pub(in crate::serve) fn group(&self, events: usize, took: Duration) {
        self.0.log.sync_seconds.observe(took.as_secs_f64());
        self.0.log.group_events.observe(f64::from(u32::try_from(events).unwrap_or(u32::MAX)));
    }

    /// From now on the log is writing, or it is not.
    pub(in crate::serve) fn log_is_busy(&self, busy: bool) {
        let now = Instant::now();
        let mut watch = self.0.log.busy.lock().unwrap_or_else(PoisonError::into_inner);
        watch.set(busy.then_some(now), now);
    }

    /// How long the log was writing so far, what it is writing now included.
    pub(in crate::serve) fn log_busy_total(&self, now: Instant) -> Duration {
        self.0.log.busy_total(now)
    }
}
