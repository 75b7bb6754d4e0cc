//! Fleets of which a region is out of service: what is listed, what shards are told, and how sizes follow.

use signalbox_contract::{BreakerPhase, RegionShard, TrafficReport};

use super::*;
use crate::fleet::{
    BreakerReason, Capacity, HeldPhase, HoldPurpose, Rates, RegionHold, ScalingReason, WhenAllUnhealthy,
};

const LATER: Duration = Duration::from_mins(30);

/// The fleet with `us-east` held in this phase.
fn held(phase: HeldPhase) -> FleetIntent {
    let mut intent = fixtures::intent();
    let hold = RegionHold { phase, until: fixtures::now() + LATER, purpose: HoldPurpose::Drain };
    intent.manual.holds.insert("us-east".to_owned(), hold);
    intent
}

/// A settled fleet whose shards take part in routing, and have this traffic table. 0: they know of none.
fn routed(version: Option<u64>) -> FleetSnapshot {
    let mut snapshot = fixtures::settled();
    for region in snapshot.regions.values_mut() {
        for (ordinal, shard) in &mut region.shards {
            shard.report = fixtures::routed(*ordinal, 3, 0);
            let Observation::Reading { value, .. } = &mut shard.report else { panic!() };
            value.rates = Some(Rates { over: Duration::from_secs(5), ..Rates::default() });
            value.shard.traffic = version.map(|version| TrafficReport { version, ..TrafficReport::default() });
        }
    }
    snapshot
}

fn again(intent: &FleetIntent, snapshot: &FleetSnapshot, before: &FleetPlan, seconds: u64) -> FleetPlan {
    let snapshot = FleetSnapshot { history: before.history.clone(), ..snapshot.clone() };
    decide(intent, &snapshot, &before.memory(), fixtures::now() + Duration::from_secs(seconds))
}

#[test]
fn a_region_that_is_tripped_is_listed_no_more_and_is_as_ready_as_before() {
    let plan = decided(&held(HeldPhase::Tripped), &fixtures::settled());
    let (well, tripped) = (&plan.regions[0], &plan.regions[1]);
    assert_eq!((well.share_percent, tripped.share_percent), (100, 0));
    assert!(tripped.endpoints.iter().all(|endpoint| !endpoint.listed && endpoint.serving));
    assert!(well.endpoints.iter().all(|endpoint| endpoint.listed));
    assert_eq!((tripped.reason, tripped.settled, tripped.ready), (RegionReason::Tripped, true, 2));
    let said = &tripped.breaker.as_ref().unwrap().message;
    assert_eq!(tripped.message, format!("{said}; 2 shards ready"));
    assert_eq!(plan.traffic.regions["us-east"].places, 0);
    let shift = plan.traffic.shift.as_ref().unwrap();
    assert!(shift.done && shift.message.starts_with("50 % shifted away from us-east"), "{shift:?}");
}

#[test]
fn a_region_that_comes_back_lists_one_shard_and_hands_the_rest_over() {
    let (intent, snapshot) = (held(HeldPhase::Probing(10)), routed(None));
    let first = decided(&intent, &snapshot);
    let region = &first.regions[1];
    assert_eq!(region.endpoints.iter().filter(|endpoint| endpoint.listed).count(), 1);
    assert_eq!(region.reason, RegionReason::Probing);
    // A third of what comes is led there, and 9 % are to be delivered there.
    let table = first.traffic.table.as_ref().unwrap();
    let (well, back) = (&table.regions[0], &table.regions[1]);
    assert_eq!((well.phase, well.keeps_permille, well.takes_weight), (BreakerPhase::Serving, 1_000, 50));
    assert_eq!((back.phase, back.keeps_permille, back.takes_weight), (BreakerPhase::Probing, 273, 0));
    assert_eq!((first.regions[0].share_percent, region.share_percent), (91, 9));
}

