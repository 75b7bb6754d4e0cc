//! Whether a sink is sent anything, and how much. Pure: time and randomness are arguments.
//!
//! ```text
//!            5 failures in a row over 1 s, or 20 at once,
//!            or half of 20 and more attempts within 30 s          its time is over
//!   Serving -------------------------------------------> Tripped ----------------> Probing
//!      ^                                                  |   ^                      |
//!      |                                     410: for good|   |  more than half      | 1 attempt, then
//!      |                                                  v   |  of a step failed    | 2, 4, 8 ... at once
//!      |                                                (gone)+----------------------+
//!      +-----------------------------------------------------------------------------+
//!                                          the ramp has reached the limit
//! ```
//!
//! Only what says that the sink as a whole is unwell counts against it: 5xx, no answer in time, no connection. A
//! sink that refuses an event (other 3xx and 4xx) is there; one that throttles is neither well nor unwell.
//!
//! Tripped parks the queue: nothing is sent, so that a sink that comes back is not met by a storm. The first
//! [`SHORT_TRIPS`] last [`FIRST_TRIP`]: a sink that fails now and then, one event in three say, loses the coin toss of
//! the first probe again and again, and is not to be left alone for minutes because of it; one that was away for
//! some seconds is found again at once; and whoever watches learns early whether an outage goes on. Then the time
//! doubles with each relapse up to [`LONGEST_TRIP`]. Half of it is drawn, so that shards that tripped together do not
//! come back together. [`CLEAN_TIME`] of serving makes up for all trips. Probing begins with a single attempt. There are
//! never two of them: what was sent before the trip has to end first, which its timeout ensures.
//!
//! What ends late is not held against a later phase: each attempt carries the [`Ticket`] of its time.
//! May import nothing of this crate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use signalbox_contract::BreakerPhase;

/// Failures in a row that trip, if they span [`STREAK_TIME`].
const STREAK: u32 = 5;

/// A shorter time may be one hiccup: a restart of the sink breaks all of its connections at once.
const STREAK_TIME: Duration = Duration::from_secs(1);

/// Failures in a row that trip in any time.
const LONG_STREAK: u32 = 20;

/// The window over which the share of failures is taken.
const WINDOW: Duration = Duration::from_secs(30);

/// The window moves on in steps of this.
const BUCKET: Duration = Duration::from_secs(1);

/// Attempts from which their share of failures says something.
const WINDOW_ATTEMPTS: u64 = 20;

/// How long the first trip lasts at most.
const FIRST_TRIP: Duration = Duration::from_secs(1);

/// Trips in a row that last that long.
const SHORT_TRIPS: u32 = 8;

/// How long a trip lasts at most: so long may a sink be well again without being sent anything.
pub(super) const LONGEST_TRIP: Duration = Duration::from_secs(30);

/// Serving for so long makes up for all trips: the next outage is a new one, and is to be watched as closely.
const CLEAN_TIME: Duration = Duration::from_secs(30);

/// What the end of an attempt says about the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It answered 2xx, or refused this one event: it is there.
    Answered,
    /// It asked to be left alone for a while, or nothing can be said.
    Neutral,
    /// 5xx, no answer in time, no connection.
    Failed,
    /// 410: it is gone, for good.
    Gone,
}

/// The time of an attempt: between two changes of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// A change that people want to hear of. Relapses while probing are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// From Serving: the sink is left alone.
    Tripped,
    /// 410: the sink is left alone until this process ends.
    Gone,
    /// The first probe was answered: what waited for the sink waits no more.
    Answers,
    /// The ramp is over.
    Serving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving { since: Instant },
    Tripped { until: Instant },
    Gone,
    Probing { step: usize, answered: usize, failed: usize },
}

/// The breaker of one sink.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    ticket: u64,
    trips: u32,
    streak: u32,
    streak_began: Instant,
    /// Start, answered and failed of each second in which something ended.
    window: VecDeque<(Instant, u64, u64)>,
}

impl Breaker {
    /// The breaker of a sink of which nothing is known: Serving.
    pub(super) fn new(now: Instant) -> Self {
        let state = State::Serving { since: now };
        Self { state, ticket: 0, trips: 0, streak: 0, streak_began: now, window: VecDeque::new() }
    }

    /// Where it is.
    pub(super) fn phase(&self) -> BreakerPhase {
        match self.state {
            State::Serving { .. } => BreakerPhase::Serving,
            State::Tripped { .. } | State::Gone => BreakerPhase::Tripped,
            State::Probing { .. } => BreakerPhase::Probing,
        }
    }

    /// Whether the next attempt is the one that finds out whether the sink is back.
    pub(super) fn first_probe(&self) -> bool {
        matches!(self.state, State::Probing { step: 1, .. })
    }

