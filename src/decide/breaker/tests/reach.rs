//! Regions that are silent, and who else says so.

use signalbox_contract::{RegionSeen, TrafficReport};

use super::super::*;
use crate::fixtures::{self, now};
use crate::fleet::{BreakerReason, DataPort, NotRead, Observation, PodTrouble, RegionSnapshot, TroubleKind};

/// What a shard of us-east sees of eu-west.
fn view(asked: u32, answered: u32, silent_ms: u64) -> RegionSeen {
    RegionSeen { name: "eu-west".to_owned(), asked, answered, silent_ms }
}

/// A fleet whose eu-west gives no reports, and has ports like this; and what the shards of us-east see of it.
fn cut_off(ports: DataPort, views: [Option<RegionSeen>; 2]) -> FleetSnapshot {
    let mut snapshot = fixtures::settled();
    for shard in snapshot.regions.get_mut("eu-west").unwrap().shards.values_mut() {
        silence(shard, ports);
    }
    let witnesses = snapshot.regions.get_mut("us-east").unwrap().shards.values_mut();
    for (shard, view) in witnesses.zip(views) {
        let Observation::Reading { value, .. } = &mut shard.report else { unreachable!() };
        let regions = view.into_iter().collect();
        value.shard.traffic = Some(TrafficReport { version: 1, regions, ..TrafficReport::default() });
    }
    snapshot
}

fn silence(shard: &mut crate::fleet::ShardSnapshot, ports: DataPort) {
    let Observation::Reading { value, .. } = &mut shard.report else { unreachable!() };
    value.trouble = Some(NotRead { why: "no answer".to_owned(), since: now() - Duration::from_secs(2) });
    shard.data_port = ports;
}

fn decide(snapshot: &FleetSnapshot) -> Breakers {
    desired_phases(&fixtures::intent(), snapshot, &FleetMemory::default(), now())
}

fn silent() -> DataPort {
    DataPort::Silent(now() - Duration::from_secs(1))
}

#[test]
fn a_region_that_nobody_reaches_is_tripped_at_once() {
    for views in [[Some(view(2, 0, 1000)), None], [Some(view(2, 0, 1000)), Some(view(2, 0, 400))]] {
        let decided = decide(&cut_off(silent(), views));
        let plan = &decided.plans["eu-west"];
        assert_eq!(plan.memory.phase, BreakerPhase::Tripped);
        assert_eq!(plan.reason, BreakerReason::Tripped(TripCause::Unreachable));
        assert!(!plan.reachable);
        assert_eq!(decided.plans["us-east"].memory.phase, BreakerPhase::Serving);
    }
}

#[test]
fn a_silence_that_may_have_other_reasons_changes_nothing() {
    let gone = Some(view(2, 0, 5000));
    for (what, snapshot) in [
        ("its ports answer the operator", cut_off(DataPort::Answers(now()), [gone.clone(), gone.clone()])),
        ("its ports were not asked yet", cut_off(DataPort::NotAsked, [gone.clone(), gone.clone()])),
        ("other regions are answered", cut_off(silent(), [Some(view(2, 1, 0)), Some(view(2, 2, 0))])),
        ("one of its neighbours is answered", cut_off(silent(), [gone.clone(), Some(view(2, 1, 0))])),
        ("they have not been silent for long", cut_off(silent(), [Some(view(2, 0, 900)), None])),
        ("nobody of the others asks", cut_off(silent(), [Some(view(0, 0, 9000)), None])),
        ("nobody of the others says anything", cut_off(silent(), [None, None])),
    ] {
        let plan = &decide(&snapshot).plans["eu-west"];
        assert_eq!(plan.memory.phase, BreakerPhase::Serving, "{what}");
        assert!(plan.recheck_after.is_some_and(|after| after <= Duration::from_secs(1)), "{what}");
    }
    let mut one_speaks = cut_off(silent(), [gone.clone(), gone]);
    *one_speaks.regions.get_mut("eu-west").unwrap().shards.get_mut(&1).unwrap() = fixtures::shard(1, 1);
    assert_eq!(decide(&one_speaks).plans["eu-west"].memory.phase, BreakerPhase::Serving);
}

#[test]
fn when_all_reports_are_missing_it_may_be_us_and_nothing_changes() {
    let mut snapshot = cut_off(silent(), [Some(view(2, 0, 5000)), Some(view(2, 0, 5000))]);
    for shard in snapshot.regions.get_mut("us-east").unwrap().shards.values_mut() {
        silence(shard, silent());
    }
    let decided = decide(&snapshot);
    assert!(decided.plans.values().all(|plan| plan.memory.phase == BreakerPhase::Serving && !plan.reachable));
}

#[test]
fn what_cannot_be_told_is_said_once_it_has_lasted_and_with_the_reason() {
    let mut snapshot = cut_off(silent(), [Some(view(2, 1, 0)), None]);
    let decided = decide(&snapshot);
    assert_eq!(decided.plans["eu-west"].reason, BreakerReason::Healthy);
    snapshot.history.breakers = decided.history;
    let later = now() + Duration::from_secs(3);
    let decided = desired_phases(&fixtures::intent(), &snapshot, &FleetMemory::default(), later);
    let plan = &decided.plans["eu-west"];
    assert_eq!(plan.reason, BreakerReason::Unknown);
    let told =
        "its shards report nothing, but they answer other regions: it cannot be told how it is, and nothing changes";
    assert_eq!(plan.message, told);
}