#[test]
fn shards_are_told_of_each_others_regions_with_names_and_addresses() {
    let mut snapshot = routed(None);
    let shards = &mut snapshot.regions.get_mut("us-east").unwrap().shards;
    shards.get_mut(&1).unwrap().pod.as_mut().unwrap().ip = None;
    let table = decided(&fixtures::intent(), &snapshot).traffic.table.unwrap();
    assert_eq!((table.fleet.as_str(), table.version, table.regions.len()), ("orders", 1, 2));
    let region = &table.regions[1];
    assert_eq!((region.name.as_str(), region.keeps_permille, region.takes_weight), ("us-east", 1_000, 50));
    let address = |ordinal| format!("orders-us-east-{ordinal}.orders-us-east-shards.shop.svc:9443");
    let shards = [
        RegionShard { address: address(0), events: Some("10.244.2.10:8080".parse().unwrap()) },
        RegionShard { address: address(1), events: None },
    ];
    assert_eq!(region.shards, shards);
}

#[test]
fn a_version_grows_with_what_a_table_says_and_with_nothing_else() {
    let intent = fixtures::intent();
    let first = decided(&intent, &routed(None));
    let same = again(&intent, &routed(Some(1)), &first, 1);
    assert_eq!((same.traffic.table.as_ref().unwrap().version, same.traffic.behind.len()), (1, 0));
    assert_eq!(same.traffic.table, first.traffic.table);
    let other = again(&held(HeldPhase::Tripped), &routed(Some(1)), &same, 2);
    assert_eq!((other.traffic.table.as_ref().unwrap().version, other.traffic.behind.len()), (2, 4));
    // Nobody holds it any more: it comes back.
    let back = again(&intent, &routed(Some(2)), &other, 3);
    assert_eq!(back.traffic.table.as_ref().unwrap().version, 3);
    // Shards know of one that is not remembered.
    let ahead = again(&intent, &routed(Some(9)), &first, 1);
    assert_eq!(ahead.traffic.table.as_ref().unwrap().version, 9 + 64);
}

/// The plan when one region is held Tripped, and no shard of the other has been ready for half a minute.
fn without_a_region_that_is_well(when_all_unhealthy: WhenAllUnhealthy) -> (FleetIntent, FleetPlan) {
    let mut intent = held(HeldPhase::Tripped);
    intent.breaker.when_all_unhealthy = when_all_unhealthy;
    let mut plan = decided(&intent, &routed(None));
    for second in 1..=30 {
        let mut snapshot = routed(Some(1));
        for (name, region) in &mut snapshot.regions {
            for shard in region.shards.values_mut() {
                let Observation::Reading { taken_at, .. } = &mut shard.report else { panic!() };
                *taken_at = fixtures::now() + Duration::from_secs(second);
                shard.pod.as_mut().unwrap().ready = name == "us-east";
            }
        }
        plan = again(&intent, &snapshot, &plan, second);
    }
    (intent, plan)
}

#[test]
fn new_events_are_refused_when_the_last_region_fails_too_if_the_owner_wants_it_and_only_until_it_is_well() {
    let sheds = |plan: &FleetPlan| -> Vec<bool> {
        plan.traffic.table.as_ref().unwrap().regions.iter().map(|region| region.sheds).collect()
    };
    let (_, holds) = without_a_region_that_is_well(WhenAllUnhealthy::HoldWeights);
    let (intent, plan) = without_a_region_that_is_well(WhenAllUnhealthy::Shed);
    for plan in [&holds, &plan] {
        assert_eq!(plan.regions[0].breaker.as_ref().unwrap().reason, BreakerReason::TooFewLeft);
        assert_eq!((plan.regions[0].share_percent, plan.regions[1].share_percent), (100, 0));
    }
    assert_eq!((sheds(&holds), sheds(&plan)), (vec![false, false], vec![true, true]));
    assert_eq!(plan.traffic.shift.as_ref().unwrap().message, "no region is well: new events are refused until one is");
    assert_eq!(sheds(&again(&intent, &routed(Some(2)), &plan, 31)), [false, false]);
}

#[test]
fn a_fleet_of_one_region_has_no_table_unless_it_had_one() {
    let mut intent = fixtures::intent();
    intent.regions.truncate(1);
    let mut snapshot = routed(None);
    snapshot.regions.remove("us-east");
    let plan = decided(&intent, &snapshot);
    assert_eq!((plan.traffic.table.as_ref(), plan.traffic.behind.len()), (None, 0));
    assert_eq!(plan.regions[0].share_percent, 100);
    // The other region was tripped, or this one, and is gone: they are not to go by that for ever.
    let both = decided(&held(HeldPhase::Tripped), &routed(None));
    let left = again(&intent, &snapshot, &both, 1).traffic.table.unwrap();
    assert_eq!((left.version, left.regions.len(), left.regions[0].keeps_permille), (2, 1, 1_000));
}

