//! The counters of a shard, and their `OpenMetrics` text. Names begin with `signalbox_dispatcher_`.
//!
//! Handles are kept, so that counting on the hot path looks nothing up. What the log knows (backlog and age) is
//! not counted here a second time, but read when the text is asked for. May import `log` for its figures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::log::{LogStats, SinkId};

/// Why a request was not accepted: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs, reason = "each is explained where it is answered, in ingest/")]
pub(super) enum Reject {
    Malformed,
    UnsupportedMediaType,
    TooLarge,
    BacklogFull,
    Overloaded,
    SlowBody,
    BrokenBody,
    Stopping,
    LogFailed,
    WrongMethod,
    WrongPath,
}

/// How an attempt ended: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum AttemptOutcome {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reject,
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

#[derive(Clone)]
struct SinkMetrics {
    name: String,
    delivered: Counter,
    backlog: Gauge,
    in_flight: Gauge,
    latency: Histogram,
}

struct Inner {
    registry: Registry,
    accepted: Counter,
    unmatched: Counter,
    rejected: Family<ReasonLabel, Counter>,
    attempts: Family<AttemptLabel, Counter>,
    sinks: Vec<SinkMetrics>,
    backlog_events: Gauge,
    backlog_bytes: Gauge,
    oldest_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    sync_seconds: Histogram,
    group_events: Histogram,
}

/// All metrics of one shard. Cheap to clone.
#[derive(Clone)]
pub(super) struct Metrics(Arc<Inner>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Metrics for these sinks, all at zero.
    pub(super) fn new(sink_names: &[String]) -> Self {
        let mut registry = Registry::with_prefix("signalbox_dispatcher");
        let accepted = Counter::default();
        registry.register("accepted", "Events answered 202, each after it was on disk", accepted.clone());
        let unmatched = Counter::default();
        registry.register("unmatched", "Events answered 202 that no sink wanted, so not stored", unmatched.clone());
        let rejected = Family::<ReasonLabel, Counter>::default();
        registry.register("rejected", "Requests that were not accepted, by reason", rejected.clone());
        let backlog_events = Gauge::default();
        registry.register("backlog_events", "Events not yet settled at every sink", backlog_events.clone());
        let backlog_bytes = Gauge::default();
        registry.register("backlog_bytes", "Bytes that the backlog takes in the log", backlog_bytes.clone());
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

        let attempts = Family::<AttemptLabel, Counter>::default();
        registry.register("attempts", "Delivery attempts, by sink and outcome", attempts.clone());
        let delivered = Family::<SinkLabel, Counter>::default();
        registry.register("delivered", "Events that the sink answered 2xx", delivered.clone());
        let backlog = Family::<SinkLabel, Gauge>::default();
        registry.register("sink_backlog_events", "Events not yet settled at this sink", backlog.clone());
        let in_flight = Family::<SinkLabel, Gauge>::default();
        registry.register("in_flight", "Attempts under way", in_flight.clone());
        // 1 ms to 35 min.
        let latency = Family::<SinkLabel, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 2.0, 22))
        });
        registry.register_with_unit(
            "delivery_latency",
            "From accepting an event until the sink has answered 2xx",
            Unit::Seconds,
            latency.clone(),
        );
        let sinks = sink_names
            .iter()
            .map(|name| {
                let label = SinkLabel { sink: name.clone() };
                SinkMetrics {
                    name: name.clone(),
                    delivered: delivered.get_or_create(&label).clone(),
                    backlog: backlog.get_or_create(&label).clone(),
                    in_flight: in_flight.get_or_create(&label).clone(),
                    latency: latency.get_or_create(&label).clone(),
                }
            })
            .collect();
        Self(Arc::new(Inner {
            registry,
            accepted,
            unmatched,
            rejected,
            attempts,
            sinks,
            backlog_events,
            backlog_bytes,
            oldest_age,
            sync_seconds,
            group_events,
        }))
    }

    /// So many events were answered 202.
    pub(super) fn accepted(&self, events: u64) {
        self.0.accepted.inc_by(events);
    }

    /// An event was answered 202 that no sink wanted.
    pub(super) fn unmatched(&self) {
        self.0.unmatched.inc();
    }

    /// Events answered 202 so far.
    pub(super) fn accepted_total(&self) -> u64 {
        self.0.accepted.get()
    }

    /// A request was not accepted.
    pub(super) fn rejected(&self, reason: Reject) {
        self.0.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A group of events was made durable.
    pub(super) fn group(&self, events: usize, took: Duration) {
        self.0.sync_seconds.observe(took.as_secs_f64());
        self.0.group_events.observe(f64::from(u32::try_from(events).unwrap_or(u32::MAX)));
    }

    /// An attempt ended.
    pub(super) fn attempt(&self, sink: SinkId, outcome: AttemptOutcome) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            self.0.attempts.get_or_create(&AttemptLabel { sink: metrics.name.clone(), outcome }).inc();
        }
    }

    /// An event was settled, so long after it was accepted.
    pub(super) fn delivered(&self, sink: SinkId, latency: Duration) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            metrics.delivered.inc();
            metrics.latency.observe(latency.as_secs_f64());
        }
    }

    /// Events that this sink answered 2xx so far.
    pub(super) fn delivered_total(&self, sink: SinkId) -> u64 {
        self.0.sinks.get(sink).map_or(0, |metrics| metrics.delivered.get())
    }

    /// So many attempts are under way.
    pub(super) fn in_flight(&self, sink: SinkId, attempts: usize) {
        if let Some(metrics) = self.0.sinks.get(sink) {
            metrics.in_flight.set(i64::try_from(attempts).unwrap_or(i64::MAX));
        }
    }

    /// Attempts under way.
    pub(super) fn in_flight_now(&self, sink: SinkId) -> u64 {
        self.0.sinks.get(sink).map_or(0, |metrics| u64::try_from(metrics.in_flight.get()).unwrap_or(0))
    }

    /// The `OpenMetrics` text, with the log's own figures if it is open.
    pub(super) fn text(&self, log: Option<&LogStats>, now_us: i64) -> Result<String, fmt::Error> {
        let inner = &*self.0;
        if let Some(stats) = log {
            let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            inner.backlog_events.set(int(stats.events));
            inner.backlog_bytes.set(int(stats.bytes));
            let age = stats.oldest_accepted_at_us.map_or(Duration::ZERO, |at| super::clock::since(at, now_us));
            inner.oldest_age.set(age.as_secs_f64());
            for (metrics, backlog) in inner.sinks.iter().zip(&stats.sinks) {
                metrics.backlog.set(int(*backlog));
            }
        }
        let mut out = String::new();
        text::encode(&mut out, &inner.registry)?;
        Ok(out)
    }
}
