//! What one sink is sent, and when: its lanes, breaker, concurrency limit and retry budget, together. Pure: time and
//! randomness are arguments.
//!
//! ```text
//!            lanes: which event      breaker, limit: how many at once      budget: again, or not yet
//!                      \                          |                          /
//!  next() ----------------------------------> one attempt ----------------------> ended(): all four learn
//! ```
//!
//! An attempt that was begun before the breaker's phase is of another time: it takes no place of those that the phase
//! allows, as it may have been forgotten by its sink. Of all together, never more than the sink's `maxConcurrency` are under
//! way.
//!
//! May import `lanes`, `breaker`, `limit`, `budget`, `backoff`, `patience`, the verdicts of `answer`, and `log`.

use std::time::{Duration, Instant};

use signalbox_contract::{BreakerPhase, RetryConfig, SinkConfig};

use super::answer::Verdict;
use super::backoff::{self, MAX_RETRY_AFTER};
use super::breaker::{Breaker, Change, Evidence, Ticket};
use super::budget::Budget;
use super::lanes::{Lanes, Outlook, Setback};
use super::limit::{Limit, Sample};
use super::log::Entry;
use super::patience::{self, Patience};

/// How long a probe that has said nothing is put off at most, whatever its event waits for.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// An attempt under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) entry: Entry,
    /// Which attempt of this process it is, from 1 on.
    pub(super) attempt: u32,
    /// When it began.
    pub(super) at: Instant,
    ticket: Ticket,
}

impl Sent {
    /// How long it has been under way.
    pub(super) fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

/// What the end of an attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// For people.
    pub(super) change: Option<Change>,
    /// Failed attempts of this event that count towards its `maxAttempts`.
    pub(super) counted: u32,
    /// How long the sink wants to be left alone.
    asked_wait: Duration,
}

/// Where a sink is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) phase: BreakerPhase,
    /// Attempts at once that it is trusted with.
    pub(super) limit: usize,
    pub(super) in_flight: usize,
    /// Retries that are due, and wait for the budget.
    pub(super) retries_held: usize,
}

/// The flow of events to one sink.
#[derive(Debug)]
pub(super) struct Flow {
    retry: RetryConfig,
    lanes: Lanes,
    breaker: Breaker,
    limit: Limit,
    budget: Budget,
    patience: Patience,
    allowed: usize,
    /// Attempts under way, and those of them that are of the breaker's time.
    under_way: usize,
    current: usize,
    ticket: Ticket,
}

impl Flow {
    /// The flow to a sink of which nothing is known yet.
    pub(super) fn new(config: &SinkConfig, now: Instant) -> Self {
        let max = usize::try_from(config.max_concurrency).unwrap_or(usize::MAX);
        let breaker = Breaker::new(now);
        Self {
            retry: config.retry,
            lanes: Lanes::new(config.ordering),
            limit: Limit::new(max),
            budget: Budget::new(now),
            patience: Patience::default(),
            allowed: 0,
            under_way: 0,
            current: 0,
            ticket: breaker.ticket(),
            breaker,
        }
    }

    /// How many more events may be pushed.
    pub(super) fn room(&self) -> usize {
        self.lanes.room()
    }

    /// Takes in the next event of the log.
    pub(super) fn push(&mut self, entry: Entry) {
        self.lanes.push(entry);
    }