    /// How many attempts may be under way, of the `limit` that the sink takes otherwise. A trip whose time is over
    /// ends here.
    pub(super) fn allowed(&mut self, now: Instant, limit: usize) -> usize {
        if matches!(self.state, State::Tripped { until } if until <= now) {
            self.become_(State::Probing { step: 1, answered: 0, failed: 0 });
        }
        match self.state {
            State::Serving { .. } => limit,
            State::Tripped { .. } | State::Gone => 0,
            State::Probing { step, .. } => step.min(limit),
        }
    }

    /// When [`Breaker::allowed`] may be more than now, unless an attempt ends before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Tripped { until } => Some(until),
            _ => None,
        }
    }

    /// For an attempt that begins now.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.ticket)
    }

    /// An attempt has ended. `limit` as in [`Breaker::allowed`]; `random` is any number.
    pub(super) fn ended(
        &mut self,
        ticket: Ticket,
        evidence: Evidence,
        now: Instant,
        limit: usize,
        random: u64,
    ) -> Option<Change> {
        if evidence == Evidence::Gone && self.state != State::Gone {
            self.become_(State::Gone);
            return Some(Change::Gone);
        }
        if ticket != self.ticket() {
            return None;
        }
        match (&mut self.state, evidence) {
            (State::Serving { since }, Evidence::Failed) => {
                let since = *since;
                if !self.unwell(now) {
                    return None;
                }
                if now.saturating_duration_since(since) >= CLEAN_TIME {
                    self.trips = 0;
                }
                self.trip(now, random);
                Some(Change::Tripped)
            }
            (State::Serving { .. }, Evidence::Answered) => {
                self.streak = 0;
                self.bucket(now).1 += 1;
                None
            }
            (State::Probing { step, failed, .. }, Evidence::Failed) => {
                *failed += 1;
                if *failed * 2 > *step {
                    self.trip(now, random);
                }
                None
            }
            (State::Probing { step, answered, failed }, Evidence::Answered) => {
                *answered += 1;
                if *answered < *step {
                    return None;
                }
                let first = *step == 1;
                if *step < limit {
                    (*step, *answered, *failed) = (step.saturating_mul(2).min(limit), 0, 0);
                    return first.then_some(Change::Answers);
                }
                self.streak = 0;
                self.window.clear();
                // The ramp's attempts go on counting: no new ticket.
                self.state = State::Serving { since: now };
                Some(Change::Serving)
            }
            _ => None,
        }
    }

    /// Takes in one failure, and tells whether it was one too many.
    fn unwell(&mut self, now: Instant) -> bool {
        if self.streak == 0 {
            self.streak_began = now;
        }
        self.streak = self.streak.saturating_add(1);
        self.bucket(now).2 += 1;
        let lasting = now.saturating_duration_since(self.streak_began) >= STREAK_TIME;
        if self.streak >= LONG_STREAK || (self.streak >= STREAK && lasting) {
            return true;
        }
        let (answered, failed) = self.window.iter().fold((0, 0), |(a, f), bucket| (a + bucket.1, f + bucket.2));
        answered + failed >= WINDOW_ATTEMPTS && failed >= answered
    }

    fn bucket(&mut self, now: Instant) -> &mut (Instant, u64, u64) {
        while self.window.front().is_some_and(|bucket| now.saturating_duration_since(bucket.0) >= WINDOW) {
            self.window.pop_front();
        }
        if self.window.back().is_none_or(|bucket| now.saturating_duration_since(bucket.0) >= BUCKET) {
            self.window.push_back((now, 0, 0));
        }
        let last = self.window.len() - 1;
        &mut self.window[last]
    }

    fn trip(&mut self, now: Instant, random: u64) {
        let doubled = FIRST_TRIP.saturating_mul(1 << self.trips.saturating_sub(SHORT_TRIPS - 1).min(16));
        let whole = u64::try_from(doubled.min(LONGEST_TRIP).as_millis()).unwrap_or(u64::MAX);
        self.trips = self.trips.saturating_add(1).min(SHORT_TRIPS + 5);
        self.become_(State::Tripped { until: now + Duration::from_millis(whole / 2 + random % (whole / 2 + 1)) });
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.ticket += 1;
        self.streak = 0;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, Change, Evidence, LONGEST_TRIP, State};
    use proptest::prelude::*;
    use signalbox_contract::BreakerPhase::{Probing, Serving, Tripped};
    use std::time::{Duration, Instant};

    const LIMIT: usize = 8;

    fn end(breaker: &mut Breaker, evidence: Evidence, now: Instant) -> Option<Change> {
        breaker.ended(breaker.ticket(), evidence, now, LIMIT, 0)
    }

    /// Milliseconds from the start, and what ended then.
    fn phase_after(rows: &[(u64, Evidence)]) -> signalbox_contract::BreakerPhase {
        let start = Instant::now();
        let mut breaker = Breaker::new(start);
        for (at, evidence) in rows {
            end(&mut breaker, *evidence, start + Duration::from_millis(*at));
        }
        breaker.phase()
    }

    fn tripped(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(now);
        for _ in 0..20 {
            end(&mut breaker, Evidence::Failed, now);
        }
        breaker
    }

    #[test]
    fn what_trips_and_what_does_not() {
        use Evidence::{Answered, Failed, Gone, Neutral};
        let row = |n: u64, gap: u64, evidence| (0..n).map(|i| (i * gap, evidence)).collect::<Vec<_>>();
        assert_eq!(phase_after(&row(5, 250, Failed)), Tripped, "five in a row over a second");
        assert_eq!(phase_after(&row(4, 1000, Failed)), Serving, "four are too few");
        assert_eq!(phase_after(&row(19, 10, Failed)), Serving, "nineteen at once may be one hiccup");
        assert_eq!(phase_after(&row(20, 0, Failed)), Tripped, "twenty at once are not");
        assert_eq!(phase_after(&row(100, 100, Neutral)), Serving, "throttling is no failure");
        assert_eq!(phase_after(&[(0, Gone)]), Tripped, "410");
        let alternating = |n: u64, gap: u64| -> Vec<_> {
            (0..n).map(|i| (i * gap, if i % 2 == 0 { Answered } else { Failed })).collect()
        };
        assert_eq!(phase_after(&alternating(18, 100)), Serving, "too few attempts to say");
        assert_eq!(phase_after(&alternating(20, 100)), Tripped, "half of twenty");
        assert_eq!(phase_after(&alternating(60, 2000)), Serving, "never twenty within the window");
        let third: Vec<_> = (0..300).map(|i| (i * 10, if i % 3 == 2 { Failed } else { Answered })).collect();
        assert_eq!(phase_after(&third), Serving, "a third fails");
    }

    #[test]
    fn a_trip_ends_in_one_probe_which_decides() {
        let now = Instant::now();
        let mut breaker = tripped(now);
        assert_eq!((breaker.phase(), breaker.allowed(now, LIMIT)), (Tripped, 0));
        let until = breaker.wake_at().unwrap();
        assert_eq!(until - now, Duration::from_millis(500));
        assert_eq!(breaker.allowed(until, LIMIT), 1);
        assert!(breaker.first_probe());
        // A relapse.
        assert_eq!(end(&mut breaker, Evidence::Failed, until), None);
        let again = breaker.wake_at().unwrap();
        assert_eq!(again - until, Duration::from_millis(500));
        // The ramp.
        assert_eq!(breaker.allowed(again, LIMIT), 1);
        assert_eq!(end(&mut breaker, Evidence::Answered, again), Some(Change::Answers));
        for step in [2, 4, 8] {
            assert_eq!((breaker.phase(), breaker.allowed(again, LIMIT)), (Probing, step));
            let changes: Vec<_> = (0..step).filter_map(|_| end(&mut breaker, Evidence::Answered, again)).collect();
            assert_eq!(changes, if step == 8 { vec![Change::Serving] } else { vec![] });
        }
        assert_eq!(breaker.phase(), Serving);
    }

    #[test]
    fn a_sink_of_which_a_tenth_fails_still_gets_through_the_ramp_and_one_of_which_most_fails_does_not() {
        let now = Instant::now();
        let mut breaker = tripped(now);
        let now = now + LONGEST_TRIP;
        breaker.allowed(now, LIMIT);
        for i in 0..30 {
            end(&mut breaker, if i % 10 == 9 { Evidence::Failed } else { Evidence::Answered }, now);
        }
        assert_eq!(breaker.phase(), Serving);
        let mut breaker = tripped(now);
        let now = now + LONGEST_TRIP;
        breaker.allowed(now, LIMIT);
        for i in 0..12 {
            end(&mut breaker, if i % 4 == 0 { Evidence::Answered } else { Evidence::Failed }, now);
        }
        assert_eq!(breaker.phase(), Tripped);
    }

    #[test]
    fn what_began_before_the_trip_says_nothing_about_the_probe() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        let old = breaker.ticket();
        for _ in 0..20 {
            breaker.ended(old, Evidence::Failed, now, LIMIT, 0);
        }
        let until = breaker.wake_at().unwrap();
        breaker.allowed(until, LIMIT);
        for evidence in [Evidence::Failed, Evidence::Answered] {
            assert_eq!(breaker.ended(old, evidence, until, LIMIT, 0), None);
            assert!(breaker.first_probe());
        }
    }

    #[test]
    fn trips_are_short_at_first_then_double_up_to_the_longest_and_serving_makes_up_for_them() {
        let mut now = Instant::now();
        let mut breaker = tripped(now);
        let mut waits = Vec::new();
        for _ in 0..15 {
            let until = breaker.wake_at().unwrap();
            waits.push(u64::try_from((until - now).as_millis()).unwrap());
            now = until;
            breaker.allowed(now, LIMIT);
            end(&mut breaker, Evidence::Failed, now);
        }
        // With nothing drawn, half of the whole.
        assert_eq!(waits[..9], [500, 500, 500, 500, 500, 500, 500, 500, 1000]);
        assert_eq!(waits[9..], [2000, 4000, 8000, 15_000, 15_000, 15_000]);
        for (served, wait) in [(29, 15_000), (30, 500)] {
            breaker.become_(State::Serving { since: now });
            now += Duration::from_secs(served);
            for _ in 0..20 {
                end(&mut breaker, Evidence::Failed, now);
            }
            assert_eq!(breaker.wake_at().unwrap() - now, Duration::from_millis(wait), "after {served} s");
        }
    }

    /// With a sink of which three in ten attempts fail, four at a time, one in a millisecond.
    fn parked_while_a_thousand_are_delivered(seed: u64) -> Duration {
        let mut state = seed;
        let mut now = Instant::now();
        let (mut breaker, mut parked, mut delivered) = (Breaker::new(now), Duration::ZERO, 0);
        while delivered < 1000 {
            if breaker.allowed(now, LIMIT) == 0 {
                let until = breaker.wake_at().unwrap();
                parked += until - now;
                now = until;
                continue;
            }
            now += Duration::from_millis(1);
            let fails = crate::random::next_of(&mut state) % 10 < 3;
            delivered += u64::from(!fails);
            let evidence = if fails { Evidence::Failed } else { Evidence::Answered };
            breaker.ended(breaker.ticket(), evidence, now, LIMIT, crate::random::next_of(&mut state));
        }
        parked
    }

    #[test]
    fn a_sink_that_fails_three_times_in_ten_is_parked_for_seconds_and_not_for_minutes() {
        let mut parked: Vec<_> = (0..1000).map(parked_while_a_thousand_are_delivered).collect();
        parked.sort_unstable();
        let (median, longest) = (parked[500], parked[999]);
        println!("{median:?} in the median, {longest:?} at most");
        assert!(median < Duration::from_secs(5) && longest < Duration::from_secs(20), "{median:?}, {longest:?}");
    }

    #[test]
    fn a_sink_that_is_gone_is_never_tried_again() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        assert_eq!(end(&mut breaker, Evidence::Gone, now), Some(Change::Gone));
        assert_eq!(end(&mut breaker, Evidence::Gone, now), None);
        assert_eq!((breaker.wake_at(), breaker.allowed(now + Duration::from_hours(24), LIMIT)), (None, 0));
    }

    proptest! {
        /// A sink that behaves at random, driven as `deliver` does it: never more at once than allowed.
        #[test]
        fn laws(
            limit in 1..100_usize,
            steps in proptest::collection::vec((0..20_u8, any::<prop::sample::Index>(), 0..2_000_u64, any::<u64>()), 1..400),
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(now);
            let mut flying = Vec::new();
            for (what, which, wait, random) in steps {
                let allowed = breaker.allowed(now, limit);
                prop_assert!(allowed <= limit);
                prop_assert!((breaker.phase() == Tripped) == (allowed == 0));
                // A trip always ends: nothing but its time is needed.
                if allowed == 0 && breaker.state != State::Gone {
                    let until = breaker.wake_at().unwrap();
                    prop_assert!(until > now && until <= now + LONGEST_TRIP);
                }
                while flying.len() < allowed {
                    flying.push(breaker.ticket());
                }
                if breaker.first_probe() {
                    let probes = flying.iter().filter(|ticket| **ticket == breaker.ticket()).count();
                    prop_assert!(probes <= 1, "{probes} probes at once");
                }
                if flying.is_empty() {
                    if let Some(until) = breaker.wake_at() {
                        now = until;
                        prop_assert_eq!(breaker.allowed(now, limit), 1);
                    } else {
                        prop_assert_eq!(breaker.state, State::Gone);
                    }
                    continue;
                }
                now += Duration::from_millis(wait);
                let ticket = flying.swap_remove(which.index(flying.len()));
                let evidence = match what {
                    0 => Evidence::Gone,
                    1..=4 => Evidence::Neutral,
                    5..=9 => Evidence::Answered,
                    _ => Evidence::Failed,
                };
                let before = breaker.phase();
                let change = breaker.ended(ticket, evidence, now, limit, random);
                if change == Some(Change::Tripped) {
                    prop_assert_eq!((before, breaker.phase()), (Serving, Tripped));
                }
            }
        }
    }
}
