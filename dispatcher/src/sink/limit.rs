//! A limit of events per second. Pure: the time is an argument.

use std::time::Instant;

/// Seconds of the rate that may come at once after a quiet time.
const BURST_SECONDS: f64 = 0.1;

/// A bucket that fills at the rate that is allowed, and from which each event takes one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    left: f64,
    since: Option<Instant>,
}

impl Limit {
    /// Whether so many events at once are within `rate`. If they are, they have been taken.
    pub(super) fn take(&mut self, events: u32, rate: f64, now: Instant) -> bool {
        let most = (rate * BURST_SECONDS).max(1.0);
        self.left = match self.since {
            Some(since) => (self.left + now.saturating_duration_since(since).as_secs_f64() * rate).min(most),
            None => most,
        };
        self.since = Some(now);
        // A batch that is larger than the bucket must not wait for ever: a full bucket is enough, and then in debt.
        let fits = self.left >= f64::from(events).min(most);
        if fits {
            self.left -= f64::from(events);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;
    use std::time::{Duration, Instant};

    #[test]
    fn in_the_long_run_the_rate_is_what_is_taken_however_much_comes() {
        for (offered, batch) in [(80, 1), (100, 1), (1000, 1), (1000, 50)] {
            let (mut limit, start) = (Limit::default(), Instant::now());
            let taken: u32 = (0..10 * offered / batch)
                .filter(|index| {
                    let now =
                        start + Duration::from_secs(10).mul_f64(f64::from(index * batch) / f64::from(10 * offered));
                    limit.take(batch, 100.0, now)
                })
                .map(|_| batch)
                .sum();
            let expected = offered.min(100) * 10;
            assert!(taken.abs_diff(expected) <= 60, "{offered}/s in batches of {batch}: {taken} taken");
        }
    }
}
