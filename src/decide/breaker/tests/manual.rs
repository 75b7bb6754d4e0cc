//! Regions that somebody holds.

use super::super::*;
use crate::fixtures::{self, now};
use crate::fleet::{BreakerReason, HeldPhase, HoldPurpose, ManualIntent, RegionHold};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn hold(phase: HeldPhase, purpose: HoldPurpose) -> RegionHold {
    RegionHold { phase, until: now() + seconds(600), purpose }
}

/// A fleet whose regions are held like this.
fn held(holds: &[(&str, RegionHold)]) -> FleetIntent {
    let holds = holds.iter().map(|(name, hold)| ((*name).to_owned(), *hold)).collect();
    FleetIntent { manual: ManualIntent { holds, ..ManualIntent::default() }, ..fixtures::intent() }
}

fn remembering(memories: &[(&str, BreakerMemory)]) -> FleetMemory {
    let breakers = memories.iter().map(|(name, memory)| ((*name).to_owned(), *memory)).collect();
    FleetMemory { breakers, ..FleetMemory::default() }
}

fn at(intent: &FleetIntent, memory: &FleetMemory, time: Timestamp) -> BTreeMap<String, BreakerPlan> {
    let mut snapshot = fixtures::settled();
    for shard in snapshot.regions.values_mut().flat_map(|region| region.shards.values_mut()) {
        let crate::fleet::Observation::Reading { taken_at, .. } = &mut shard.report else { unreachable!() };
        *taken_at = time;
    }
    desired_phases(intent, &snapshot, memory, time).plans
}

#[test]
fn a_region_is_where_somebody_holds_it_until_that_ends_and_comes_back_by_the_ramp() {
    let intent = held(&[("eu-west", hold(HeldPhase::Tripped, HoldPurpose::Drain))]);
    let plan = at(&intent, &FleetMemory::default(), now())["eu-west"].clone();
    let memory = plan.memory;
    assert_eq!((memory.phase, memory.cause, memory.trips), (BreakerPhase::Tripped, Some(TripCause::Drained), 0));
    assert_eq!((memory.until, plan.recheck_after), (Some(now() + seconds(600)), Some(seconds(600))));
    assert_eq!(plan.reason, BreakerReason::Held);
    let told = "drained: Tripped until 2026-03-01T12:10:00Z, as annotation signalbox.dev/drain-eu-west says";
    assert_eq!(plan.message, told);
    let remembered = remembering(&[("eu-west", memory)]);
    let later = at(&intent, &remembered, now() + seconds(599))["eu-west"].clone();
    assert_eq!((later.memory, later.from, later.message), (memory, None, plan.message));
    let after = at(&intent, &remembered, now() + seconds(600))["eu-west"].memory;
    assert_eq!((after.phase, after.step, after.trips), (BreakerPhase::Probing, 0, 0));
    let taken_away = at(&fixtures::intent(), &remembered, now() + seconds(5))["eu-west"].memory;
    assert_eq!((taken_away.phase, taken_away.step), (BreakerPhase::Probing, 0));
}

#[test]
fn each_purpose_and_phase_is_told() {
    for (phase, purpose, told) in [
        (
            HeldPhase::Serving,
            HoldPurpose::Hold,
            "held: Serving until 2026-03-01T12:10:00Z, as annotation signalbox.dev/hold-eu-west says",
        ),
        (
            HeldPhase::Probing(25),
            HoldPurpose::Hold,
            "held: Probing with 25% of its weight until 2026-03-01T12:10:00Z, as annotation signalbox.dev/hold-eu-west says",
        ),
        (
            HeldPhase::Tripped,
            HoldPurpose::Drill,
            "tried out without: Tripped until 2026-03-01T12:10:00Z, as annotation signalbox.dev/drill-eu-west says",
        ),
    ] {
        let plan = at(&held(&[("eu-west", hold(phase, purpose))]), &FleetMemory::default(), now())["eu-west"].clone();
        assert_eq!((plan.reason, plan.message.as_str()), (BreakerReason::Held, told));
    }
}

#[test]
fn a_region_that_is_held_in_part_goes_on_from_there() {
    for (percent, step) in [(1, 0), (5, 0), (24, 1), (25, 2), (99, 3), (100, 4)] {
        let intent = held(&[("eu-west", hold(HeldPhase::Probing(percent), HoldPurpose::Hold))]);
        let memory = at(&intent, &FleetMemory::default(), now())["eu-west"].memory;
        assert_eq!((memory.phase, memory.step), (BreakerPhase::Probing, step), "{percent}%");
    }
}

#[test]
fn the_last_region_is_not_taken_out_by_anybody() {
    let both = [
        ("eu-west", hold(HeldPhase::Tripped, HoldPurpose::Hold)),
        ("us-east", hold(HeldPhase::Tripped, HoldPurpose::Drain)),
    ];
    let plans = at(&held(&both), &FleetMemory::default(), now());
    assert_eq!(plans["eu-west"].reason, BreakerReason::Held);
    let spared = &plans["us-east"];
    assert_eq!((spared.memory.phase, spared.reason), (BreakerPhase::Serving, BreakerReason::TooFewLeft));
    let told = "it would be Tripped (it was drained), and stays Serving: too few regions would be left";
    assert_eq!(spared.message, told);
    let plans = at(&held(&both), &remembering(&[("eu-west", plans["eu-west"].memory)]), now() + seconds(9));
    assert_eq!(plans["us-east"].memory.phase, BreakerPhase::Serving);
}

#[test]
fn where_all_are_tripped_because_the_spec_has_changed_one_comes_back_at_once() {
    let tripped = |until: u64| BreakerMemory {
        phase: BreakerPhase::Tripped,
        until: Some(now() + seconds(until)),
        cause: Some(TripCause::SinkFailing),
        trips: 2,
        ..BreakerMemory::serving(now())
    };
    let memory = remembering(&[("eu-west", tripped(90)), ("us-east", tripped(60))]);
    let plans = at(&fixtures::intent(), &memory, now());
    assert_eq!((plans["us-east"].memory.phase, plans["us-east"].memory.trips), (BreakerPhase::Probing, 2));
    assert_eq!(plans["eu-west"].memory, tripped(90));
}

#[test]
fn a_region_without_weight_counts_for_nothing() {
    let mut intent = held(&[("eu-west", hold(HeldPhase::Tripped, HoldPurpose::Hold))]);
    intent.regions[1].weight = 0;
    let plans = at(&intent, &FleetMemory::default(), now());
    assert_eq!(plans["eu-west"].reason, BreakerReason::TooFewLeft, "nobody else gets anything");
    let tripped = BreakerMemory { phase: BreakerPhase::Tripped, ..BreakerMemory::serving(now()) };
    let plans = at(&intent, &remembering(&[("us-east", tripped)]), now());
    assert_eq!(plans["us-east"].memory.phase, BreakerPhase::Serving);
}
