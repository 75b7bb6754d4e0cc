//! The promises about traffic, for fleets of which regions may be out of service.

use signalbox_contract::{BreakerPhase, TrafficReport};

use super::*;
use crate::fleet::{BreakerMemory, HeldPhase, HoldPurpose, RegionHold, TrafficMemory, TripCause};

fn any_phase() -> impl Strategy<Value = BreakerPhase> {
    proptest::sample::select(&[BreakerPhase::Serving, BreakerPhase::Tripped, BreakerPhase::Probing][..])
}

fn any_breaker() -> impl Strategy<Value = BreakerMemory> {
    (any_phase(), any_time(), proptest::option::of(any_time()), 0..7u32, 0..17u32).prop_map(
        |(phase, since, until, step, trips)| {
            let cause = (phase != BreakerPhase::Serving).then_some(TripCause::SinkFailing);
            BreakerMemory { phase, since, until, step, trips, cause }
        },
    )
}

/// The same as [`any_fleet_memory`], with regions that were out of service, and a table that was given out.
fn any_troubled_memory() -> impl Strategy<Value = FleetMemory> {
    let name = || proptest::sample::select(&REGIONS[..]).prop_map(str::to_owned);
    let breakers = proptest::collection::btree_map(name(), any_breaker(), 0..=3);
    let shares = proptest::collection::btree_map(name(), 0..=1_000u32, 0..=3);
    (any_fleet_memory(), breakers, shares, 0..20u64, any::<u64>()).prop_map(
        |(memory, breakers, shares, version, digest)| FleetMemory {
            breakers,
            traffic: TrafficMemory { version, digest, shares },
            ..memory
        },
    )
}

/// The same as [`any_intent`], with regions that somebody holds in a phase.
fn any_held_intent() -> impl Strategy<Value = FleetIntent> {
    let phase =
        prop_oneof![Just(HeldPhase::Serving), Just(HeldPhase::Tripped), (1..=100u32).prop_map(HeldPhase::Probing)];
    let hold = (phase, any_time()).prop_map(|(phase, until)| RegionHold { phase, until, purpose: HoldPurpose::Hold });
    let name = proptest::sample::select(&REGIONS[..]).prop_map(str::to_owned);
    (any_intent(), proptest::collection::btree_map(name, hold, 0..=2)).prop_map(|(mut intent, holds)| {
        intent.manual.holds = holds;
        intent
    })
}

/// The same as [`any_snapshot`], with shards that say which traffic table they go by.
fn any_told_snapshot() -> impl Strategy<Value = FleetSnapshot> {
    let versions = proptest::collection::vec(proptest::option::of(0..30u64), 18);
    (any_snapshot(), versions).prop_map(|(mut snapshot, versions)| {
        let shards = snapshot.regions.values_mut().flat_map(|region| region.shards.values_mut());
        for (shard, version) in shards.zip(versions) {
            if let Observation::Reading { value, .. } = &mut shard.report {
                value.shard.traffic = version.map(|version| TrafficReport { version, ..TrafficReport::default() });
            }
        }
        snapshot
    })
}

fn can_serve(snapshot: &FleetSnapshot, plan: &RegionPlan) -> bool {
    let seen = snapshot.regions.get(&plan.name);
    seen.is_some_and(|seen| seen.shards.range(..plan.wanted).any(|(_, shard)| shard.is_serving()))
}

