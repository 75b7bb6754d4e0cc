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
//! come back together. [`CLEAN_TIME`] of serving makes up for all trips.
//!
//! Probing begins with a single attempt. If its answer is late, another is made beside it, up to [`PROBES`] of them: a
//! sink that hung may have forgotten the first, and is not to be left alone for a whole timeout because of it. The first
//! that is answered begins the ramp; when all have failed, the sink has.
//!
//! What ends late is not held against a later phase: each attempt carries the [`Ticket`] of its time.
//! May import nothing of this crate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use signalbox_contract::BreakerPhase;

/// Failures in a row that trip, if they span [`STREAK_TIME`].
const STREAK: u32 = 5;

/// A shorter time may be one hiccup: a restart of the sink breaks all of its connections at once. What was waited for the
/// first of them is part of it.
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

/// How long a trip lasts at most. So long may a sink be well again without being sent anything; and an outage that goes on is
/// seen to go on only when a probe fails, which the breaker of the region has to know within its window of 10 s. One request
/// in some seconds is nothing to a sink that is down.
pub(super) const LONGEST_TRIP: Duration = Duration::from_secs(4);

/// Probes one beside the other, if the answers of those before are late. They are made for six seconds, of a sink that
/// answers at once otherwise: so long it is watched closely.
const PROBES: usize = 8;

/// Serving for so long makes up for all trips: the next outage is a new one, and is to be watched as closely.
const CLEAN_TIME: Duration = Duration::from_secs(10);

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

/// The attempts of the first step of probing.
#[derive(Clone, Copy, Debug, Default)]
struct Probes {
    /// Since the last time that none was under way.
    made: usize,
    under_way: usize,
    /// When the answer of the latest is late.
    late_at: Option<Instant>,
}

impl Probes {
    /// When another may be made beside those that are under way.
    fn another_at(&self) -> Option<Instant> {
        self.late_at.filter(|_| self.under_way > 0 && self.made < PROBES)
    }
}

/// The breaker of one sink.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    ticket: u64,
    probes: Probes,
    trips: u32,
    streak: u32,
    streak_began: Instant,
    answered: Option<Instant>,
    /// Start, answered and failed of each second in which something ended.
    window: VecDeque<(Instant, u64, u64)>,
}

impl Breaker {
    /// The breaker of a sink of which nothing is known: Serving.
    pub(super) fn new(now: Instant) -> Self {
        let state = State::Serving { since: now };
        let probes = Probes::default();
        Self {
            state,
            ticket: 0,
            probes,
            trips: 0,
            streak: 0,
            streak_began: now,
            answered: None,
            window: VecDeque::new(),
        }
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

    /// How many attempts of this time may be under way, of the `limit` that the sink takes otherwise. A trip whose time
    /// is over ends here.
    pub(super) fn allowed(&mut self, now: Instant, limit: usize) -> usize {
        if matches!(self.state, State::Tripped { until } if until <= now) {
            self.become_(State::Probing { step: 1, answered: 0, failed: 0 });
        }
        match self.state {
            State::Serving { .. } => limit,
            State::Tripped { .. } | State::Gone => 0,
            State::Probing { step: 1, .. } => {
                let another = self.probes.under_way == 0 || self.probes.another_at().is_some_and(|at| at <= now);
                self.probes.under_way + usize::from(another)
            }
            State::Probing { step, .. } => step.min(limit),
        }
    }

    /// When [`Breaker::allowed`] may be more than now, unless an attempt ends before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Tripped { until } => Some(until),
            State::Probing { step: 1, .. } => self.probes.another_at(),
            _ => None,
        }
    }

    /// For an attempt that begins now.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.ticket)
    }

    /// An attempt begins. Its answer is late after `patience`.
    pub(super) fn began(&mut self, now: Instant, patience: Duration) {
        if self.first_probe() {
            let made = if self.probes.under_way == 0 { 0 } else { self.probes.made };
            let under_way = self.probes.under_way + 1;
            self.probes = Probes { made: made + 1, under_way, late_at: Some(now + patience) };
        }
    }

    /// An attempt that was `begun` then has ended. `limit` as in [`Breaker::allowed`]; `random` is any number.
    pub(super) fn ended(
        &mut self,
        ticket: Ticket,
        evidence: Evidence,
        begun: Instant,
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
        self.probes.under_way = self.probes.under_way.saturating_sub(1);
        match (&mut self.state, evidence) {
            (State::Serving { since }, Evidence::Failed) => {
                let since = *since;
                if !self.unwell(begun, now) {
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
                self.answered = Some(now);
                self.bucket(now).1 += 1;
                None
            }
            (State::Probing { step: 1, .. }, Evidence::Failed) if self.probes.under_way > 0 => None,
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
                if first {
                    // Other probes that are under way say nothing about the ramp.
                    self.ticket += 1;
                    self.probes = Probes::default();
                }
                if *step < limit {
                    (*step, *answered, *failed) = (step.saturating_mul(2).min(limit), 0, 0);
                    return first.then_some(Change::Answers);
                }
                self.streak = 0;
                self.answered = Some(now);
                self.window.clear();
                // The ramp's attempts go on counting: no new ticket.
                self.state = State::Serving { since: now };
                Some(Change::Serving)
            }
            _ => None,
        }
    }

    /// Takes in one failure, and tells whether it was one too many.
    fn unwell(&mut self, begun: Instant, now: Instant) -> bool {
        if self.streak == 0 {
            self.streak_began = self.answered.map_or(begun, |answered| begun.max(answered));
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
        self.trips = self.trips.saturating_add(1).min(SHORT_TRIPS + 2);
        self.become_(State::Tripped { until: now + Duration::from_millis(whole / 2 + random % (whole / 2 + 1)) });
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.ticket += 1;
        self.probes = Probes::default();
        self.streak = 0;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests;
