//! What trips, how it is probed, and what holds whatever a sink does.

use super::{Breaker, Change, Evidence, LONGEST_TRIP, PROBES, State, Ticket};
use proptest::prelude::*;
use signalbox_contract::BreakerPhase::{Probing, Serving, Tripped};
use std::time::{Duration, Instant};

const LIMIT: usize = 8;

/// When an answer is late.
const LATE: Duration = Duration::from_secs(1);

fn end(breaker: &mut Breaker, evidence: Evidence, now: Instant) -> Option<Change> {
    breaker.ended(breaker.ticket(), evidence, now, now, LIMIT, 0)
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
fn a_probe_whose_answer_is_late_gets_another_beside_it_and_the_first_that_is_answered_decides() {
    for (failed, answered) in [(PROBES - 1, true), (PROBES, false)] {
        let start = Instant::now();
        let mut breaker = tripped(start);
        let mut now = breaker.wake_at().unwrap();
        let first = breaker.ticket;
        for probes in 1..=PROBES {
            assert_eq!(breaker.allowed(now, LIMIT), probes);
            breaker.began(now, LATE);
            assert_eq!(breaker.allowed(now, LIMIT), probes, "its answer is not late");
            let another = breaker.wake_at();
            assert_eq!(another, (probes < PROBES).then(|| now + LATE));
            now = another.unwrap_or(now + LATE);
        }
        assert_eq!(breaker.allowed(now, LIMIT), PROBES, "that is all");
        let probe = breaker.ticket();
        assert_ne!(first, breaker.ticket);
        for left in (0..failed).rev() {
            assert!(breaker.first_probe(), "{left} and more are under way");
            assert_eq!(breaker.ended(probe, Evidence::Failed, start, now, LIMIT, 0), None);
        }
        assert_eq!(breaker.phase(), if answered { Probing } else { Tripped });
        if answered {
            assert_eq!(breaker.ended(probe, Evidence::Answered, start, now, LIMIT, 0), Some(Change::Answers));
            assert_eq!(breaker.allowed(now, LIMIT), 2);
        }
    }
}

#[test]
fn a_probe_that_says_nothing_is_followed_by_another_however_often() {
    let mut now = Instant::now();
    let mut breaker = tripped(now);
    now = breaker.wake_at().unwrap();
    for _ in 0..3 * PROBES {
        assert_eq!(breaker.allowed(now, LIMIT), 1);
        breaker.began(now, LATE);
        assert_eq!(end(&mut breaker, Evidence::Neutral, now), None);
    }
}

#[test]
fn five_that_were_waited_for_trip_at_once_and_not_if_another_was_answered_meanwhile() {
    for answered in [false, true] {
        let start = Instant::now();
        let now = start + Duration::from_secs(5);
        let mut breaker = Breaker::new(start);
        if answered {
            let then = start + Duration::from_millis(4_100);
            assert_eq!(breaker.ended(breaker.ticket(), Evidence::Answered, start, then, LIMIT, 0), None);
        }
        for _ in 0..5 {
            breaker.ended(breaker.ticket(), Evidence::Failed, start, now, LIMIT, 0);
        }
        assert_eq!(breaker.phase(), if answered { Serving } else { Tripped });
    }
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
        breaker.ended(old, Evidence::Failed, now, now, LIMIT, 0);
    }
    let until = breaker.wake_at().unwrap();
    breaker.allowed(until, LIMIT);
    for evidence in [Evidence::Failed, Evidence::Answered] {
        assert_eq!(breaker.ended(old, evidence, now, until, LIMIT, 0), None);
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
        breaker.ended(breaker.ticket(), evidence, now, now, LIMIT, crate::random::next_of(&mut state));
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
            prop_assert!(allowed <= limit.max(PROBES));
            prop_assert!((breaker.phase() == Tripped) == (allowed == 0));
            // A trip always ends: nothing but its time is needed.
            if allowed == 0 && breaker.state != State::Gone {
                let until = breaker.wake_at().unwrap();
                prop_assert!(until > now && until <= now + LONGEST_TRIP);
            }
            let current = |flying: &[(Ticket, Instant)], breaker: &Breaker| {
                flying.iter().filter(|(ticket, _)| *ticket == breaker.ticket()).count()
            };
            while current(&flying, &breaker) < breaker.allowed(now, limit) {
                flying.push((breaker.ticket(), now));
                breaker.began(now, LATE);
            }
            if breaker.first_probe() {
                let probes: Vec<_> = flying.iter().filter(|(ticket, _)| *ticket == breaker.ticket()).collect();
                prop_assert!(probes.len() <= PROBES, "{} probes at once", probes.len());
                let apart = probes.windows(2).all(|two| two[1].1.saturating_duration_since(two[0].1) >= LATE);
                prop_assert!(apart, "a probe beside one that is not late: {probes:?}");
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
            let (ticket, begun) = flying.remove(which.index(flying.len()));
            let evidence = match what {
                0 => Evidence::Gone,
                1..=4 => Evidence::Neutral,
                5..=9 => Evidence::Answered,
                _ => Evidence::Failed,
            };
            let before = breaker.phase();
            let change = breaker.ended(ticket, evidence, begun, now, limit, random);
            if change == Some(Change::Tripped) {
                prop_assert_eq!((before, breaker.phase()), (Serving, Tripped));
            }
        }
    }
}
