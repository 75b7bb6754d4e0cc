//! The table of the machine, row by row.

use super::super::machine::{Signs, next, sane};
use super::super::*;
use crate::fixtures::now;
use crate::fleet::BreakerIntent;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A breaker that has been where it is for so long, and was tripped once.
fn at(phase: BreakerPhase, step: u32, held: u64) -> BreakerMemory {
    let tripped = phase != BreakerPhase::Serving;
    BreakerMemory {
        phase,
        since: now() - seconds(held),
        until: (phase == BreakerPhase::Tripped).then(|| now() - seconds(held) + seconds(30)),
        step,
        trips: 1,
        cause: tripped.then_some(TripCause::SinkFailing),
    }
}

const SERVING: fn(u64) -> BreakerMemory = |held| at(BreakerPhase::Serving, 0, held);
const TRIPPED: fn(u64) -> BreakerMemory = |held| at(BreakerPhase::Tripped, 0, held);

fn probing(step: u32, held: u64) -> BreakerMemory {
    at(BreakerPhase::Probing, step, held)
}

fn nothing() -> Signs {
    Signs { reachable: true, ..Signs::default() }
}

fn clean() -> Signs {
    Signs { clean: true, ..nothing() }
}

fn trips() -> Signs {
    Signs { trip: Some(TripCause::SinkFailing), ..clean() }
}

fn relapses() -> Signs {
    Signs { relapse: Some(TripCause::SinkFailing), ..clean() }
}

fn unreachable() -> Signs {
    Signs { trip: Some(TripCause::Unreachable), ..Signs::default() }
}

/// Phase, step and trips after one look.
fn after(before: &BreakerMemory, signs: Signs) -> (BreakerPhase, u32, u32) {
    let next = next(before, signs, &BreakerIntent::default(), |_| 7, now());
    (next.phase, next.step, next.trips)
}

#[test]
fn each_row_of_the_table_is_as_it_says() {
    use BreakerPhase::{Probing, Serving, Tripped};
    let rows = [
        ("nothing", SERVING(5), nothing(), (Serving, 0, 1)),
        ("not reached is not said", SERVING(5), Signs::default(), (Serving, 0, 1)),
        ("a large share alone is no sign while it serves", SERVING(5), relapses(), (Serving, 0, 1)),
        ("evidence", SERVING(5), trips(), (Tripped, 0, 2)),
        ("hard evidence", SERVING(5), unreachable(), (Tripped, 0, 2)),
        ("its time is not over", TRIPPED(29), clean(), (Tripped, 0, 1)),
        ("evidence while tripped", TRIPPED(5), trips(), (Tripped, 0, 1)),
        ("over, and not reached", TRIPPED(300), Signs::default(), (Tripped, 0, 1)),
        ("over, and reached", TRIPPED(30), nothing(), (Probing, 0, 1)),
        ("hard evidence in the first step", probing(0, 1), unreachable(), (Tripped, 0, 2)),
        ("hard evidence later", probing(3, 1), unreachable(), (Tripped, 0, 2)),
        ("a row of failures later", probing(3, 1), trips(), (Tripped, 0, 2)),
        ("a large share in the first step", probing(0, 1), relapses(), (Tripped, 0, 2)),
        ("a large share later", probing(3, 60), relapses(), (Probing, 2, 1)),
        ("clean, too early", probing(0, 9), clean(), (Probing, 0, 1)),
        ("clean", probing(0, 10), clean(), (Probing, 1, 1)),
        ("clean in the last step, too early", probing(4, 9), clean(), (Probing, 4, 1)),
        ("clean in the last step", probing(4, 10), clean(), (Serving, 0, 1)),
        ("nothing while it probes", probing(2, 600), nothing(), (Probing, 2, 1)),
        ("not known while it probes", probing(2, 600), Signs::default(), (Probing, 2, 1)),
    ];
    for (what, before, signs, expected) in rows {
        assert_eq!(after(&before, signs), expected, "{what}: {before:?}, {signs:?}");
    }
}

#[test]
fn a_trip_lasts_twice_as_long_each_time_up_to_the_longest_and_half_of_it_is_drawn() {
    let intent = BreakerIntent::default();
    let lasts = |trips: u32, draw: u64| {
        let before = BreakerMemory { trips, ..SERVING(5) };
        let tripped = next(&before, trips_sign(), &intent, |_| draw, now());
        since(tripped.since, tripped.until.unwrap()).as_secs()
    };
    for (trips, half) in [(0, 15), (1, 30), (2, 60), (3, 120), (4, 240), (5, 300), (16, 300), (u32::MAX, 300)] {
        assert_eq!(lasts(trips, 0), half, "after {trips} trips");
        assert_eq!(lasts(trips, half * 1000), 2 * half, "after {trips} trips");
        for draw in [1, 12_345, u64::MAX] {
            assert!((half..=2 * half).contains(&lasts(trips, draw)), "after {trips} trips, {draw}");
        }
    }
}

fn trips_sign() -> Signs {
    trips()
}

#[test]
fn a_long_time_of_serving_makes_up_for_trips_and_probing_does_not() {
    let trips_after = |before: BreakerMemory| after(&BreakerMemory { trips: 5, ..before }, trips()).2;
    assert_eq!(trips_after(SERVING(599)), 6);
    assert_eq!(trips_after(SERVING(600)), 5);
    assert_eq!(trips_after(SERVING(1_800)), 3);
    assert_eq!(trips_after(SERVING(1_000_000)), 1);
    assert_eq!(trips_after(probing(2, 1_000_000)), 6);
}

#[test]
fn what_cannot_be_remembered_is_put_right_and_what_can_is_left_alone() {
    let intent = BreakerIntent::default();
    let right = |memory: BreakerMemory| sane(&memory, &intent, now());
    for memory in [SERVING(5), TRIPPED(5), TRIPPED(500), probing(4, 7)] {
        assert_eq!(right(memory), memory);
    }
    let late = BreakerMemory { until: Some(now() + seconds(86_400)), ..TRIPPED(5) };
    assert_eq!(right(late).until, Some(now() + seconds(600)), "a clock that was set back");
    let held = BreakerMemory { cause: Some(TripCause::Drained), ..late };
    assert_eq!(right(held), held, "somebody's will");
    assert_eq!(right(probing(99, 5)).step, 4, "a ramp that has become shorter");
    assert_eq!(right(BreakerMemory { since: now() + seconds(60), ..probing(1, 0) }).since, now());
    assert_eq!(right(BreakerMemory { trips: 4_000, ..SERVING(5) }).trips, 16);
}
