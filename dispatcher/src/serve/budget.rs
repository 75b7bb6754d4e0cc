//! How many retries a sink can bear. Pure: time is an argument.
//!
//! A bucket of tokens. Each retry takes one; none left: the retry waits, and nothing is dropped. What fills it:
//!
//! - a first attempt puts in [`PER_FIRST_ATTEMPT`], so a sink that fails everything gets at most 1.2 times of what it
//!   is meant to get;
//! - an event that the sink takes puts in [`PER_TAKEN`], so a sink that takes more than it fails is never held up;
//! - time puts in [`PER_SECOND`], so a sink that is sent nothing else gets its retries too.
//!
//! Over any time, retries are at most [`CAP`], and one a second, and a fifth of the first attempts, and one for each
//! event that was taken. Retries after a refusal (3xx, 4xx) are not counted here: `maxAttempts` bounds them, and it
//! would take for ever otherwise until a sink that takes nothing has refused everything. Breaking retries and not
//! first attempts is after Marc Brooker, Fixing retries with token buckets and circuit breakers, 2022.
//! May import nothing of this crate.

use std::time::{Duration, Instant};

/// Tokens of one first attempt.
const PER_FIRST_ATTEMPT: f64 = 0.2;

/// Tokens of one event that the sink takes.
const PER_TAKEN: f64 = 1.0;

/// Tokens of one second.
const PER_SECOND: f64 = 1.0;

/// Most tokens, and as many as there are to begin with: the retries that one hiccup of a sink may cause at once.
const CAP: f64 = 100.0;

/// The retry budget of one sink.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: f64,
    at: Instant,
}

impl Budget {
    /// A full bucket.
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: CAP, at: now }
    }

    /// Whether a retry may be made.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        self.add(PER_SECOND * now.saturating_duration_since(self.at).as_secs_f64());
        self.at = self.at.max(now);
        self.tokens >= 1.0
    }

    /// When [`Budget::allows`] next, if only time fills it.
    pub(super) fn next(&self) -> Instant {
        // A little later than exactly then, so that rounding does not make it a moment too early.
        self.at + Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / PER_SECOND) + Duration::from_millis(1)
    }

    /// An event is sent for the first time.
    pub(super) fn first_attempt(&mut self) {
        self.add(PER_FIRST_ATTEMPT);
    }

    /// An event is sent again. A probe may be, even when nothing is left.
    pub(super) fn retry(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }

    /// The sink has taken an event.
    pub(super) fn taken(&mut self) {
        self.add(PER_TAKEN);
    }

    /// The sink is back: what failed meanwhile may be sent again.
    pub(super) fn refill(&mut self) {
        self.tokens = CAP;
    }

    fn add(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(CAP);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, CAP, PER_SECOND};
    use std::time::{Duration, Instant};

    #[test]
    fn a_sink_that_fails_everything_gets_a_fifth_more_than_it_should_and_the_floor() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let (mut first, mut retries) = (0, 0);
        for ms in 0..300_000 {
            let now = start + Duration::from_millis(ms);
            budget.first_attempt();
            first += 1;
            while budget.allows(now) {
                budget.retry();
                retries += 1;
            }
        }
        let most = f64::from(first) * 0.2 + CAP + 300.0 * PER_SECOND;
        assert!(f64::from(retries) <= most + 1.0 && f64::from(retries) > most * 0.99, "{retries} of {most}");
    }

    #[test]
    fn a_sink_that_is_sent_nothing_else_gets_a_retry_a_second() {
        let mut now = Instant::now();
        let mut budget = Budget::new(now);
        while budget.allows(now) {
            budget.retry();
        }
        for _ in 0..100 {
            let next = budget.next();
            assert!(next > now && next - now <= Duration::from_millis(1_010), "{:?}", next - now);
            assert!(budget.allows(next));
            budget.retry();
            now = next;
        }
    }

    #[test]
    fn a_sink_that_takes_more_than_it_fails_is_never_held_up() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        // Each event fails once, and is taken at the second attempt.
        for _ in 0..100_000 {
            budget.first_attempt();
            assert!(budget.allows(now));
            budget.retry();
            budget.taken();
        }
    }

    #[test]
    fn a_sink_that_is_back_begins_anew() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..500 {
            budget.retry();
        }
        assert!(!budget.allows(now));
        budget.refill();
        assert!(budget.allows(now));
    }
}
