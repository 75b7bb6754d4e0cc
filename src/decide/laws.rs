//! The promises that hold for every fleet, whatever was seen of it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::fixtures;
use crate::fleet::{NotRead, Observation, Report, Rollout, ShardSnapshot, Volume};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

fn any_report() -> impl Strategy<Value = Observation<Report>> {
    prop_oneof![
        Just(Observation::NotYet),
        Just(Observation::Unreachable(NotRead { why: "no".to_owned(), since: fixtures::now() })),
        (0..3u64, 0..10u64, -20..20i64).prop_map(|(backlog, quiet, age)| {
            let report = fixtures::reading(backlog, Duration::from_secs(quiet));
            let value = report.value().unwrap().clone();
            Observation::Reading { value, taken_at: fixtures::now() - jiff::SignedDuration::from_secs(age) }
        }),
    ]
}

fn any_shard() -> impl Strategy<Value = ShardSnapshot> {
    let volume = prop_oneof![Just(Volume::None), Just(Volume::Pending), Just(Volume::Bound)];
    (any_report(), volume, any::<[bool; 4]>()).prop_map(|(report, volume, [there, ready, terminating, addressed])| {
        let mut pod = fixtures::shard(1, 0).pod.filter(|_| there);
        if let Some(pod) = &mut pod {
            (pod.ready, pod.terminating) = (ready, terminating);
            pod.ip = pod.ip.take().filter(|_| addressed);
        }
        ShardSnapshot { pod, volume, report }
    })
}

fn any_region() -> impl Strategy<Value = RegionSnapshot> {
    let rollout = proptest::option::of((0..6u32, any::<bool>(), 0..6u32));
    (rollout, proptest::collection::btree_map(0..6u32, any_shard(), 0..6)).prop_map(|(rollout, shards)| {
        RegionSnapshot {
            rollout: rollout.map(|(replicas, complete, updated)| Rollout {
                replicas,
                complete,
                replaces: !complete,
                updated,
            }),
            shards,
        }
    })
}

fn any_snapshot() -> impl Strategy<Value = FleetSnapshot> {
    let region = proptest::sample::select(&REGIONS[..]).prop_map(str::to_owned);
    proptest::collection::btree_map(region, any_region(), 0..=3)
        .prop_map(|regions| FleetSnapshot { regions, ..FleetSnapshot::default() })
}

fn any_intent() -> impl Strategy<Value = FleetIntent> {
    let regions = proptest::collection::btree_map(0..3usize, (0..4u32, 1..6u32), 1..=3);
    regions.prop_filter("some weight", |regions| regions.values().any(|(weight, _)| *weight > 0)).prop_map(|regions| {
        let mut intent = fixtures::intent();
        let template = intent.regions[0].clone();
        intent.regions = regions
            .into_iter()
            .map(|(name, (weight, shards))| RegionIntent {
                name: REGIONS[name].to_owned(),
                weight,
                shards,
                ..template.clone()
            })
            .collect();
        intent
    })
}

fn region<'a>(plan: &'a FleetPlan, name: &str) -> &'a RegionPlan {
    plan.regions.iter().find(|region| region.name == name).unwrap()
}

proptest! {
    #[test]
    fn every_region_of_the_spec_or_the_cluster_is_decided_once(intent in any_intent(), snapshot in any_snapshot()) {
        let plan = decide(&intent, &snapshot, fixtures::now());
        let mut decided: BTreeMap<&str, u32> = BTreeMap::new();
        for region in &plan.regions {
            *decided.entry(&region.name).or_default() += 1;
        }
        let expected = intent.regions.iter().map(|region| &region.name).chain(snapshot.regions.keys());
        let expected: BTreeMap<&str, u32> = expected.map(|name| (name.as_str(), 1)).collect();
        prop_assert_eq!(decided, expected);
    }

    #[test]
    fn a_shard_goes_only_if_it_cannot_hold_an_event(intent in any_intent(), snapshot in any_snapshot()) {
        let plan = decide(&intent, &snapshot, fixtures::now());
        for (name, seen) in &snapshot.regions {
            let replicas = region(&plan, name).replicas;
            let current = seen.rollout.map_or(0, |rollout| rollout.replicas);
            for (ordinal, shard) in seen.shards.range(replicas..current.max(replicas)) {
                let empty = shard.report.value().is_some_and(|report| report.shard.backlog_events == 0);
                prop_assert!(shard.volume != Volume::Bound || empty, "{name} {ordinal} {shard:?}");
            }
        }
    }

    #[test]
    fn no_fewer_shards_run_than_the_spec_says_and_no_more_than_either_says(
        intent in any_intent(), snapshot in any_snapshot(),
    ) {
        let plan = decide(&intent, &snapshot, fixtures::now());
        for plan in &plan.regions {
            let current = snapshot.regions.get(&plan.name).and_then(|region| region.rollout);
            let current = current.map_or(0, |rollout| rollout.replicas);
            prop_assert!(plan.replicas >= plan.wanted && plan.replicas <= plan.wanted.max(current), "{plan:?}");
        }
    }

    #[test]
    fn producers_are_sent_only_to_shards_that_serve_and_stay(intent in any_intent(), snapshot in any_snapshot()) {
        let plan = decide(&intent, &snapshot, fixtures::now());
        for region in &plan.regions {
            for endpoint in region.endpoints.iter().filter(|endpoint| endpoint.listed) {
                prop_assert!(endpoint.serving && !endpoint.terminating && region.weight > 0);
                prop_assert!(crate::fleet::names::ordinal(&endpoint.pod).unwrap() < region.wanted);
            }
        }
    }

    #[test]
    fn a_region_with_weight_and_a_serving_shard_is_listed(intent in any_intent(), snapshot in any_snapshot()) {
        let plan = decide(&intent, &snapshot, fixtures::now());
        for plan in plan.regions.iter().filter(|plan| plan.weight > 0) {
            let Some(seen) = snapshot.regions.get(&plan.name) else { continue };
            let can_serve = seen.shards.range(..plan.wanted).any(|(_, shard)| shard.is_serving());
            prop_assert_eq!(plan.endpoints.iter().any(|endpoint| endpoint.listed), can_serve, "{:?}", plan);
        }
    }

    #[test]
    fn shares_add_up(intent in any_intent(), snapshot in any_snapshot()) {
        let plan = decide(&intent, &snapshot, fixtures::now());
        let sum: u32 = plan.regions.iter().map(|region| region.share_percent).sum();
        let any = plan.regions.iter().any(|region| region.endpoints.iter().any(|endpoint| endpoint.listed));
        prop_assert!(if any { (98..=102).contains(&sum) } else { sum == 0 }, "{}", sum);
    }

    #[test]
    fn deciding_twice_changes_nothing(intent in any_intent(), snapshot in any_snapshot()) {
        let plan = decide(&intent, &snapshot, fixtures::now());
        prop_assert_eq!(&plan, &decide(&intent, &snapshot, fixtures::now()));
    }

    #[test]
    fn every_region_says_why(intent in any_intent(), snapshot in any_snapshot()) {
        for region in decide(&intent, &snapshot, fixtures::now()).regions {
            prop_assert!(!region.message.is_empty());
        }
    }
}