#[test]
fn a_shard_that_says_nothing_of_traffic_is_given_the_table_now_and_then() {
    let (intent, snapshot) = (fixtures::intent(), routed(None));
    let first = decided(&intent, &snapshot);
    assert_eq!(first.traffic.behind.len(), 4);
    let soon = again(&intent, &snapshot, &first, 1);
    assert!(soon.traffic.behind.is_empty() && soon.recheck_after <= Duration::from_secs(5));
    assert_eq!(again(&intent, &snapshot, &soon, 5).traffic.behind.len(), 4);
    // One that has an older one, with every look; and one from before routing, never.
    assert_eq!(again(&held(HeldPhase::Tripped), &routed(Some(1)), &first, 1).traffic.behind.len(), 4);
    assert!(decided(&intent, &fixtures::settled()).traffic.behind.is_empty());
}

#[test]
fn while_nobody_who_has_a_share_serves_events_are_better_off_with_who_does() {
    let (intent, mut snapshot) = (held(HeldPhase::Tripped), fixtures::settled());
    let first = decided(&intent, &snapshot);
    for shard in snapshot.regions.get_mut("eu-west").unwrap().shards.values_mut() {
        shard.pod.as_mut().unwrap().ready = false;
    }
    let plan = again(&intent, &snapshot, &first, 1);
    assert!(plan.regions[1].endpoints.iter().all(|endpoint| endpoint.listed), "{:?}", plan.traffic);
}

#[test]
fn a_region_that_joins_during_an_episode_begins_with_nothing() {
    let (mut intent, snapshot) = (held(HeldPhase::Tripped), fixtures::settled());
    let before = decided(&intent, &snapshot);
    let joining = crate::fleet::RegionIntent { name: "ap-south".to_owned(), ..intent.regions[0].clone() };
    intent.regions.push(joining);
    let plan = again(&intent, &snapshot, &before, 1);
    let share = |name: &str| (plan.traffic.regions[name].share_permille, plan.traffic.regions[name].goal_permille);
    assert_eq!((share("eu-west"), share("ap-south")), ((1_000, 500), (0, 500)));
}

#[test]
fn reports_that_are_missing_take_nothing_from_a_tripped_region_and_a_port_that_is_silent_does() {
    // 140 events a second at 70 % of the traffic: 200 at all.
    let (intent, mut snapshot, mut memory) = sized(held(HeldPhase::Tripped), 70.0);
    memory.traffic.shares = [("eu-west".to_owned(), 700), ("us-east".to_owned(), 300)].into();
    let silent = NotRead { why: "no".to_owned(), since: fixtures::now() };
    for shard in snapshot.regions.get_mut("us-east").unwrap().shards.values_mut() {
        shard.report = Observation::Unreachable(silent.clone());
    }
    let kept = |snapshot: &FleetSnapshot| {
        decide(&intent, snapshot, &memory, fixtures::now()).traffic.regions["us-east"].share_permille
    };
    assert_eq!(kept(&snapshot), 150);
    for shard in snapshot.regions.get_mut("us-east").unwrap().shards.values_mut() {
        shard.data_port = crate::fleet::DataPort::Silent(fixtures::now());
    }
    assert_eq!(kept(&snapshot), 0);
}

/// The fleet with sizes that follow the load, of two shards each that know that they can settle 100 events a second.
fn sized(intent: FleetIntent, each: f64) -> (FleetIntent, FleetSnapshot, FleetMemory) {
    let mut intent = intent;
    let (mut snapshot, mut memory) = (fixtures::settled(), FleetMemory::default());
    for region in &mut intent.regions {
        region.shards = ShardRange { min: 1, max: 16 };
        let capacity = Some(Capacity { per_second: 100, samples: 8, seen_at: fixtures::now() });
        let size = RegionMemory { wanted: Some(2), capacity, ..RegionMemory::default() };
        memory.regions.insert(region.name.clone(), size);
        let rates = Rates { over: Duration::from_secs(5), accepted: each, settled: each, ..Rates::default() };
        for shard in snapshot.regions.get_mut(&region.name).unwrap().shards.values_mut() {
            shard.report = fixtures::reading_with(0, rates.clone());
        }
    }
    (intent, snapshot, memory)
}

