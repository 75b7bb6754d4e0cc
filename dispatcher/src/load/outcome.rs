//! What has come of a run so far: counts and latencies. Pure: the time is an argument.
//!
//! All workers add to one, one request at a time: that costs less than what each would need to keep by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::intervals::Intervals;

/// Latencies are kept to three digits, from a microsecond to a minute.
pub(super) const HIGHEST_US: u64 = 60_000_000;

/// When a run is not worth going on with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fuse {
    /// An event was this late.
    pub(super) latency: Duration,
    /// So many requests have failed.
    pub(super) failures: u64,
}

/// What all workers have seen.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// Figures are taken of events meant to be sent from then on.
    measured_from: Instant,
    fuse: Option<Fuse>,
    /// Events sent at least once.
    pub(super) sent: u64,
    /// Events answered 2xx.
    pub(super) accepted: u64,
    /// Requests sent again.
    pub(super) retries: u64,
    /// Answers other than 2xx, by status.
    pub(super) rejected: BTreeMap<u16, u64>,
    /// Requests without an answer, by kind.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Of accepted events after the warm-up, from when they were meant to be sent, in microseconds.
    pub(super) latency: Histogram<u64>,
    /// How late requests were sent although their connection was free, in microseconds: the generator's own fault.
    pub(super) lag: Histogram<u64>,
    /// Time that all connections together have waited for answers.
    pub(super) busy: Duration,
    /// The same as it went.
    pub(super) intervals: Intervals,
    /// The fuse has blown.
    pub(super) blown: bool,
}

impl Outcome {
    /// Nothing yet.
    pub(super) fn new(measured_from: Instant, fuse: Option<Fuse>) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            measured_from,
            fuse,
            sent: 0,
            accepted: 0,
            retries: 0,
            rejected: BTreeMap::new(),
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
            lag: Histogram::new_with_bounds(1, HIGHEST_US, 2)?,
            busy: Duration::ZERO,
            intervals: Intervals::new()?,
            blown: false,
        })
    }

    /// A request with so many events is sent for the first time, so late by our own fault.
    pub(super) fn sends(&mut self, events: u64, intended: Instant, lag: Option<Duration>) {
        self.sent += events;
        if let Some(lag) = lag.filter(|_| intended >= self.measured_from) {
            self.lag.saturating_record(micros(lag));
        }
    }

    /// Its events, meant to be sent then, were accepted now.
    pub(super) fn accepts(&mut self, events: u64, intended: Instant, now: Instant) {
        self.accepted += events;
        if intended < self.measured_from {
            return;
        }
        let latency = now.saturating_duration_since(intended);
        self.latency.saturating_record_n(micros(latency), events);
        self.intervals.accepted(now.saturating_duration_since(self.measured_from), events, micros(latency));
        self.blown |= self.fuse.is_some_and(|fuse| latency > fuse.latency);
    }

    /// It was answered something else.
    pub(super) fn refused(&mut self, status: u16, now: Instant) {
        *self.rejected.entry(status).or_default() += 1;
        self.failed(now);
    }

    /// It was not answered.
    pub(super) fn unanswered(&mut self, kind: &'static str, now: Instant) {
        *self.errors.entry(kind).or_default() += 1;
        self.failed(now);
    }

    fn failed(&mut self, now: Instant) {
        if let Some(since) = now.checked_duration_since(self.measured_from) {
            self.intervals.failed(since);
        }
        self.blown |= self.fuse.is_some_and(|fuse| self.failures() >= fuse.failures);
    }

    /// Requests that were answered other than 2xx, or not at all.
    pub(super) fn failures(&self) -> u64 {
        self.rejected.values().chain(self.errors.values()).sum()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(HIGHEST_US)
}

#[cfg(test)]
mod tests {
    use super::{Fuse, Outcome};
    use std::time::{Duration, Instant};

    #[test]
    fn the_warm_up_counts_and_is_not_measured() {
        let start = Instant::now();
        let from = start + Duration::from_secs(1);
        let mut outcome = Outcome::new(from, None).unwrap();
        for (intended, latency) in [(start, 500), (from, 20), (from + Duration::from_secs(1), 10)] {
            outcome.sends(2, intended, Some(Duration::from_millis(3)));
            outcome.accepts(2, intended, intended + Duration::from_millis(latency));
        }
        assert_eq!((outcome.sent, outcome.accepted), (6, 6));
        assert_eq!((outcome.latency.len(), outcome.latency.max() / 1000, outcome.lag.len()), (4, 20, 2));
    }

    #[test]
    fn a_fuse_blows_on_a_late_answer_or_on_failures() {
        let now = Instant::now();
        let fuse = Some(Fuse { latency: Duration::from_secs(1), failures: 2 });
        let mut late = Outcome::new(now, fuse).unwrap();
        late.accepts(1, now, now + Duration::from_secs(1));
        assert!(!late.blown);
        late.accepts(1, now, now + Duration::from_secs(2));
        assert!(late.blown);
        let mut failing = Outcome::new(now, fuse).unwrap();
        failing.refused(429, now);
        assert!(!failing.blown);
        failing.unanswered("timeout", now);
        assert!(failing.blown);
        assert_eq!(failing.failures(), 2);
    }
}
