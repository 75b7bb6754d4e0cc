//! What the log holds, and how long it takes to make events durable. May import the figures of `log`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, int};
use crate::serve::clock;
use crate::serve::log::LogStats;

pub(super) struct LogMetrics {
    backlog_events: Gauge,
    backlog_bytes: Gauge,
    lost: Gauge,
    oldest_age: Gauge<f64, AtomicU64>,
    sync_seconds: Histogram,
    group_events: Histogram,
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
        Self { backlog_events, backlog_bytes, lost, oldest_age, sync_seconds, group_events }
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
}
