//! The promises that hold for every fleet, whatever was seen of it.

mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use signalbox_contract::RoutingReport;

use super::*;
use crate::fixtures;
use crate::fleet::{
    Called, Capacity, Hold, NotRead, Observation, Rates, Report, Rollout, Routing, ScalingReason, ShardRange,
    ShardSnapshot, Trial, Volume,
};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

fn any_report() -> impl Strategy<Value = Observation<Report>> {
    prop_oneof![
        Just(Observation::NotYet),
        Just(Observation::Unreachable(NotRead { why: "no".to_owned(), since: fixtures::now() })),
        (any_backlog(), 0..10u64, -20..20i64, proptest::option::of(any_rates()), any_routing_report()).prop_map(
            |(backlog, quiet, age, rates, routing)| {
                let report = fixtures::reading(backlog, Duration::from_secs(quiet));
                let mut value = Report { rates, ..report.value().unwrap().clone() };
                value.shard.routing = routing;
                Observation::Reading { value, taken_at: fixtures::now() - jiff::SignedDuration::from_secs(age) }
            }
        ),
    ]
}

fn any_routing_report() -> impl Strategy<Value = Option<RoutingReport>> {
    let says = (0..6u32, 0..3u64, 0..9u64, 0..9u64, prop_oneof![Just(0u32), 0..1024u32], any::<bool>());
    proptest::option::of(says.prop_map(|(ordinal, log, epoch, highest_epoch, claiming, empty)| RoutingReport {
        ordinal,
        log,
        epoch,
        highest_epoch,
        claiming,
        at_risk: 0,
        empty,
    }))
}

fn any_routing() -> impl Strategy<Value = Routing> {
    let peers = proptest::collection::btree_map(0..6u32, 0..3u64, 0..6);
    (1..9u64, 1..6u32, peers).prop_map(|(epoch, shards, mut peers)| {
        for ordinal in 0..shards {
            peers.entry(ordinal).or_insert(1);
        }
        Routing { epoch, shards, peers, ..Routing::default() }
    })
}

/// Also what cannot be.
fn any_backlog() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..3u64, 2 => 0..1_000_000u64, 1 => Just(1 << 63), 1 => Just(u64::MAX)]
}

fn any_rate() -> impl Strategy<Value = f64> {
    let absurd = proptest::sample::select(&[f64::NAN, f64::INFINITY, -1.0, 1e300][..]);
    prop_oneof![10 => 0.0..5_000.0, 3 => Just(0.0), 1 => absurd]
}

fn any_rates() -> impl Strategy<Value = Rates> {
    let share = || prop_oneof![9 => 0.0..=1.0, 1 => Just(f64::NAN)];
    let rates = (any_rate(), any_rate(), any_rate(), any_rate());
    (rates, share(), share(), 0..700u64).prop_map(|((accepted, settled, refused, receive_refused), cpu, disk, over)| {
        let (over, cpu, sinks) = (Duration::from_secs(over), Some(cpu), BTreeMap::new());
        Rates { over, accepted, settled, refused, receive_refused, cpu, disk, sinks, ..Rates::default() }
    })
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (-4_000..4_000i64).prop_map(|seconds| fixtures::now() + jiff::SignedDuration::from_secs(seconds))
}

/// Also what no decision would have written.
fn any_memory() -> impl Strategy<Value = RegionMemory> {
    use proptest::option::of;
    let capacity = (1..2_000u64, 0..=8u32, any_time());
    let called = (1..12u32, of(any_time())).prop_map(|(shards, until)| Called { shards, until });
    let trial = (any_time(), 1..8u32, 1..8u32, 0..5_000u64);
    let hold = (any_time(), 1..20u32);
    let window = proptest::collection::vec(called, 0..5);
    (of(1..12u32), of(capacity), window, of(trial), of(hold)).prop_map(|(wanted, capacity, window, trial, hold)| {
        RegionMemory {
            wanted,
            capacity: capacity.map(|(per_second, samples, seen_at)| Capacity { per_second, samples, seen_at }),
            window,
            trial: trial.map(|(at, from, more, settled)| Trial { at, from, to: from + more, settled, steps: 1 }),
            hold: hold.map(|(until, times)| Hold { until, times }),
        }
    })
}

fn any_fleet_memory() -> impl Strategy<Value = FleetMemory> {
    let region = || proptest::sample::select(&REGIONS[..]).prop_map(str::to_owned);
    let regions = proptest::collection::btree_map(region(), any_memory(), 0..=3);
    let routing = proptest::collection::btree_map(region(), any_routing(), 0..=2);
    (regions, routing).prop_map(|(regions, routing)| FleetMemory { regions, routing, ..FleetMemory::default() })
}

