//! How many attempts at once a sink is trusted with. Pure: time is an argument.
//!
//! ```text
//! limit
//!   max |          ____      ______
//!       |        _/    \    /          doubles per round trip until the first cut,
//!       |      _/       \__/           then one more per round trip
//!     8 |_____/          ^
//!       |                a throttle, a timeout, or answers that take far longer than they used to
//! ```
//!
//! A sink that answers in its usual time gets more, and one that is being overrun gets less, before it falls over.
//! The limit only grows while it is what holds deliveries back: one that was never reached proves nothing. Rounds
//! are as long as an answer usually takes. Within one round it is cut once, however many answers say so: they were
//! all sent at the old limit. May import nothing of this crate.

use std::time::{Duration, Instant};

/// Where it begins, and begins again after a trip.
const START: usize = 8;

/// No round is shorter than this: with fewer answers, a mean says little.
const SHORTEST_ROUND: Duration = Duration::from_millis(5);

/// Answers that are late by no more than this are not late: a pause of the machine takes as long.
const LATE: f64 = 0.05;

/// Weight of the newest round in what is usual.
const NEWEST: f64 = 0.3;

/// What the end of an attempt says about the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Answered, after so long.
    Answered(Duration),
    /// Asked to be left alone, or did not answer in time: too much.
    Overrun,
    /// Nothing.
    Nothing,
}

/// The limit of one sink.
#[derive(Debug)]
pub(super) struct Limit {
    max: usize,
    now: usize,
    /// Until the first cut.
    doubling: bool,
    /// Seconds that an answer takes, usually, and how far it usually is off.
    usual: Option<(f64, f64)>,
    round_began: Option<Instant>,
    answers: u32,
    seconds: f64,
    /// For so many rounds more it counts as reached.
    reached: u8,
    cut: bool,
}

impl Limit {
    /// A limit that stays between 1 and `max`.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            now: START.min(max.max(1)),
            doubling: true,
            usual: None,
            round_began: None,
            answers: 0,
            seconds: 0.0,
            reached: 0,
            cut: false,
        }
    }

    /// So many may be under way.
    pub(super) fn current(&self) -> usize {
        self.now
    }

    /// The most that it can be.
    pub(super) fn most(&self) -> usize {
        self.max
    }

    /// The sink was down: what was learned before is of another time.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.max);
    }

    /// As many attempts are under way as may be: it is the limit that holds deliveries back.
    pub(super) fn reached(&mut self) {
        self.reached = 2;
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, sample: Sample, now: Instant) {
        match sample {
            Sample::Nothing => return,
            Sample::Overrun => self.cut_to(self.now / 2),
            Sample::Answered(took) => {
                self.answers += 1;
                self.seconds += took.as_secs_f64();
                if self.holds_back() && self.doubling && !self.cut {
                    self.now = (self.now + 1).min(self.max);
                }
            }
        }
        let began = *self.round_began.get_or_insert(now);
        let usual = Duration::from_secs_f64(self.usual.map_or(0.0, |(mean, _)| mean));
        if now.saturating_duration_since(began) >= usual.max(SHORTEST_ROUND) {
            self.end_round(now);
        }
    }

    fn end_round(&mut self, now: Instant) {
        if self.answers > 0 {
            let mean = self.seconds / f64::from(self.answers);
            let (usual, off) = self.usual.unwrap_or((mean, mean / 2.0));
            let late = mean - usual;
            if late > LATE.max(usual + 3.0 * off) {
                self.cut_to(self.now - self.now / 10 - 1);
            } else if self.holds_back() && !self.doubling && !self.cut {
                self.now = (self.now + 1).min(self.max);
            }
            self.usual = Some((usual + NEWEST * late, off + NEWEST * (late.abs() - off)));
        }
        self.round_began = Some(now);
        self.reached = self.reached.saturating_sub(1);
        (self.answers, self.seconds, self.cut) = (0, 0.0, false);
    }

    /// Whether it was reached in this round or the one before, whose attempts end in this one.
    fn holds_back(&self) -> bool {
        self.reached > 0
    }

    fn cut_to(&mut self, limit: usize) {
        if !self.cut {
            self.now = limit.max(1);
            self.doubling = false;
            self.cut = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Limit, START, Sample};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// One round trip in which as many as the limit allows are answered after `took`.
    fn round(limit: &mut Limit, now: &mut Instant, took: Duration) {
        *now += took;
        limit.reached();
        for _ in 0..limit.current() {
            limit.ended(Sample::Answered(took), *now);
        }
    }

    #[test]
    fn a_healthy_sink_is_trusted_with_all_of_64_after_three_round_trips() {
        for took in [1, 20, 500].map(Duration::from_millis) {
            let (mut limit, mut now) = (Limit::new(64), Instant::now());
            assert_eq!(limit.current(), START);
            for _ in 0..3 {
                round(&mut limit, &mut now, took);
            }
            assert_eq!(limit.current(), 64, "{took:?}");
        }
    }

    #[test]
    fn a_limit_that_is_not_reached_does_not_grow() {
        let (mut limit, mut now) = (Limit::new(64), Instant::now());
        for _ in 0..1000 {
            now += Duration::from_millis(3);
            limit.ended(Sample::Answered(Duration::from_millis(3)), now);
        }
        assert_eq!(limit.current(), START);
    }

    #[test]
    fn one_round_of_throttling_cuts_once_and_the_way_back_is_one_per_round_trip() {
        let took = Duration::from_millis(20);
        let (mut limit, mut now) = (Limit::new(64), Instant::now());
        for _ in 0..5 {
            round(&mut limit, &mut now, took);
        }
        for _ in 0..64 {
            limit.ended(Sample::Overrun, now);
        }
        assert_eq!(limit.current(), 32);
        let before = limit.current();
        for _ in 0..10 {
            round(&mut limit, &mut now, took);
        }
        assert!((before + 5..=before + 10).contains(&limit.current()), "{}", limit.current());
    }

    #[test]
    fn a_sink_that_throttles_all_the_time_is_sent_one_at_a_time() {
        let (mut limit, mut now) = (Limit::new(64), Instant::now());
        for _ in 0..50 {
            now += Duration::from_millis(10);
            limit.ended(Sample::Overrun, now);
        }
        assert_eq!(limit.current(), 1);
    }

    #[test]
    fn answers_that_take_far_longer_cut_and_those_that_vary_do_not() {
        let (mut limit, mut now) = (Limit::new(64), Instant::now());
        for i in 0..50 {
            round(&mut limit, &mut now, Duration::from_millis(10 + i % 7));
        }
        assert_eq!(limit.current(), 64);
        for _ in 0..2 {
            round(&mut limit, &mut now, Duration::from_millis(800));
        }
        assert!(limit.current() < 64, "{}", limit.current());
    }

    proptest! {
        #[test]
        fn never_below_one_nor_above_the_most(
            max in 1..200_usize,
            samples in proptest::collection::vec((0..4_u8, 0..3_000_u64, any::<bool>()), 0..300),
        ) {
            let (mut limit, mut now) = (Limit::new(max), Instant::now());
            for (what, ms, reached) in samples {
                if reached {
                    limit.reached();
                }
                now += Duration::from_millis(ms / 3);
                let sample = match what {
                    0 => Sample::Overrun,
                    1 => Sample::Nothing,
                    _ => Sample::Answered(Duration::from_millis(ms)),
                };
                limit.ended(sample, now);
                prop_assert!((1..=max).contains(&limit.current()));
            }
        }
    }
}
