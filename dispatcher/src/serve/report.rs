//! How each sink is doing, and the shard's report of itself. May import `log`, `metrics`, the totals of
//! `dead_letters`, the limits of `ingest`, and `shutdown`'s phase.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use signalbox_contract::{LastFailure, ShardConfig, ShardReport, SinkReport};

use super::clock;
use super::dead_letters::Totals;
use super::ingest;
use super::log::LogStats;
use super::metrics::Metrics;
use super::shutdown::Phase;

/// Failures in a row after which a sink is logged as failing; its next success is then logged as its recovery. So
/// a single refused event does not make two lines of log each time it is tried.
const FAILING_AFTER: u64 = 3;

/// The failures of one sink: written by its task, read by the report.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed_total: AtomicU64,
    in_a_row: AtomicU64,
    last: Mutex<Option<(String, Instant)>>,
}

impl Health {
    /// Something went wrong, whether or not it was an attempt.
    pub(super) fn note(&self, message: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((known, at)) if known == message => *at = Instant::now(),
            other => *other = Some((message.to_owned(), Instant::now())),
        }
    }

    /// An attempt failed. Tells whether that is worth a line in the log.
    pub(super) fn failed(&self, message: &str) -> bool {
        self.failed_total.fetch_add(1, Ordering::Relaxed);
        self.note(message);
        self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1 == FAILING_AFTER
    }

    /// An attempt succeeded. If the sink had been logged as failing: how many attempts in a row had failed.
    pub(super) fn succeeded(&self) -> Option<u64> {
        if self.in_a_row.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.in_a_row.swap(0, Ordering::Relaxed)).filter(|&failures| failures >= FAILING_AFTER)
    }
}

/// What a report is made of, besides the log.
#[derive(Debug)]
pub(super) struct Reporter {
    config: Arc<ShardConfig>,
    incarnation: String,
    started: Instant,
    /// Reports given so far.
    given: AtomicU64,
    metrics: Metrics,
    health: Vec<Arc<Health>>,
}

impl Reporter {
    /// A reporter for a process that has just started.
    pub(super) fn new(config: Arc<ShardConfig>, metrics: Metrics, health: Vec<Arc<Health>>) -> Self {
        let incarnation = format!("{:016x}", crate::random::next());
        Self { config, incarnation, started: Instant::now(), given: AtomicU64::new(0), metrics, health }
    }

    /// The report at this moment. Whoever asks, each has a number of its own: of two, the one with the higher number was
    /// begun later.
    pub(super) fn report(&self, stats: &LogStats, dead: &Totals, phase: Phase) -> ShardReport {
        let sequence = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        let uptime_ms = millis(self.started.elapsed());
        let now_us = clock::now_us();
        let sinks = self.config.sinks.iter().zip(&self.health).enumerate().map(|(id, (sink, health))| {
            let (breaker, limit, in_flight) = self.metrics.standing_now(id);
            let last = health.last.lock().unwrap_or_else(PoisonError::into_inner);
            let backlog_events = stats.sinks.get(id).copied().unwrap_or(0);
            // What was refused for good is told by its dead letters. Nothing else waits, so nothing fails now.
            let in_a_row = if backlog_events == 0 { 0 } else { health.in_a_row.load(Ordering::Relaxed) };
            SinkReport {
                name: sink.name.clone(),
                backlog_events,
                in_flight,
                delivered_total: self.metrics.delivered_total(id),
                failed_attempts_total: health.failed_total.load(Ordering::Relaxed),
                consecutive_failures: in_a_row,
                phase: breaker,
                concurrency_limit: limit,
                dead_letters: dead.letters_of(&sink.name),
                last_failure: last
                    .as_ref()
                    .map(|(message, at)| LastFailure { message: message.clone(), age_ms: millis(at.elapsed()) }),
                ..SinkReport::default()
            }
        });
        ShardReport {
            fleet: self.config.fleet.clone(),
            region: self.config.region.clone(),
            incarnation: self.incarnation.clone(),
            sequence,
            uptime_ms,
            accepting: phase.accepts() && ingest::reached(&self.config, stats, now_us).is_none(),
            backlog_events: stats.events,
            backlog_bytes: stats.bytes,
            oldest_event_age_ms: stats.oldest_accepted_at_us.map(|at| millis(clock::since(at, now_us))),
            accepted_total: self.metrics.accepted_total(),
            sinks: sinks.collect(),
            ..ShardReport::default()
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn a_sink_is_logged_when_it_starts_to_fail_and_when_it_recovers_and_not_in_between() {
        let health = Health::default();
        let lines: Vec<bool> = (0..6).map(|_| health.failed("connection refused")).collect();
        assert_eq!(lines, [false, false, true, false, false, false]);
        assert_eq!(health.succeeded(), Some(6));
        assert_eq!(health.succeeded(), None);
        assert!(!health.failed("answered 500"));
        assert_eq!(health.succeeded(), None);
    }
}