fn any_shard() -> impl Strategy<Value = ShardSnapshot> {
    let volume = prop_oneof![Just(Volume::None), Just(Volume::Pending), Just(Volume::Bound)];
    (any_report(), volume, any::<[bool; 4]>()).prop_map(|(report, volume, [there, ready, terminating, addressed])| {
        let mut pod = fixtures::shard(1, 0).pod.filter(|_| there);
        if let Some(pod) = &mut pod {
            (pod.ready, pod.terminating) = (ready, terminating);
            pod.ip = pod.ip.take().filter(|_| addressed);
        }
        ShardSnapshot { pod, volume, report, ..ShardSnapshot::default() }
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
    let shards = (1..6u32, 0..6u32).prop_map(|(min, more)| ShardRange { min, max: min + more });
    let regions = proptest::collection::btree_map(0..3usize, (0..4u32, shards), 1..=3);
    let regions = regions.prop_filter("some weight", |regions| regions.values().any(|(weight, _)| *weight > 0));
    let modes = [ScalingMode::Internal, ScalingMode::Internal, ScalingMode::External, ScalingMode::Fixed];
    (regions, proptest::sample::select(modes.to_vec()), 0..400u64).prop_map(|(regions, mode, stabilization)| {
        let mut intent = fixtures::intent();
        (intent.scaling.mode, intent.scaling.stabilization) = (mode, Duration::from_secs(stabilization));
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
    fn every_region_of_the_spec_or_the_cluster_is_decided_once(intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory()) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        let mut decided: BTreeMap<&str, u32> = BTreeMap::new();
        for region in &plan.regions {
            *decided.entry(&region.name).or_default() += 1;
        }
        let expected = intent.regions.iter().map(|region| &region.name).chain(snapshot.regions.keys());
        let expected: BTreeMap<&str, u32> = expected.map(|name| (name.as_str(), 1)).collect();
        prop_assert_eq!(decided, expected);
    }

    #[test]
    fn a_shard_goes_only_if_it_cannot_hold_an_event(intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory()) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
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
    fn a_shard_of_the_table_that_was_remembered_does_not_go(
        intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        for (name, seen) in snapshot.regions.iter().filter(|(name, _)| intent.region(name).is_some()) {
            let Some(table) = memory.routing.get(name).filter(|_| routing::applies(seen)) else { continue };
            let current = seen.rollout.map_or(0, |rollout| rollout.replicas);
            let there = seen.shards.keys().filter(|ordinal| **ordinal < current && table.peers.contains_key(ordinal));
            let last = there.max().map_or(0, |last| last + 1);
            prop_assert!(region(&plan, name).replicas >= last, "{table:?} {seen:?}");
        }
    }

    #[test]
    fn no_fewer_shards_run_than_the_spec_says_and_no_more_than_either_says(
        intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        for plan in &plan.regions {
            let current = snapshot.regions.get(&plan.name).and_then(|region| region.rollout);
            let current = current.map_or(0, |rollout| rollout.replicas);
            prop_assert!(plan.replicas >= plan.wanted && plan.replicas <= plan.wanted.max(current), "{plan:?}");
        }
    }

    #[test]
    fn producers_are_sent_only_to_shards_that_serve_and_stay(intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory()) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        for region in &plan.regions {
            for endpoint in region.endpoints.iter().filter(|endpoint| endpoint.listed) {
                prop_assert!(endpoint.serving && !endpoint.terminating && region.weight > 0);
                prop_assert!(crate::fleet::names::ordinal(&endpoint.pod).unwrap() < region.wanted);
            }
        }
    }

    #[test]
    fn a_region_with_weight_and_a_serving_shard_is_listed(intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory()) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        for plan in plan.regions.iter().filter(|plan| plan.weight > 0) {
            let Some(seen) = snapshot.regions.get(&plan.name) else { continue };
            let can_serve = seen.shards.range(..plan.wanted).any(|(_, shard)| shard.is_serving());
            prop_assert_eq!(plan.endpoints.iter().any(|endpoint| endpoint.listed), can_serve, "{:?}", plan);
        }
    }

    #[test]
    fn shares_add_up(intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory()) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        let sum: u32 = plan.regions.iter().map(|region| region.share_percent).sum();
        let any = plan.regions.iter().any(|region| region.endpoints.iter().any(|endpoint| endpoint.listed));
        prop_assert!(if any { (98..=102).contains(&sum) } else { sum == 0 }, "{}", sum);
    }

    #[test]
    fn deciding_twice_changes_nothing(intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory()) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        prop_assert_eq!(&plan, &decide(&intent, &snapshot, &memory, fixtures::now()));
    }

    #[test]
    fn every_region_says_why(intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory()) {
        for region in decide(&intent, &snapshot, &memory, fixtures::now()).regions {
            prop_assert!(!region.message.is_empty());
        }
    }

    #[test]
    fn a_region_never_wants_less_than_its_minimum_nor_more_than_its_maximum(
        intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        for wanted in &intent.regions {
            let plan = region(&plan, &wanted.name);
            let ShardRange { min, max } = wanted.shards;
            match intent.scaling.mode {
                ScalingMode::Internal => prop_assert!((min..=max).contains(&plan.wanted), "{plan:?}"),
                ScalingMode::Fixed => prop_assert_eq!(plan.wanted, min),
                ScalingMode::External => {
                    let running = snapshot.regions.get(&wanted.name).and_then(|region| region.rollout);
                    prop_assert_eq!(plan.wanted, running.map_or(min, |rollout| rollout.replicas));
                    prop_assert_eq!(plan.writes_replicas, running.is_none());
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_takes_no_shard_away(
        intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory(),
    ) {
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        for wanted in intent.regions.iter().filter(|_| intent.scaling.mode == ScalingMode::Internal) {
            let Some(seen) = snapshot.regions.get(&wanted.name) else { continue };
            let silent = |shard: &ShardSnapshot| shard.is_serving() && shard.report.value().is_none();
            let memory = memory.regions.get(&wanted.name).and_then(|memory| memory.wanted);
            let before = memory.or(seen.rollout.map(|rollout| rollout.replicas)).unwrap_or(0);
            if seen.shards.values().any(silent) {
                prop_assert!(region(&plan, &wanted.name).wanted >= before.min(wanted.shards.max));
            }
        }
    }

    #[test]
    fn deciding_again_with_what_was_remembered_changes_no_size_and_then_nothing(
        intent in any_intent(), snapshot in any_snapshot(), memory in any_fleet_memory(),
    ) {
        let first = decide(&intent, &snapshot, &memory, fixtures::now());
        let second = decide(&intent, &snapshot, &first.memory(), fixtures::now());
        let sizes = |plan: &FleetPlan| plan.regions.iter().map(|region| region.wanted).collect::<Vec<_>>();
        prop_assert_eq!(sizes(&first), sizes(&second));
        let third = decide(&intent, &snapshot, &second.memory(), fixtures::now());
        prop_assert_eq!(second.memory(), third.memory());
    }

    #[test]
    fn more_load_never_asks_for_fewer_shards(
        wanted in 1..8u32, accepted in 0.0..4_000.0f64, backlog in 0..500_000u64, more in 0.0..3_000.0f64,
        waiting in 0..500_000u64, capacity in 10..2_000u64,
    ) {
        let mut intent = fixtures::intent();
        intent.regions.truncate(1);
        intent.regions[0].shards = ShardRange { min: 1, max: 32 };
        let capacity = Some(Capacity { per_second: capacity, samples: 8, seen_at: fixtures::now() });
        let memory = RegionMemory { wanted: Some(wanted), capacity, ..RegionMemory::default() };
        let regions = BTreeMap::from([("eu-west".to_owned(), memory)]);
        let memory = FleetMemory { regions, ..FleetMemory::default() };
        let size = |accepted: f64, backlog: u64| {
            let mut seen = fixtures::region(1, wanted);
            for shard in seen.shards.values_mut() {
                shard.report = fixtures::reading_with(backlog, Rates {
                    over: Duration::from_secs(10), accepted, settled: 5.0, ..Rates::default()
                });
            }
            let regions = BTreeMap::from([("eu-west".to_owned(), seen)]);
            let snapshot = FleetSnapshot { regions, ..FleetSnapshot::default() };
            decide(&intent, &snapshot, &memory, fixtures::now()).regions[0].wanted
        };
        prop_assert!(size(accepted + more, backlog) >= size(accepted, backlog));
        prop_assert!(size(accepted, backlog + waiting) >= size(accepted, backlog));
    }

    #[test]
    fn what_cannot_be_is_named_and_not_acted_on(shards in 1..6u32, absurd in proptest::sample::select(
        &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300][..]), at in 0..6u32, backlog in any::<bool>(),
    ) {
        let mut intent = fixtures::intent();
        intent.regions[0].shards = ShardRange { min: 1, max: 32 };
        let mut snapshot = fixtures::settled();
        let mut seen = fixtures::region(1, shards);
        let rates = Rates { over: Duration::from_secs(10), accepted: absurd, settled: 5.0, ..Rates::default() };
        let report = if backlog { fixtures::reading(1 << 63, Duration::ZERO) } else { fixtures::reading_with(5, rates) };
        seen.shards.get_mut(&(at % shards)).unwrap().report = report;
        snapshot.regions.insert("eu-west".to_owned(), seen);
        let plan = decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now());
        let scaling = plan.regions[0].scaling.as_ref().unwrap();
        prop_assert_eq!((scaling.to, scaling.reason), (shards, ScalingReason::ReportsMissing));
        let pod = format!("Pod orders-eu-west-{} reports", at % shards);
        prop_assert!(scaling.message.contains(&pod), "{}", scaling.message);
        prop_assert!(scaling.numbers.backlog < 1_000 && scaling.numbers.arrival < 1_000);
    }
}
