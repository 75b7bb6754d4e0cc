//! For how long a sink has failed without a break. Pure. May import the verdicts of `answer`, and `breaker`'s times.
//!
//! ```text
//! answered . . failed failed . (tripped) . probe failed . . . probe answered
//!              |<------------------------------------->|      the row is over
//! ```
//!
//! The breaker begins anew with each of its phases; this does not, so it tells an outage from a hiccup also while the sink
//! is left alone. Failures that are further apart than [`GAP`] are of two rows: nothing waited in between, or it would have
//! been tried. A sink that refuses one event is there, and ends the row; one that throttles says nothing either way.

use std::time::{Duration, Instant};

use super::answer::Verdict;
use super::breaker::LONGEST_TRIP;

/// Longer than a sink is left alone for which something waits, with the time that an attempt takes.
const GAP: Duration = Duration::from_secs(4 * LONGEST_TRIP.as_secs());

/// The failures since something was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row(Option<(Instant, Instant)>);

impl Row {
    /// An attempt has ended.
    pub(super) fn ended(&mut self, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Taken | Verdict::Refused => self.0 = None,
            Verdict::Failed | Verdict::TimedOut | Verdict::Gone => {
                let row = self.0.filter(|(_, latest)| now.saturating_duration_since(*latest) <= GAP);
                self.0 = Some((row.map_or(now, |(first, _)| first), now));
            }
            Verdict::Throttled(_) => {}
        }
    }

    /// From the first to the latest.
    pub(super) fn lasted(&self) -> Duration {
        self.0.map_or(Duration::ZERO, |(first, latest)| latest.saturating_duration_since(first))
    }
}

#[cfg(test)]
mod tests {
    use super::Row;
    use crate::serve::answer::Verdict::{self, Failed, Gone, Refused, Taken, Throttled, TimedOut};
    use std::time::{Duration, Instant};

    /// In seconds, what ended and when.
    fn lasted(rows: &[(u64, Verdict)]) -> u64 {
        let (start, mut row) = (Instant::now(), Row::default());
        for (at, verdict) in rows {
            row.ended(*verdict, start + Duration::from_secs(*at));
        }
        row.lasted().as_secs()
    }

    #[test]
    fn a_row_lasts_from_its_first_failure_to_its_latest_and_ends_with_an_answer() {
        let throttled = Throttled(Duration::ZERO);
        for (rows, seconds) in [
            (&[][..], 0),
            (&[(3, Failed)], 0),
            (&[(3, Failed), (4, TimedOut), (10, Failed)], 7),
            (&[(3, Failed), (10, Taken)], 0),
            (&[(3, Failed), (10, Refused), (12, Failed), (13, Gone)], 1),
            (&[(3, Failed), (4, throttled), (9, Failed), (99, throttled)], 6),
            (&[(3, Failed), (123, Failed), (243, Failed)], 240),
            (&[(3, Failed), (124, Failed), (126, Failed)], 2),
        ] {
            assert_eq!(lasted(rows), seconds, "{rows:?}");
        }
    }
}
