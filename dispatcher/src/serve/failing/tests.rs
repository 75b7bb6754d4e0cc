//! Rows by hand, and rows of sinks that go away in every way while a flow sends to them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use signalbox_contract::{Ordering, RetryConfig, SinkConfig};

use super::{Row, SEVERAL};
use crate::serve::answer::Verdict::{self, Failed, Gone, Refused, Taken, Throttled, TimedOut};
use crate::serve::flow::{Flow, Sent};
use crate::serve::log::{Entry, SinkSet};

/// What began, what ended and when, in seconds: how long the row is at the last end.
fn lasted(rows: &[(u64, u64, Verdict)]) -> u64 {
    let (start, mut row) = (Instant::now(), Row::default());
    let mut end = start;
    for (began, ended, verdict) in rows {
        end = start + Duration::from_secs(*ended);
        row.ended(start + Duration::from_secs(*began), Some(*verdict), end);
    }
    row.lasted(end).as_secs()
}

#[test]
fn a_row_lasts_from_the_beginning_of_its_first_failure_to_that_of_its_latest_and_ends_with_an_answer() {
    let throttled = Throttled(Duration::ZERO);
    for (rows, seconds) in [
        (&[][..], 0),
        (&[(3, 3, Failed)], 0),
        (&[(3, 8, TimedOut)], 0),
        (&[(3, 3, Failed), (4, 9, TimedOut), (10, 10, Failed)], 7),
        (&[(3, 8, TimedOut), (9, 14, TimedOut), (10, 15, TimedOut)], 7),
        (&[(3, 3, Failed), (10, 10, Taken)], 0),
        (&[(3, 3, Failed), (10, 10, Refused), (12, 12, Failed), (13, 13, Gone)], 1),
        (&[(3, 3, Failed), (4, 4, throttled), (9, 9, Failed), (99, 99, throttled)], 6),
        (&[(3, 3, Failed), (123, 123, Failed), (243, 243, Failed)], 240),
        (&[(3, 3, Failed), (124, 124, Failed), (126, 126, Failed)], 2),
    ] {
        assert_eq!(lasted(rows), seconds, "{rows:?}");
    }
}

#[test]
fn what_was_begun_before_the_last_answer_says_nothing_of_the_time_before_it() {
    assert_eq!(lasted(&[(1, 2, Taken), (0, 5, TimedOut), (1, 6, TimedOut)]), 0);
    assert_eq!(lasted(&[(1, 2, Taken), (0, 5, TimedOut), (4, 9, TimedOut)]), 2, "from the answer on");
}

#[test]
fn an_attempt_that_is_late_counts_as_failed_once_several_have_failed() {
    let (start, patience) = (Instant::now(), Duration::from_secs(1));
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut row = Row::default();
    row.began(at(0), Some(patience));
    assert_eq!(row.lasted(at(4)), Duration::ZERO, "of a sink that is well nothing is kept");
    for failures in 1..=SEVERAL {
        row.ended(at(0), Some(TimedOut), at(5));
        row.began(at(6), Some(patience));
        let known = if failures == SEVERAL { 6 } else { 0 };
        assert_eq!(row.lasted(at(7)), Duration::from_secs(known), "after {failures}");
    }
    assert_eq!(row.lasted(at(6)), Duration::ZERO, "it is not late yet");
    (0..SEVERAL).for_each(|_| row.ended(at(6), None, at(7)));
    assert_eq!(row.lasted(at(9)), Duration::ZERO, "what was not even sent");
    row.began(at(8), None);
    assert_eq!(row.lasted(at(99)), Duration::ZERO, "nobody knows how long its answers take");
    row.began(at(9), Some(patience));
    row.ended(at(8), Some(Taken), at(10));
    assert_eq!(row.lasted(at(99)), Duration::ZERO, "answered");
}

/// How a sink is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// It answers 500 at once.
    Fails,
    /// It answers when it is back.
    Hangs,
    /// It never answers what comes while it is away, nor what it was at work on.
    Forgets,
}

/// A sink to which events are sent, one of each key.
#[derive(Clone, Copy, Debug)]
struct Sink {
    timeout_ms: u64,
    /// Most attempts at once.
    most: u32,
    /// Events a second, for as long as it is looked at.
    rate: u64,
    /// What its answers take.
    takes_ms: u64,
    /// So long it is well first, in milliseconds.
    well_ms: u64,
    /// Then it is away like this for so long.
    away: (Away, u64),
    /// One event in so many always fails. 0: none does.
    poison: u64,
    seed: u64,
}

impl Sink {
    fn config(&self) -> SinkConfig {
        SinkConfig {
            name: "sink".to_owned(),
            uri: "http://sink/".to_owned(),
            timeout_ms: self.timeout_ms,
            max_concurrency: self.most,
            retry: RetryConfig { initial_backoff_ms: 200, max_backoff_ms: 30_000, max_attempts: None },
            ordering: Ordering::PerKey,
            filter: BTreeMap::new(),
            signing_secret_file: None,
        }
    }

