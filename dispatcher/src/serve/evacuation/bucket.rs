//! How many events may go to another region now, to all of its shards together: a token bucket. Pure: the time is an argument.
//!
//! It holds a quarter of a second's worth, which is the most that goes at once after a pause, and lets nothing go while it is
//! less than half full, so that what goes in one batch is worth its sync.

use std::time::{Duration, Instant};

/// Part of a second's worth that may go at once.
const BURST: f64 = 0.25;

/// See the documentation of this file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Events a second. Nothing: as many as there are.
    rate: Option<f64>,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// No limit.
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: None, tokens: 0.0, at: now }
    }

    /// From now on so many a second. A bucket that had no limit begins empty.
    pub(super) fn limit(&mut self, rate: Option<f64>, now: Instant) {
        self.fill(now);
        self.rate = rate;
        self.tokens = self.tokens.min(self.most());
    }

    /// How many may go now. None, if it is not worth a batch.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of events, not below 0 and at most a second's worth"
    )]
    pub(super) fn available(&mut self, now: Instant) -> usize {
        self.fill(now);
        match self.rate {
            None => usize::MAX,
            Some(_) if self.tokens < self.worth() => 0,
            Some(_) => self.tokens as usize,
        }
    }

    /// So many may go now, of what is [available](Self::available) for this many who give: no one takes it all.
    pub(super) fn share(&mut self, among: usize, now: Instant) -> usize {
        let available = self.available(now);
        if available == usize::MAX { available } else { available.div_ceil(among.max(1)) }
    }

    /// So many have gone, or are about to.
    #[allow(clippy::cast_precision_loss, reason = "a number of events of one batch")]
    pub(super) fn take(&mut self, events: usize) {
        if self.rate.is_some() {
            self.tokens -= events as f64;
        }
    }

    /// Of those that were about to go, so many have not.
    #[allow(clippy::cast_precision_loss, reason = "a number of events of one batch")]
    pub(super) fn give_back(&mut self, events: usize) {
        self.tokens = (self.tokens + events as f64).min(self.most());
    }

    /// When it is worth a batch again.
    pub(super) fn ready_at(&self) -> Instant {
        match self.rate {
            Some(rate) if rate > 0.0 => {
                let missing = self.worth() - self.tokens;
                self.at + Duration::try_from_secs_f64(missing.max(0.0) / rate).unwrap_or(LONGEST).min(LONGEST)
            }
            _ => self.at,
        }
    }

    fn worth(&self) -> f64 {
        (self.most() / 2.0).max(1.0)
    }

    fn most(&self) -> f64 {
        self.rate.map_or(0.0, |rate| (rate * BURST).max(1.0))
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        if let Some(rate) = self.rate {
            self.tokens = (self.tokens + rate * passed.as_secs_f64()).min(self.most());
        }
    }
}

/// It is looked at again after so long, however low the rate is.
const LONGEST: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::Bucket;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    #[test]
    fn without_a_limit_everything_may_go_and_with_one_it_begins_empty() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        assert_eq!((bucket.available(now), bucket.ready_at()), (usize::MAX, now));
        bucket.take(1_000_000);
        bucket.limit(Some(100.0), now);
        assert_eq!(bucket.available(now), 0);
        assert_eq!(bucket.ready_at() - now, Duration::from_millis(125));
        assert_eq!(bucket.available(now + Duration::from_millis(125)), 12);
        assert_eq!(bucket.available(now + Duration::from_hours(1)), 25);
        bucket.limit(None, now);
        assert_eq!(bucket.available(now), usize::MAX);
    }

    #[test]
    fn a_rate_below_one_lets_one_go_now_and_then() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        bucket.limit(Some(0.1), now);
        assert_eq!((bucket.available(now), bucket.ready_at() - now), (0, Duration::from_secs(10)));
        assert_eq!(bucket.available(now + Duration::from_secs(10)), 1);
    }

    proptest! {
        #[test]
        fn in_no_span_goes_more_than_the_rate_and_one_burst(
            rate in 1..2000_u32,
            steps in proptest::collection::vec((0..700_u64, 1..5000_usize), 1..60),
        ) {
            let start = Instant::now();
            let (mut bucket, mut now, mut gone) = (Bucket::new(start), start, Vec::new());
            bucket.limit(Some(f64::from(rate)), now);
            for (wait, wanted) in steps {
                now += Duration::from_millis(wait);
                let events = bucket.available(now).min(wanted);
                bucket.take(events);
                gone.push((now, events));
                if bucket.available(now) == 0 {
                    let mut later = bucket;
                    let ready = bucket.ready_at().max(now) + Duration::from_micros(1);
                    prop_assert!(later.available(ready) > 0, "it never is ready");
                }
                for first in 0..gone.len() {
                    let events: usize = gone[first..].iter().map(|(_, events)| events).sum();
                    let span = (now - gone[first].0).as_secs_f64();
                    let most = f64::from(rate) * (span + 0.25) + 1.001;
                    prop_assert!(f64::from(u32::try_from(events).unwrap()) <= most, "{events} in {span} s");
                }
            }
        }
    }
}