/// Looks once a second for so long at a region without a ready shard, after one look at which it had some.
fn unready(seconds: u64, was_ready: bool, change: impl Fn(&mut RegionSnapshot)) -> BreakerPlan {
    let (intent, mut memory, mut snapshot) = (fixtures::intent(), FleetMemory::default(), fixtures::settled());
    let mut plan = None;
    for second in u64::from(!was_ready)..=seconds + 1 {
        if second == 1 {
            let region = snapshot.regions.get_mut("eu-west").unwrap();
            for shard in region.shards.values_mut() {
                shard.pod.as_mut().unwrap().ready = false;
            }
            change(region);
        }
        let decided = desired_phases(&intent, &snapshot, &memory, now() + Duration::from_secs(second));
        snapshot.history.breakers = decided.history;
        memory.breakers = decided.plans.iter().map(|(name, plan)| (name.clone(), plan.memory)).collect();
        plan = decided.plans.get("eu-west").cloned();
    }
    plan.unwrap()
}

#[test]
fn a_region_without_a_ready_shard_for_the_window_is_tripped() {
    assert_eq!(unready(9, true, |_| {}).reason, BreakerReason::Suspected);
    assert_eq!(unready(10, true, |_| {}).reason, BreakerReason::Tripped(TripCause::NoShardReady));
}

#[test]
fn a_region_that_was_never_ready_is_starting() {
    assert_eq!(unready(600, false, |_| {}).memory.phase, BreakerPhase::Serving);
}

#[test]
fn pods_that_are_replaced_get_more_time_unless_one_is_in_trouble() {
    let replaces = |region: &mut RegionSnapshot| region.rollout.as_mut().unwrap().replaces = true;
    assert_eq!(unready(59, true, replaces).memory.phase, BreakerPhase::Serving);
    assert_eq!(unready(60, true, replaces).memory.phase, BreakerPhase::Tripped);
    let crashes = unready(10, true, |region| {
        replaces(region);
        let trouble = PodTrouble { kind: TroubleKind::Crashing, message: "it ends".to_owned() };
        region.shards.get_mut(&0).unwrap().pod.as_mut().unwrap().trouble = Some(trouble);
    });
    assert_eq!(crashes.memory.phase, BreakerPhase::Tripped);
}

#[test]
fn a_region_that_is_back_is_probed_when_its_time_is_over_and_not_before() {
    let mut memory = FleetMemory::default();
    let tripped = decide(&cut_off(silent(), [Some(view(2, 0, 1000)), None])).plans["eu-west"].memory;
    memory.breakers.insert("eu-west".to_owned(), tripped);
    let until = tripped.until.unwrap();
    let at = |snapshot: &FleetSnapshot, time| {
        desired_phases(&fixtures::intent(), snapshot, &memory, time).plans["eu-west"].clone()
    };
    let mut back = fixtures::settled();
    for region in back.regions.values_mut() {
        for shard in region.shards.values_mut() {
            let Observation::Reading { taken_at, .. } = &mut shard.report else { unreachable!() };
            *taken_at = until;
        }
    }
    let early = at(&back, until - Duration::from_secs(1));
    assert_eq!((early.memory, early.recheck_after), (tripped, Some(Duration::from_secs(1))));
    assert_eq!(at(&back, until).memory.phase, BreakerPhase::Probing);
    let still_away = at(&cut_off(silent(), [Some(view(2, 0, 1000)), None]), until);
    assert_eq!(still_away.memory, tripped);
    let told = "tripped: nobody reaches its shards; it comes back when one of its shards is ready and reports";
    assert_eq!(still_away.message, told);
}

#[test]
fn every_region_that_nobody_reaches_but_one_is_tripped() {
    let mut intent = fixtures::intent();
    let mut snapshot = FleetSnapshot::default();
    for (number, name) in (1..).zip(["a", "b", "c", "d"]) {
        let mut region = fixtures::region(number, 1);
        for shard in region.shards.values_mut() {
            if name == "d" {
                let Observation::Reading { value, .. } = &mut shard.report else { unreachable!() };
                let regions = ["a", "b", "c"].map(|name| RegionSeen { name: name.to_owned(), ..view(1, 0, 2000) });
                value.shard.traffic = Some(TrafficReport { regions: regions.into(), ..TrafficReport::default() });
            } else {
                silence(shard, silent());
            }
        }
        snapshot.regions.insert(name.to_owned(), region);
    }
    let like = intent.regions[0].clone();
    intent.regions =
        ["a", "b", "c", "d"].map(|name| crate::fleet::RegionIntent { name: name.to_owned(), ..like.clone() }).into();
    let decided = desired_phases(&intent, &snapshot, &FleetMemory::default(), now());
    let phases: Vec<_> = decided.plans.values().map(|plan| plan.memory.phase).collect();
    assert_eq!(phases, [BreakerPhase::Tripped, BreakerPhase::Tripped, BreakerPhase::Tripped, BreakerPhase::Serving]);
    intent.regions.pop();
    let decided = desired_phases(&intent, &snapshot, &FleetMemory::default(), now());
    let phases: Vec<_> = decided.plans.values().map(|plan| plan.memory.phase).collect();
    assert_eq!(
        phases,
        [BreakerPhase::Tripped, BreakerPhase::Tripped, BreakerPhase::Serving],
        "of those of the spec, one keeps its weight"
    );
    assert_eq!(decided.plans["c"].reason, BreakerReason::TooFewLeft);
}
