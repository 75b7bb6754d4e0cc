//! How each sink is doing, and the shard's report of itself. May import `failing`, the verdicts of `answer`, `log`, `metrics`, the totals of
//! `dead_letters`, the limits of `ingest`, `processor`, and `shutdown`'s phase.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use signalbox_contract::{LastFailure, ShardConfig, ShardReport, SinkReport, Usage};

use super::answer::Verdict;
use super::clock;
use super::dead_letters::Totals;
use super::failing::Row;
use super::ingest;
use super::log::{LogStats, Position};
use super::metrics::{Metrics, Reject};
use super::processor;
use super::shutdown::Phase;

/// Failures in a row after which a sink is logged as failing; its next success is then logged as its recovery. So
/// a single refused event does not make two lines of log each time it is tried.
const FAILING_AFTER: u64 = 3;

/// The failures of one sink: written by its task, read by the report.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed_total: AtomicU64,
    in_a_row: AtomicU64,
    row: Mutex<Row>,
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

    /// An attempt begins, and is late after `patience`.
    pub(super) fn began(&self, at: Instant, patience: Option<Duration>) {
        self.row().began(at, patience);
    }

    /// An attempt that was begun then has ended.
    pub(super) fn ended(&self, began: Instant, verdict: Option<Verdict>, now: Instant) {
        self.row().ended(began, verdict, now);
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// The backlog and the end of the log when it was opened.
    opened: OnceLock<(u64, Position)>,
    /// The most that was said to be settled.
    settled: AtomicU64,
    metrics: Metrics,
    health: Vec<Arc<Health>>,
}

impl Reporter {
    /// A reporter for a process that has just started.
    pub(super) fn new(config: Arc<ShardConfig>, metrics: Metrics, health: Vec<Arc<Health>>) -> Self {
        let incarnation = format!("{:016x}", crate::random::next());
        Self {
            config,
            incarnation,
            started: Instant::now(),
            given: AtomicU64::new(0),
            opened: OnceLock::new(),
            settled: AtomicU64::new(0),
            metrics,
            health,
        }
    }

    /// The log was opened, and held this.
    pub(super) fn opened(&self, stats: &LogStats) {
        // Once in the life of a process.
        let _ = self.opened.set((stats.events, stats.end));
    }

    /// Events settled since the log was opened. Never less than what was told: what departs is counted a moment early.
    fn settled_so_far(&self, stats: &LogStats) -> u64 {
        let settled = self.opened.get().map_or(0, |opened| settled(opened, stats));
        self.settled.fetch_max(settled, Ordering::Relaxed).max(settled)
    }

    /// The report at this moment. Whoever asks, each has a number of its own: of two, the one with the higher number was
    /// begun later.
    pub(super) fn report(&self, stats: &LogStats, dead: &Totals, phase: Phase) -> ShardReport {
        let sequence = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        let uptime_ms = millis(now - self.started);
        let refused = |reason| self.metrics.rejected_total(reason);
        let overloaded = refused(Reject::Overloaded);
        let now_us = clock::now_us();
        let sinks = self.config.sinks.iter().zip(&self.health).enumerate().map(|(id, (sink, health))| {
            let (breaker, limit, in_flight) = self.metrics.standing_now(id);
            let last = health.last.lock().unwrap_or_else(PoisonError::into_inner);
            let backlog_events = stats.sinks.get(id).copied().unwrap_or(0);
            // What was refused for good is told by its dead letters. Nothing else waits, so nothing fails now.
            let waits = backlog_events > 0;
            let in_a_row = if waits { health.in_a_row.load(Ordering::Relaxed) } else { 0 };
            SinkReport {
                name: sink.name.clone(),
                backlog_events,
                in_flight,
                delivered_total: self.metrics.delivered_total(id),
                failed_attempts_total: health.failed_total.load(Ordering::Relaxed),
                consecutive_failures: in_a_row,
                failing_ms: if waits { millis(health.row().lasted(now)) } else { 0 },
                phase: breaker,
                concurrency_limit: limit,
                dead_letters: dead.letters_of(&sink.name),
                last_failure: last
                    .as_ref()
                    .map(|(message, at)| LastFailure { message: message.clone(), age_ms: millis(at.elapsed()) }),
                ..self.metrics.effort(id, now)
            }
        });
        ShardReport {
            routing: None,
            traffic: None,
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
            settled_total: self.settled_so_far(stats),
            refused_total: [Reject::BacklogFull, Reject::DiskFull].map(refused).into_iter().sum::<u64>() + overloaded,
            usage: Usage {
                cpu_us_total: micros(processor::used()),
                cpu_limit_millis: processor::limit_millis(),
                disk_busy_us_total: micros(self.metrics.log_busy_total(now)),
                disk_wait_us_total: self.metrics.waited_us_total(),
                receive_refused_total: overloaded,
            },
            sinks: sinks.collect(),
        }
    }
}

/// Events that sinks settled since the log was opened: those that were there or came, are not there now, and did not go
/// elsewhere.
fn settled((events, end): &(u64, Position), stats: &LogStats) -> u64 {
    (events + stats.end.saturating_sub(*end)).saturating_sub(stats.events).saturating_sub(stats.departed)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Health, settled};
    use crate::serve::log::memory::{Disk, MemoryLog};
    use crate::serve::log::{LogStats, NewRecord, ShardLog as _, SinkSet};
    use bytes::Bytes;

    #[test]
    fn what_left_the_backlog_is_settled_whether_it_was_there_or_came() {
        let log = MemoryLog::open(&Disk::default(), &["a".to_owned()]);
        let record = NewRecord {
            accepted_at_us: 0,
            key: None,
            skip: SinkSet::default(),
            identity: 0,
            record: Bytes::from_static(b"event"),
        };
        log.append(&[record.clone(), record.clone()]).unwrap();
        let stats = log.stats().unwrap();
        let opened = (stats.events, stats.end);
        assert_eq!(settled(&opened, &stats), 0);
        log.append(&[record.clone(), record]).unwrap();
        assert_eq!(settled(&opened, &log.stats().unwrap()), 0);
        for (entry, so_far) in log.unsettled(0, 0, 10).unwrap().entries.into_iter().zip(1..) {
            log.settle(&[(0, entry)]).unwrap();
            log.settle(&[(0, entry)]).unwrap();
            let stats = log.stats().unwrap();
            assert_eq!(settled(&opened, &stats), so_far, "settling twice is settling once");
            assert_eq!(settled(&opened, &LogStats { departed: 1, ..stats }), so_far - 1, "what departs is not settled");
        }
    }

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