proptest! {
    #[test]
    fn shares_are_all_of_it_and_every_table_keeps_somebody_at_it(
        intent in any_held_intent(), snapshot in any_told_snapshot(), memory in any_troubled_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        prop_assert_eq!(plan.traffic.regions.values().map(|region| region.share_permille).sum::<u32>(), 1_000);
        prop_assert_eq!(plan.traffic.regions.values().map(|region| region.goal_permille).sum::<u32>(), 1_000);
        for region in plan.regions.iter().filter(|region| region.standing != Standing::Stays) {
            prop_assert_eq!(plan.traffic.regions[&region.name].share_permille, 0);
        }
        if let Some(table) = plan.traffic.table.as_ref().filter(|table| table.regions.len() == intent.regions.len()) {
            let gives = |region: &signalbox_contract::RegionTraffic| region.keeps_permille < 1_000;
            prop_assert!(!table.regions.iter().any(|region| gives(region) && region.takes_weight > 0), "{table:?}");
            prop_assert!(!table.regions.iter().any(gives) || table.regions.iter().any(|region| region.takes_weight > 0), "{table:?}");
        }
    }

    #[test]
    fn while_any_region_with_a_weight_can_serve_some_shard_is_listed(
        intent in any_held_intent(), snapshot in any_told_snapshot(), memory in any_troubled_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        let listed = |plan: &RegionPlan| plan.endpoints.iter().any(|endpoint| endpoint.listed);
        let can = plan.regions.iter().any(|plan| plan.weight > 0 && can_serve(&snapshot, plan));
        prop_assert!(plan.regions.iter().any(listed) || !can);
        // A region that lost its weight in the middle of an episode lets go of its share as others have room.
        for region in plan.regions.iter().filter(|region| region.weight == 0 && listed(region)) {
            prop_assert!(memory.traffic.shares.get(&region.name).is_some_and(|share| *share > 0), "{:?}", region);
        }
        for region in plan.regions.iter().filter(|region| plan.traffic.regions[&region.name].share_permille > 0) {
            prop_assert_eq!(listed(region), can_serve(&snapshot, region), "{:?}", region);
        }
    }

    #[test]
    fn a_version_only_grows_and_grows_with_what_the_table_says_alone(
        intent in any_held_intent(), snapshot in any_told_snapshot(), memory in any_troubled_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        let shards = snapshot.regions.values().flat_map(|region| region.shards.values());
        let told = shards.filter_map(|shard| Some(shard.report.value()?.shard.traffic.as_ref()?.version)).max();
        let known = memory.traffic.version;
        let Some(table) = &plan.traffic.table else {
            prop_assert!(known == 0 && told.unwrap_or(0) == 0);
            return Ok(());
        };
        let ahead = told.unwrap_or(0) > known;
        prop_assert!(table.version >= known.max(1) && table.version >= told.unwrap_or(0));
        prop_assert!(!ahead || table.version > told.unwrap_or(0));
        let same = plan.traffic.digest == memory.traffic.digest && known > 0;
        prop_assert_eq!(table.version == known, same && !ahead);
        // Whoever is given it has another.
        for behind in &plan.traffic.behind {
            prop_assert!(!behind.ip.is_empty());
        }
        if told.is_none_or(|told| told <= table.version) {
            let snapshot = FleetSnapshot { history: plan.history.clone(), ..snapshot.clone() };
            let memory = FleetMemory { traffic: plan.memory().traffic, ..memory };
            let second = decide(&intent, &snapshot, &memory, fixtures::now());
            let is_as_before = second.traffic.digest == plan.traffic.digest;
            prop_assert_eq!(second.traffic.table.unwrap().version == table.version, is_as_before);
        }
    }

    #[test]
    fn deciding_again_and_again_comes_to_rest(
        intent in any_held_intent(), snapshot in any_told_snapshot(), memory in any_troubled_memory(),
    ) {
        let (mut snapshot, mut memory) = (snapshot, memory);
        for _ in 0..60 {
            let plan = decide(&intent, &snapshot, &memory, fixtures::now());
            let next = plan.memory();
            if next == memory {
                return Ok(());
            }
            (snapshot.history, memory) = (plan.history, next);
        }
        prop_assert!(false, "{memory:?}");
    }

    #[test]
    fn a_region_that_is_not_serving_is_made_no_smaller(
        intent in any_held_intent(), snapshot in any_told_snapshot(), memory in any_troubled_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        for region in &plan.regions {
            let Some((scaling, breaker)) = region.scaling.as_ref().zip(region.breaker.as_ref()) else { continue };
            let range = intent.region(&region.name).unwrap().shards;
            if scaling.memory.wanted.is_some() && breaker.memory.phase != BreakerPhase::Serving {
                prop_assert!(scaling.to >= scaling.from.clamp(range.min, range.max), "{scaling:?}");
            }
        }
    }

    #[test]
    fn while_sizes_are_paused_none_changes_but_to_the_range_of_the_spec(
        intent in any_held_intent(), snapshot in any_told_snapshot(), memory in any_troubled_memory(),
    ) {
        let mut intent = intent;
        intent.manual.scaling_paused_until = Some(fixtures::now() + Duration::from_secs(9));
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        prop_assert!(plan.recheck_after <= Duration::from_secs(9));
        for region in &plan.regions {
            let Some(scaling) = region.scaling.as_ref().filter(|scaling| scaling.memory.wanted.is_some()) else { continue };
            let range = intent.region(&region.name).unwrap().shards;
            prop_assert_eq!(scaling.to, scaling.from.clamp(range.min, range.max));
        }
    }
}
