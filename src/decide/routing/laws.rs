//! The promises that hold whatever shards say, over a whole life of a region.

use std::collections::BTreeSet;

use proptest::prelude::*;
use signalbox_contract::RoutingReport;

use super::*;
use crate::fixtures;
use crate::fleet::{NotRead, Observation, Report, Rollout};

/// What a shard says, against the table of then: it may be behind it.
#[derive(Clone, Debug)]
struct Saying {
    behind: u64,
    ahead: u64,
    log: u64,
    claiming: u32,
    empty: bool,
    backlog: u64,
    uptime_ms: u64,
}

#[derive(Clone, Debug)]
enum Seen {
    Nothing,
    Old,
    Silent,
    Says(Saying),
}

/// One look: the shards, with pod and volume or without, and what is wanted.
#[derive(Clone, Debug)]
struct Scene {
    shards: Vec<(Seen, bool, Volume)>,
    replicas: u32,
    target: Option<u32>,
    external: bool,
    seconds: u64,
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let saying = (0..3u64, prop_oneof![9 => Just(0u64), 1 => 0..9u64], prop_oneof![9 => Just(1u64), 1 => 0..3u64]);
    let rest = (prop_oneof![Just(0u32), 0..1024u32], any::<bool>(), 0..3u64, 0..60_000u64);
    let says = (saying, rest).prop_map(|((behind, ahead, log), (claiming, empty, backlog, uptime_ms))| {
        Seen::Says(Saying { behind, ahead, log, claiming, empty, backlog, uptime_ms })
    });
    prop_oneof![1 => Just(Seen::Nothing), 1 => Just(Seen::Old), 1 => Just(Seen::Silent), 6 => says]
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let volume = prop_oneof![1 => Just(Volume::None), 1 => Just(Volume::Pending), 6 => Just(Volume::Bound)];
    let shard = (any_seen(), prop_oneof![5 => Just(true), 1 => Just(false)], volume);
    let wanted = (0..6u32, proptest::option::weighted(0.9, 0..6u32), any::<bool>(), 0..90u64);
    (proptest::collection::vec(shard, 0..6), wanted).prop_map(|(shards, (replicas, target, external, seconds))| Scene {
        shards,
        replicas,
        target,
        external,
        seconds,
    })
}

fn region(scene: &Scene, known: u64) -> RegionSnapshot {
    let shards = (0..).zip(&scene.shards).map(|(ordinal, (seen, pod, volume))| {
        let mut shard = fixtures::shard(1, ordinal);
        shard.volume = *volume;
        shard.report = match seen {
            Seen::Nothing => Observation::NotYet,
            Seen::Old => fixtures::reading(1, Duration::ZERO),
            Seen::Silent => Observation::Unreachable(NotRead { why: "no".to_owned(), since: fixtures::now() }),
            Seen::Says(saying) => report(ordinal, saying, known),
        };
        if !pod {
            (shard.pod, shard.report) = (None, Observation::NotYet);
        }
        (ordinal, shard)
    });
    let rollout = Rollout { replicas: scene.replicas, complete: true, replaces: false, updated: scene.replicas };
    RegionSnapshot { rollout: Some(rollout), shards: shards.collect() }
}

fn report(ordinal: u32, saying: &Saying, known: u64) -> Observation<Report> {
    let Observation::Reading { mut value, taken_at } = fixtures::routed(ordinal, 0, saying.backlog) else { panic!() };
    let epoch = known.saturating_sub(saying.behind);
    value.shard.routing = Some(RoutingReport {
        ordinal,
        log: saying.log * 100 + u64::from(ordinal),
        epoch,
        highest_epoch: epoch + saying.ahead,
        claiming: saying.claiming,
        empty: saying.empty,
        at_risk: 0,
    });
    value.shard.uptime_ms = saying.uptime_ms;
    Observation::Reading { value, taken_at }
}

fn situation<'a>(
    scene: &Scene,
    seen: &'a RegionSnapshot,
    remembered: Option<&'a Routing>,
    (silences, held): (&'a BTreeMap<u32, Timestamp>, &'a BTreeMap<u32, u64>),
    now: Timestamp,
) -> Situation<'a> {
    let (target, external) = (scene.target, scene.external);
    let (silences, held) = (Some(silences), Some(held));
    Situation { fleet: "orders", region: "eu", target, external, seen, remembered, silences, held, now }
}