#[test]
fn a_survivor_is_made_large_enough_before_traffic_is_shifted_there() {
    let (intent, snapshot, memory) = sized(held(HeldPhase::Tripped), 60.0);
    let plan = decide(&intent, &snapshot, &memory, fixtures::now());
    let scaling = plan.regions[0].scaling.as_ref().unwrap();
    // 240 events a second at 70 of 100.
    assert_eq!((scaling.from, scaling.to, scaling.reason), (2, 4, ScalingReason::ShiftAhead));
    assert_eq!(scaling.message, "4 shards, for traffic that is shifted here from other regions");
    assert_eq!((scaling.numbers.arrival, scaling.numbers.expected), (120, Some(240)));
    assert_eq!(scaling.memory.trial, None, "an episode's traffic judges no growth");
    // Until they are there, 85 % of two shards.
    assert_eq!(plan.traffic.regions["eu-west"].share_permille, 700);
    let shift = plan.traffic.shift.as_ref().unwrap();
    assert!(!shift.done && plan.recheck_after <= Duration::from_secs(2));
    assert_eq!(shift.message, "shifting 20 of 50 % away from us-east, waiting for 1 shard in eu-west");
    // What it keeps is listed still.
    assert!(plan.regions[1].endpoints[0].listed && !plan.regions[1].endpoints[1].listed);

    let mut grown = FleetSnapshot { history: plan.history.clone(), ..snapshot };
    let mut region = fixtures::region(1, 4);
    for shard in region.shards.values_mut() {
        let rates = Rates { over: Duration::from_secs(5), accepted: 40.0, settled: 40.0, ..Rates::default() };
        shard.report = fixtures::reading_with(0, rates);
    }
    grown.regions.insert("eu-west".to_owned(), region);
    let later = decide(&intent, &grown, &plan.memory(), fixtures::now());
    assert_eq!(later.traffic.regions["eu-west"].share_permille, 1_000);
    assert_eq!(later.regions[0].wanted, 4);
}

#[test]
fn a_region_that_is_out_of_service_keeps_its_size() {
    let (intent, mut snapshot, mut memory) = sized(held(HeldPhase::Tripped), 0.0);
    memory.regions.get_mut("us-east").unwrap().wanted = Some(6);
    snapshot.regions.insert("us-east".to_owned(), fixtures::region(2, 6));
    for phase in [HeldPhase::Tripped, HeldPhase::Probing(5)] {
        let mut plan = decide(&held(phase), &snapshot, &memory, fixtures::now());
        for minute in 1..20 {
            let now = fixtures::now() + Duration::from_mins(minute);
            for shard in snapshot.regions.values_mut().flat_map(|region| region.shards.values_mut()) {
                let Observation::Reading { taken_at, .. } = &mut shard.report else { panic!() };
                *taken_at = now;
            }
            let held = FleetIntent { manual: held(phase).manual, ..intent.clone() };
            plan = decide(&held, &snapshot, &plan.memory(), now);
        }
        assert_eq!(plan.regions[1].wanted, 6, "{phase:?}");
    }
    assert_eq!(
        decide(&intent, &snapshot, &memory, fixtures::now()).regions[1].scaling.as_ref().unwrap().reason,
        ScalingReason::Standby
    );
}

#[test]
fn while_somebody_has_asked_for_it_sizes_stay_as_they_are() {
    let (mut intent, snapshot, memory) = sized(fixtures::intent(), 95.0);
    assert!(decide(&intent, &snapshot, &memory, fixtures::now()).regions[0].wanted > 2);
    intent.manual.scaling_paused_until = Some(fixtures::now() + Duration::from_secs(1));
    let plan = decide(&intent, &snapshot, &memory, fixtures::now());
    let scaling = plan.regions[0].scaling.as_ref().unwrap();
    assert_eq!((scaling.to, scaling.reason), (2, ScalingReason::Paused));
    assert_eq!(scaling.message, "2 shards; sizes are not changed until 2026-03-01T12:00:01Z, as somebody has asked");
    assert_eq!(plan.recheck_after, Duration::from_secs(1));
    let later = decide(&intent, &snapshot, &plan.memory(), fixtures::now() + Duration::from_secs(1));
    assert!(later.regions[0].wanted > 2);
}
