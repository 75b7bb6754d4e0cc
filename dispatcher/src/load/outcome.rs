//! What came of a run: counts, latencies, and how they are told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept to three digits, from a microsecond to a minute.
const HIGHEST_US: u64 = 60_000_000;

/// What one worker, or all of them, have seen.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Events sent at least once.
    pub(super) sent: u64,
    /// Events answered 202.
    pub(super) accepted: u64,
    /// Requests sent again.
    pub(super) retries: u64,
    /// Answers other than 2xx, by status.
    pub(super) rejected: BTreeMap<u16, u64>,
    /// Requests without an answer, by kind.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Of accepted events, from when they were meant to be sent, in microseconds.
    pub(super) latency: Histogram<u64>,
}

/// The result, as `--json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `source` of all events.
    pub source: String,
    /// Events sent at least once. Their ids are 0 to this, exclusive.
    pub sent: u64,
    /// Events answered 2xx.
    pub accepted: u64,
    /// Events sent and never answered 2xx. Some may have been accepted all the same, when their answer was lost.
    pub not_accepted: u64,
    /// Answers other than 2xx, by status.
    pub rejected: BTreeMap<u16, u64>,
    /// Requests without an answer: `connect`, `timeout` or `broken`.
    pub errors: BTreeMap<&'static str, u64>,
    /// Requests sent again.
    pub retries: u64,
    /// From the first event's time to the last answer.
    pub elapsed_seconds: f64,
    /// Events per second asked for. 0: as fast as possible.
    pub target_rate: f64,
    /// Accepted events per second of `elapsed_seconds`.
    pub achieved_rate: f64,
    /// Of accepted events, from when they were meant to be sent to their answer.
    pub latency_ms: LatencyMs,
}

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencyMs {
    /// Half are below.
    pub p50: f64,
    /// 90 % are below.
    pub p90: f64,
    /// 99 % are below.
    pub p99: f64,
    /// 99.9 % are below.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Outcome {
    /// Nothing yet.
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            sent: 0,
            accepted: 0,
            retries: 0,
            rejected: BTreeMap::new(),
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
        })
    }

    /// Adds what another worker has seen.
    pub(super) fn add(&mut self, other: &Self) -> Result<(), hdrhistogram::AdditionError> {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.retries += other.retries;
        for (&status, count) in &other.rejected {
            *self.rejected.entry(status).or_default() += count;
        }
        for (&kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.latency.add(&other.latency)
    }

    /// An event was accepted so long after it was meant to be sent.
    pub(super) fn accepted(&mut self, latency: Duration) {
        self.accepted += 1;
        self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(HIGHEST_US));
    }

    /// The whole run.
    #[expect(clippy::cast_precision_loss, reason = "for people, to three digits")]
    pub(super) fn report(&self, source: String, target_rate: f64, elapsed: Duration) -> Report {
        let quantile = |q| self.latency.value_at_quantile(q) as f64 / 1000.0;
        Report {
            source,
            sent: self.sent,
            accepted: self.accepted,
            not_accepted: self.sent - self.accepted,
            rejected: self.rejected.clone(),
            errors: self.errors.clone(),
            retries: self.retries,
            elapsed_seconds: elapsed.as_secs_f64(),
            target_rate,
            achieved_rate: self.accepted as f64 / elapsed.as_secs_f64(),
            latency_ms: LatencyMs {
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: self.latency.max() as f64 / 1000.0,
            },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "source    {}", self.source)?;
        writeln!(f, "sent      {} in {:.1} s", self.sent, self.elapsed_seconds)?;
        writeln!(f, "accepted  {} ({:.0}/s)", self.accepted, self.achieved_rate)?;
        writeln!(f, "lacking   {}", self.not_accepted)?;
        for (status, count) in &self.rejected {
            writeln!(f, "answered {status}  {count}")?;
        }
        for (kind, count) in &self.errors {
            writeln!(f, "{kind} errors  {count}")?;
        }
        writeln!(f, "retries   {}", self.retries)?;
        let LatencyMs { p50, p90, p99, p999, max } = self.latency_ms;
        write!(f, "latency   p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;
    use std::time::Duration;

    #[test]
    fn workers_add_up_and_what_is_lacking_shows() {
        let mut one = Outcome::new().unwrap();
        (one.sent, one.retries) = (3, 2);
        one.rejected.insert(429, 2);
        one.accepted(Duration::from_millis(2));
        one.accepted(Duration::from_hours(1));
        let mut all = Outcome::new().unwrap();
        all.add(&one).unwrap();
        all.add(&one).unwrap();
        let report = all.report("/s".to_owned(), 10.0, Duration::from_secs(2));
        assert_eq!((report.sent, report.accepted, report.not_accepted, report.retries), (6, 4, 2, 4));
        assert_eq!((report.rejected[&429], report.achieved_rate), (4, 2.0));
        assert!((1.9..2.1).contains(&report.latency_ms.p50) && report.latency_ms.max > 59_000.0);
        assert!(report.to_string().contains("answered 429  4"));
        assert!(serde_json::to_string(&report).unwrap().contains(r#""rejected":{"429":4}"#));
    }
}