/// What shards are given, without what is only remembered beside it.
fn table(routing: &Routing) -> Routing {
    Routing { held: BTreeMap::new(), ..routing.clone() }
}

fn heard_ordinals(seen: &RegionSnapshot) -> BTreeSet<u32> {
    heard(seen).into_keys().collect()
}

proptest! {
    #[test]
    fn a_regions_tables_keep_their_promises(scenes in proptest::collection::vec(any_scene(), 1..30)) {
        let (mut remembered, mut silences, mut held) = (None::<Routing>, BTreeMap::new(), BTreeMap::new());
        let mut now = fixtures::now();
        for scene in &scenes {
            now += Duration::from_secs(scene.seconds);
            let known = remembered.as_ref().map_or(0, |routing| routing.epoch);
            let seen = region(scene, known);
            let kept = (&silences, &held);
            let decided = desired_routing(&situation(scene, &seen, remembered.as_ref(), kept, now));
            let again = desired_routing(&situation(scene, &seen, remembered.as_ref(), kept, now));
            prop_assert_eq!(&decided, &again, "the same snapshot gives the same table");
            let Some(RoutingPlan { routing: next, behind, .. }) = decided.plan else {
                prop_assert_eq!(&remembered, &None, "a table is never taken back");
                continue;
            };
            prop_assert!(next.shards >= 1 && next.epoch >= 1);
            prop_assert!((0..next.shards).all(|ordinal| next.peers.contains_key(&ordinal)), "owners are in the table");
            prop_assert!(next.lost.iter().all(|ordinal| next.peers.contains_key(ordinal)));
            prop_assert!(behind.len() <= next.peers.len());
            let leaves_or_is_unheard = |ordinal: &u32| *ordinal >= next.shards || !heard(&seen).contains_key(ordinal);
            prop_assert!(next.held.keys().all(|ordinal| next.peers.contains_key(ordinal) && leaves_or_is_unheard(ordinal)));
            prop_assert!(next.held.values().all(|events| *events > 0));
            if let Some(before) = &remembered {
                prop_assert!(next.epoch >= before.epoch, "the epoch only grows");
                prop_assert!(next.epoch > before.epoch || table(&next) == table(before), "one epoch, one table");
                for ordinal in before.peers.keys().filter(|ordinal| !next.peers.contains_key(ordinal)) {
                    let shard = seen.shards.get(ordinal);
                    let says = heard(&seen).get(ordinal).map(|heard| heard.says.clone());
                    let empty = says.is_some_and(|says| says.empty && says.epoch == before.epoch);
                    let gone = shard.is_none_or(|shard| shard.pod.is_none() && shard.volume != Volume::Bound);
                    prop_assert!(*ordinal >= before.shards && empty || gone, "{ordinal} left {before:?} by {next:?}");
                }
                let silent_for_long = |ordinal: &u32| {
                    silences.get(ordinal).is_some_and(|since| *since + LOST <= now) || *ordinal >= next.shards
                };
                prop_assert!(next.lost.difference(&before.lost).all(silent_for_long), "{before:?} {next:?}");
                if heard_ordinals(&seen).is_empty() {
                    prop_assert_eq!(table(&next), table(before), "nothing is decided about shards of which nothing is heard");
                }
            }
            let highest = heard(&seen).values().map(|heard| heard.says.epoch.max(heard.says.highest_epoch)).max();
            prop_assert!(next.epoch >= highest.unwrap_or(0), "no shard knows a later table");
            (remembered, silences, held) = (Some(next), decided.silences, decided.held);
        }
    }

    #[test]
    fn looking_again_at_the_same_changes_at_most_what_waited_for_the_first_change(
        scenes in proptest::collection::vec(any_scene(), 1..6),
    ) {
        let (mut remembered, silences, held) = (None::<Routing>, BTreeMap::new(), BTreeMap::new());
        for scene in &scenes {
            let seen = region(scene, remembered.as_ref().map_or(0, |routing| routing.epoch));
            for _ in 0..3 {
                let situation = situation(scene, &seen, remembered.as_ref(), (&silences, &held), fixtures::now());
                remembered = desired_routing(&situation).plan.map(|plan| plan.routing);
            }
            let situation = situation(scene, &seen, remembered.as_ref(), (&silences, &held), fixtures::now());
            prop_assert_eq!(desired_routing(&situation).plan.map(|plan| plan.routing), remembered.clone());
        }
    }
}
