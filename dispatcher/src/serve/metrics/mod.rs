//! The counters of a shard, and their `OpenMetrics` text. Names begin with `signalbox_dispatcher_`.
//!
//! One file per area, each with its metrics, their help, and the methods of [`Metrics`] that count them. Handles are
//! kept, so that counting on the hot path looks nothing up. What the log and the system know (backlog, age, memory)
//! is not counted here a second time, but read when the text is asked for. May import `log` and `dead_letters` for their figures.

mod claims;
mod dead_letters;
mod effort;
mod ingest;
mod log;
mod process;
mod regions;
mod sinks;
mod traces;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::log::LogStats;

pub(super) use ingest::Reject;
pub(super) use sinks::AttemptOutcome;

struct Inner {
    registry: Registry,
    claims: claims::ClaimMetrics,
    dead_letters: dead_letters::DeadLetterMetrics,
    ingest: ingest::IngestMetrics,
    log: log::LogMetrics,
    process: process::ProcessMetrics,
    regions: regions::RegionMetrics,
    sinks: Vec<sinks::SinkMetrics>,
    effort: Vec<effort::Effort>,
    traces: traces::TraceMetrics,
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
        let claims = claims::ClaimMetrics::register(&mut registry);
        let dead_letters = dead_letters::DeadLetterMetrics::register(&mut registry, sink_names);
        let ingest = ingest::IngestMetrics::register(&mut registry);
        let log = log::LogMetrics::register(&mut registry);
        let process = process::ProcessMetrics::register(&mut registry);
        let regions = regions::RegionMetrics::register(&mut registry);
        let sinks = sinks::register(&mut registry, sink_names);
        let effort = effort::register(&mut registry, sink_names);
        let traces = traces::TraceMetrics::register(&mut registry);
        Self(Arc::new(Inner { registry, claims, dead_letters, ingest, log, process, regions, sinks, effort, traces }))
    }

    /// The `OpenMetrics` text, with the log's own figures if it is open.
    pub(super) fn text(&self, log: Option<&LogStats>, now_us: i64) -> Result<String, fmt::Error> {
        let inner = &*self.0;
        if let Some(stats) = log {
            inner.log.read(stats, now_us);
            for (sink, backlog) in inner.sinks.iter().zip(&stats.sinks) {
                sink.backlog(*backlog);
            }
        }
        inner.process.read();
        let now = Instant::now();
        inner.log.read_busy(now);
        for effort in &inner.effort {
            effort.read(now);
        }
        let mut out = String::new();
        text::encode(&mut out, &inner.registry)?;
        Ok(out)
    }
}

/// Sets a counter of seconds, which only takes what is added. Two readers at once may each see the other's: never less
/// than before.
fn set_seconds(counter: &Counter<f64, AtomicU64>, total: Duration) {
    counter.inner().store(total.as_secs_f64().to_bits(), Ordering::Relaxed);
}

/// A count as a gauge takes it.
fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{AttemptOutcome, Metrics};
    use std::time::Duration;

    #[test]
    fn everything_is_there_from_the_start_and_counts_under_its_own_name() {
        let metrics = Metrics::new(&["a".to_owned(), "b".to_owned()]);
        metrics.attempt(1, AttemptOutcome::TimedOut, Duration::from_millis(1500));
        let text = metrics.text(None, 0).unwrap();
        for line in [
            "signalbox_dispatcher_accepted_total 0",
            "signalbox_dispatcher_attempts_total{sink=\"a\",outcome=\"TimedOut\"} 0",
            "signalbox_dispatcher_attempts_total{sink=\"b\",outcome=\"TimedOut\"} 1",
            "signalbox_dispatcher_delivered_total{sink=\"b\"} 0",
            "signalbox_dispatcher_attempt_seconds_total{sink=\"b\"} 1.5",
            "signalbox_dispatcher_limited_seconds_total{sink=\"a\"} 0.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        for name in ["cpu_seconds_total", "cpu_limit_processors", "resident_bytes"] {
            let figure = text.lines().find_map(|line| line.strip_prefix(&format!("signalbox_dispatcher_{name} ")));
            assert!(figure.is_some_and(|figure| figure.parse::<f64>().unwrap() > 0.0), "{name} in\n{text}");
        }
    }
}
