//! For how long a sink has failed without a break. Pure. May import the verdicts of `answer`, and `breaker`'s times.
//!
//! ```text
//! sent .  sent                                    sent            sent
//!    |      |......... no answer in time            |.. 500         |....... no answer yet, and it is late
//! answered  |<-------------------------------------------------- -->|       the row, until something is answered
//! ```
//!
//! A row goes from the beginning of its first attempt that failed to the beginning of its latest. What an attempt waited in
//! vain is not in it: a sink that has forgotten a request while it was away answers others long before that one's time is
//! over, and only those that were begun since know of it. So what a sink is away for is the most that a row can last,
//! however it was away. An attempt that is late counts as failed while it is under way, as soon as [`SEVERAL`] have failed
//! in earnest: of a sink that hangs, that is known sooner by all of its timeout. Nothing of it is from before the last
//! answer.
//!
//! The breaker begins anew with each of its phases; this does not, so it tells an outage from a hiccup also while the sink
//! is left alone. Failures that are further apart than [`GAP`] are of two rows: nothing waited in between, or it would have
//! been tried. A sink that refuses one event is there, and ends the row; one that throttles says nothing either way.

use std::time::{Duration, Instant};

use super::answer::Verdict;

/// Longer than a sink is left alone for which something waits, with the time that an attempt takes.
const GAP: Duration = Duration::from_mins(2);

/// Failures from which attempts that are late count.
const SEVERAL: u32 = 3;

/// The failures since something was answered.
#[derive(Debug, Default)]
pub(super) struct Row {
    answered: Option<Instant>,
    failures: Option<Failures>,
    /// Attempts under way that were begun in this row, the oldest first: when, and when they are late.
    under_way: Vec<(Instant, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// When the first was begun, and the latest.
    first: Instant,
    latest: Instant,
}

impl Row {
    /// An attempt begins, and is late after `patience`: nothing if that is not known.
    pub(super) fn began(&mut self, at: Instant, patience: Option<Duration>) {
        // Of a sink that is well nothing has to be kept.
        if self.failures.is_some()
            && let Some(patience) = patience
        {
            self.under_way.push((at, at + patience));
        }
    }

    /// An attempt that was begun then has ended. No verdict: it was none, nothing was sent.
    pub(super) fn ended(&mut self, began: Instant, verdict: Option<Verdict>, now: Instant) {
        if let Some(at) = self.under_way.iter().position(|(at, _)| *at == began) {
            self.under_way.remove(at);
        }
        match verdict {
            Some(Verdict::Taken | Verdict::Refused) => {
                self.answered = Some(now);
                self.failures = None;
                self.under_way.clear();
            }
            Some(Verdict::Failed | Verdict::TimedOut | Verdict::Gone) => {
                let began = self.answered.map_or(began, |answered| began.max(answered));
                let row = self.failures.filter(|row| began.saturating_duration_since(row.latest) <= GAP);
                self.failures = Some(row.map_or(Failures { count: 1, first: began, latest: began }, |row| Failures {
                    count: row.count.saturating_add(1),
                    latest: row.latest.max(began),
                    ..row
                }));
            }
            Some(Verdict::Throttled(_)) | None => {}
        }
    }

    /// From the first to the latest, as it is known now.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        let Some(row) = self.failures else { return Duration::ZERO };
        let late = self.under_way.iter().filter(|(_, late)| *late <= now).map(|(began, _)| *began).max();
        let latest = late.filter(|_| row.count >= SEVERAL).map_or(row.latest, |late| late.max(row.latest));
        latest.saturating_duration_since(row.first)
    }
}

#[cfg(test)]
mod tests;