    /// How the attempt that begins then ends, and when.
    fn answer(&self, began: u64, sent: &Sent) -> (Verdict, u64) {
        let (away, lasts) = self.away;
        let (gone, back) = (self.well_ms, self.well_ms + lasts);
        let given_up = began + self.timeout_ms;
        let verdict = if self.poison > 0 && sent.entry.position % self.poison == 1 { Failed } else { Taken };
        let answered = began + self.takes_ms;
        let (verdict, ends) = match away {
            Away::Fails if (gone..back).contains(&began) => (Failed, began + 1),
            Away::Hangs if (gone..back).contains(&answered) => (verdict, back + (answered - gone).min(self.takes_ms)),
            Away::Forgets if began < back && answered >= gone => return (TimedOut, given_up),
            Away::Fails | Away::Hangs | Away::Forgets => (verdict, answered),
        };
        if ends >= given_up { (TimedOut, given_up) } else { (verdict, ends) }
    }

    /// How long the row is, each millisecond after it went away.
    fn rows(&self, until: u64) -> Vec<u64> {
        let start = Instant::now();
        let (mut flow, mut row) = (Flow::new(&self.config(), start), Row::default());
        let (mut pushed, mut number, mut random) = (0, 0_u64, self.seed);
        let mut flying: BTreeMap<(u64, u64), (Sent, Verdict)> = BTreeMap::new();
        let mut rows = Vec::new();
        for ms in 0..self.well_ms + until {
            let now = start + Duration::from_millis(ms);
            while pushed < ms * self.rate / 1000 && flow.room() > 0 {
                let skip = SinkSet::default();
                flow.push(Entry { position: pushed, accepted_at_us: 0, key: Some(pushed), bytes: 100, skip });
                pushed += 1;
            }
            while let Some(first) = flying.first_entry().filter(|first| first.key().0 <= ms) {
                let (sent, verdict) = first.remove();
                row.ended(sent.at, Some(verdict), now);
                let ended = flow.ended(&sent, verdict, now, crate::random::next_of(&mut random));
                if verdict != Taken {
                    flow.wait(&sent, &ended, now, crate::random::next_of(&mut random));
                }
            }
            while let Some(sent) = flow.next(now) {
                row.began(now, flow.patience());
                let (verdict, ends) = self.answer(ms, &sent);
                number += 1;
                flying.insert((ends, number), (sent, verdict));
            }
            assert!(flying.len() <= usize::try_from(self.most).unwrap(), "{} under way", flying.len());
            if ms >= self.well_ms {
                rows.push(u64::try_from(row.lasted(now).as_millis()).unwrap());
            }
        }
        rows
    }
}

/// Sinks of many kinds that go away like this for so long.
fn sinks(aways: &[Away], lasts: u64) -> impl Iterator<Item = Sink> {
    let mut sinks = Vec::new();
    for (seed, timeout_ms) in (0..).zip([1_000, 2_000, 3_000, 4_000, 5_000, 5_000]) {
        for (rate, most) in [(3, 16), (20, 16), (200, 64), (2_000, 64)] {
            for away in aways {
                let away = (*away, lasts);
                let seed = seed * 31 + rate;
                sinks.push(Sink { timeout_ms, most, rate, takes_ms: 5, well_ms: 2_000, away, poison: 0, seed });
            }
        }
    }
    sinks.into_iter()
}

const AWAYS: [Away; 3] = [Away::Fails, Away::Hangs, Away::Forgets];

#[test]
fn a_row_is_no_longer_than_its_sink_was_away_however_it_was_away_and_over_soon_after() {
    for sink in sinks(&AWAYS, 5_000) {
        let rows = sink.rows(12_000);
        let longest = rows.iter().copied().max().unwrap();
        assert!(longest <= 5_050, "{longest} ms: {sink:?}");
        assert!(longest >= 2_000 || sink.away.0 != Away::Fails, "{longest} ms: {sink:?}");
        let over = rows.iter().rposition(|row| *row > 0).unwrap_or(0);
        assert!(over <= 7_500, "{over} ms: {sink:?}");
    }
}

#[test]
fn of_a_sink_that_stays_away_six_seconds_are_known_before_nine_have_passed() {
    for sink in sinks(&AWAYS, u64::MAX / 2) {
        let rows = sink.rows(12_000);
        let known = rows.iter().position(|row| *row >= 6_000).unwrap_or(usize::MAX);
        assert!(known <= 8_750, "after {known} ms: {sink:?}");
        assert!(rows[known..].is_sorted(), "{sink:?}");
    }
}

#[test]
fn a_slow_sink_of_which_an_event_fails_now_and_then_does_not_hang() {
    // Later most attempts are those of the events that always fail, again and again.
    for (takes_ms, poison) in [(3_000, 3), (4_000, 4), (4_900, 10)] {
        let away = (Away::Fails, 0);
        let sink = Sink { timeout_ms: 5_000, most: 16, rate: 1, takes_ms, well_ms: 12_000, away, poison, seed: 1 };
        let longest = sink.rows(40_000).into_iter().max().unwrap();
        assert!(longest < 6_000, "{longest} ms: {sink:?}");
    }
}

#[test]
fn a_slow_sink_that_was_away_has_no_longer_a_row_than_it_was_away() {
    for away in AWAYS {
        for (takes_ms, rate) in [(3_000, 2), (3_000, 20), (4_000, 3)] {
            let (away, well_ms) = ((away, 5_000), 12_000);
            let sink = Sink { timeout_ms: 5_000, most: 64, rate, takes_ms, well_ms, away, poison: 0, seed: 1 };
            let longest = sink.rows(30_000).into_iter().max().unwrap();
            assert!(longest < 6_000, "{longest} ms: {sink:?}");
        }
    }
}