    /// The next attempt to make now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Sent> {
        self.allowed = self.breaker.allowed(now, self.limit.current());
        self.keep_up();
        if self.lanes.in_flight() >= self.beside(self.limit.current()) {
            self.limit.reached();
        }
        let allowed = self.beside(self.allowed);
        let next = if self.breaker.first_probe() {
            self.lanes.probe(now, allowed)?
        } else {
            self.lanes.next(now, allowed, self.budget.allows(now))?
        };
        self.breaker.began(now, self.patience.time().unwrap_or(patience::LEAST));
        (self.under_way, self.current) = (self.under_way + 1, self.current + 1);
        if next.on_budget {
            self.budget.retry();
        } else if next.attempt == 1 {
            self.budget.first_attempt();
        }
        Some(Sent { entry: next.entry, attempt: next.attempt, at: now, ticket: self.breaker.ticket() })
    }

    /// When [`Flow::next`] may have something that it has not now, unless an attempt ends before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.breaker.first_probe() {
            let another = if self.current == 0 { None } else { Some(self.breaker.wake_at()?) };
            return self.lanes.probe_at(self.limit.most(), another);
        }
        self.breaker.wake_at().or_else(|| self.lanes.wake_at(self.beside(self.allowed), self.budget.next()))
    }

    /// How long the sink's answers are waited for before they are late. Nothing if that is not known.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.patience.time()
    }

    /// What may be under way so that `allowed` of it are of the breaker's time.
    fn beside(&self, allowed: usize) -> usize {
        let older = self.under_way.saturating_sub(self.current);
        if allowed == 0 { 0 } else { allowed.saturating_add(older).min(self.limit.most()) }
    }

    /// The breaker's time may be another one.
    fn keep_up(&mut self) {
        if self.ticket != self.breaker.ticket() {
            (self.ticket, self.current) = (self.breaker.ticket(), 0);
        }
    }

    /// An attempt is under way no more.
    fn landed(&mut self, sent: &Sent) {
        self.under_way = self.under_way.saturating_sub(1);
        self.current = self.current.saturating_sub(usize::from(sent.ticket == self.ticket));
    }

    /// Where the sink is.
    pub(super) fn standing(&self) -> Standing {
        let limit = match self.breaker.phase() {
            BreakerPhase::Serving => self.limit.current(),
            BreakerPhase::Tripped | BreakerPhase::Probing => self.allowed,
        };
        let retries_held = self.lanes.retries_due();
        Standing { phase: self.breaker.phase(), limit, in_flight: self.lanes.in_flight(), retries_held }
    }

    /// From when on an event could be sent and only the limit of attempts keeps it, unless something ends before. What
    /// a breaker holds back while it is not Serving is not counted: there it is the sink that fails.
    pub(super) fn limited_from(&self, now: Instant) -> Option<Instant> {
        let reached = self.lanes.in_flight() >= self.beside(self.limit.current());
        if !reached || self.breaker.phase() != BreakerPhase::Serving {
            return None;
        }
        self.lanes.sendable_at(now, self.budget.next())
    }

    /// What waits here.
    pub(super) fn outlook(&self) -> Outlook {
        self.lanes.outlook()
    }

    /// An attempt has ended. An event that was taken is done; any other stays in flight until [`Flow::wait`] or
    /// [`Flow::done`].
    pub(super) fn ended(&mut self, sent: &Sent, verdict: Verdict, now: Instant, random: u64) -> Ended {
        let took = sent.took(now);
        let (evidence, sample) = match verdict {
            Verdict::Taken | Verdict::Refused => (Evidence::Answered, Sample::Answered(took)),
            Verdict::Throttled(_) => (Evidence::Neutral, Sample::Overrun),
            Verdict::Failed => (Evidence::Failed, Sample::Nothing),
            Verdict::TimedOut => (Evidence::Failed, Sample::Overrun),
            Verdict::Gone => (Evidence::Gone, Sample::Nothing),
        };
        self.landed(sent);
        if let Sample::Answered(took) = sample {
            self.patience.answered(took);
        }
        let current = sent.ticket == self.breaker.ticket();
        let limit = self.limit.current();
        if current && !self.breaker.first_probe() {
            self.limit.ended(sample, now);
        }
        let change = self.breaker.ended(sent.ticket, evidence, sent.at, now, limit, random);
        self.keep_up();
        match change {
            Some(Change::Tripped) => self.limit.restart(),
            Some(Change::Answers | Change::Serving) => {
                self.budget.refill();
                self.lanes.release();
            }
            Some(Change::Gone) | None => {}
        }
        let asked_wait = match verdict {
            Verdict::Throttled(wait) => wait.min(MAX_RETRY_AFTER),
            _ => Duration::ZERO,
        };
        if !asked_wait.is_zero() {
            self.lanes.hold(now + asked_wait);
        }
        let setback = match verdict {
            Verdict::Taken => {
                self.budget.taken();
                self.lanes.delivered(&sent.entry);
                return Ended { change, counted: 0, asked_wait };
            }
            Verdict::Refused => Setback::Refused,
            Verdict::Failed | Verdict::TimedOut if current && self.breaker.phase() == BreakerPhase::Serving => {
                Setback::Failed
            }
            Verdict::Failed | Verdict::TimedOut | Verdict::Throttled(_) | Verdict::Gone => Setback::Sink,
        };
        Ended { change, counted: self.lanes.failed(&sent.entry, setback), asked_wait }
    }

    /// The record of an event could not be read: it never was an attempt.
    pub(super) fn unreadable(&mut self, sent: &Sent, now: Instant) -> Ended {
        self.landed(sent);
        self.breaker.ended(sent.ticket, Evidence::Neutral, sent.at, now, self.limit.current(), 0);
        let counted = self.lanes.failed(&sent.entry, Setback::Ours);
        Ended { change: None, counted, asked_wait: Duration::ZERO }
    }

    /// The event is tried again, after its backoff and no sooner than its sink asked for.
    pub(super) fn wait(&mut self, sent: &Sent, ended: &Ended, now: Instant, random: u64) {
        let wait = |failures| backoff::wait(&self.retry, failures, random).max(ended.asked_wait);
        let until = self.lanes.wait(&sent.entry, now, wait);
        self.after_probe(sent, until, now);
    }

    /// The event should have been given up, and could not be: it is tried again after the longest backoff.
    pub(super) fn wait_longest(&mut self, sent: &Sent, now: Instant) {
        let longest = Duration::from_millis(self.retry.max_backoff_ms);
        self.lanes.wait(&sent.entry, now, |_| longest);
    }

    /// A probe that has said nothing is made again, but not at once: a probe does not heed what its event waits for.
    fn after_probe(&mut self, sent: &Sent, until: Instant, now: Instant) {
        if self.breaker.first_probe() && sent.ticket == self.breaker.ticket() {
            self.lanes.hold(until.min(now + LONGEST_HOLD));
        }
    }

    /// Sends nothing more of the events for which this holds. Of a lane all have to go, or none.
    pub(super) fn let_go(&mut self, goes: impl Fn(&Entry) -> bool) {
        self.lanes.let_go(goes);
    }

    /// Attempts under way of events that were let go of.
    pub(super) fn leaving(&self) -> usize {
        self.lanes.leaving()
    }

    /// The event is given up.
    pub(super) fn done(&mut self, sent: &Sent) {
        self.lanes.done(&sent.entry);
    }
}

#[cfg(test)]
mod tests;
