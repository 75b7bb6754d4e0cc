//! Tables: one situation, one decision.

mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use super::shards::{Held, HeldBy, ShardsDecision, desired_shards};
use super::traffic::{Claim, desired_places};
use super::*;
use crate::fixtures;
use crate::fleet::{
    NotRead, Observation, PodTrouble, RegionReason, Routing, ShardRange, ShardSnapshot, TroubleKind, Volume,
};

fn decided(intent: &FleetIntent, snapshot: &FleetSnapshot) -> FleetPlan {
    decide(intent, snapshot, &FleetMemory::default(), fixtures::now())
}

fn shards(target: u32, region: &RegionSnapshot) -> ShardsDecision {
    desired_shards(target, region, &[], fixtures::now())
}

fn places(claims: &[(u32, u32)]) -> Vec<u32> {
    let claims: Vec<_> = claims.iter().map(|(weight, shards)| Claim { weight: *weight, shards: *shards }).collect();
    desired_places(&claims)
}

fn with_shard(number: u32, shard: ShardSnapshot) -> RegionSnapshot {
    let mut region = fixtures::region(1, number + 1);
    region.shards.insert(number, shard);
    region
}

#[test]
fn a_settled_fleet_serves_by_weight() {
    let plan = decided(&fixtures::intent(), &fixtures::settled());
    for region in &plan.regions {
        assert!(region.settled, "{region:?}");
        assert_eq!(region.reason, RegionReason::Serving);
        assert_eq!((region.share_percent, region.ready, region.replicas), (50, 2, 2));
        assert_eq!(region.message, "2 shards ready");
    }
    assert_eq!(plan.recheck_after, Duration::from_secs(5), "what limits it is not known yet");
}

#[test]
fn a_fleet_that_nothing_was_seen_of_is_started() {
    let plan = decided(&fixtures::intent(), &FleetSnapshot::default());
    for region in &plan.regions {
        assert_eq!((region.replicas, region.ready, region.reason), (2, 0, RegionReason::Starting));
        assert!(!region.settled && region.endpoints.is_empty());
    }
    assert_eq!(plan.regions[0].message, "0 of 2 shards ready; see StatefulSet orders-eu-west");
}

#[test]
fn a_pod_that_waits_for_its_volumes_leads_to_the_secrets_that_it_mounts() {
    let mut snapshot = fixtures::settled();
    let shard = snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&1).unwrap();
    let pod = shard.pod.as_mut().unwrap();
    (pod.ready, pod.mounting) = (false, true);
    let message = |intent: &FleetIntent| decided(intent, &snapshot).regions[0].message.clone();
    // Without a Secret, it is just starting.
    assert_eq!(message(&fixtures::intent()), "1 of 2 shards ready; see StatefulSet orders-eu-west");
    let intent = FleetIntent::parse(&fixtures::equipped(), &fixtures::shard_defaults()).unwrap();
    let look = "Pod orders-eu-west-1 waits for its volumes; see Secret audit-signing and Secret orders-tls";
    assert_eq!(message(&intent), format!("1 of 2 shards ready; {look}"));
}

#[test]
fn shards_are_added_at_once() {
    assert_eq!(shards(5, &fixtures::region(1, 2)), ShardsDecision { replicas: 5, held: vec![] });
}

#[test]
fn a_shard_that_is_empty_and_quiet_may_go() {
    assert_eq!(shards(1, &fixtures::region(1, 3)).replicas, 1);
}

#[test]
fn a_shard_with_a_backlog_stays_and_those_below_it_too() {
    let report = fixtures::reading(7, Duration::ZERO);
    let region = with_shard(2, ShardSnapshot { report, ..fixtures::shard(1, 2) });
    let held = vec![Held { ordinal: 2, by: HeldBy::Backlog(7) }];
    assert_eq!(shards(1, &region), ShardsDecision { replicas: 3, held });
}

#[test]
fn a_shard_that_was_just_sent_an_event_stays() {
    let report = fixtures::reading(0, Duration::from_secs(4));
    let region = with_shard(1, ShardSnapshot { report, ..fixtures::shard(1, 1) });
    assert_eq!(shards(1, &region).held[0].by, HeldBy::NotQuietYet);
}

#[test]
fn a_shard_that_does_not_report_stays_because_unknown_is_not_empty() {
    let silent = Observation::Unreachable(NotRead { why: "no".to_owned(), since: fixtures::now() });
    for report in [Observation::NotYet, silent] {
        let region = with_shard(1, ShardSnapshot { report, ..fixtures::shard(1, 1) });
        assert_eq!(shards(1, &region).held[0].by, HeldBy::Unknown);
    }
}

#[test]
fn a_report_of_long_ago_says_nothing_of_now() {
    let later = fixtures::now() + Duration::from_secs(6);
    assert_eq!(desired_shards(1, &fixtures::region(1, 2), &[], later).held[0].by, HeldBy::Unknown);
}

#[test]
fn a_shard_that_never_had_a_volume_may_go_unreported() {
    for volume in [Volume::None, Volume::Pending] {
        let shard = ShardSnapshot { volume, report: Observation::NotYet, ..fixtures::shard(1, 1) };
        assert_eq!(shards(1, &with_shard(1, shard)).replicas, 1);
    }
}

#[test]
fn a_volume_that_an_earlier_shard_left_holds_nothing_back() {
    let mut region = fixtures::region(1, 1);
    let left = ShardSnapshot { pod: None, report: Observation::NotYet, ..fixtures::shard(1, 4) };
    region.shards.insert(4, left);
    assert_eq!(shards(1, &region), ShardsDecision { replicas: 1, held: vec![] });
}

#[test]
fn places_follow_weights_as_well_as_whole_shards_can() {
    for (claims, expected) in [
        (vec![(50, 2), (50, 2)], vec![2, 2]),
        (vec![(75, 3), (25, 3)], vec![3, 1]),
        (vec![(50, 1), (50, 3)], vec![1, 1]),
        (vec![(1, 1), (1, 1), (1, 1)], vec![1, 1, 1]),
        (vec![(100, 2), (0, 2)], vec![2, 0]),
        (vec![(1, 1), (99, 1)], vec![1, 1]),
        (vec![(70, 8), (30, 8)], vec![8, 4]),
    ] {
        assert_eq!(places(&claims), expected, "{claims:?}");
    }
}

#[test]
fn without_a_weight_nothing_is_listed() {
    assert_eq!(places(&[(0, 2), (0, 1)]), [0, 0]);
}

#[test]
fn a_region_of_weight_zero_serves_what_it_has_and_gets_nothing_new() {
    let mut intent = fixtures::intent();
    intent.regions[1].weight = 0;
    let plan = decided(&intent, &fixtures::settled());
    let (listed, unlisted) = (&plan.regions[0], &plan.regions[1]);
    assert_eq!((listed.share_percent, unlisted.share_percent), (100, 0));
    assert!(unlisted.endpoints.iter().all(|endpoint| !endpoint.listed && endpoint.serving));
    assert_eq!(unlisted.reason, RegionReason::OutOfService);
}

#[test]
fn a_shard_that_goes_is_unlisted_while_it_drains() {
    let mut intent = fixtures::intent();
    intent.regions[0].shards = ShardRange::always(1);
    let mut snapshot = fixtures::settled();
    let report = fixtures::reading(340, Duration::ZERO);
    snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&1).unwrap().report = report;
    let plan = decided(&intent, &snapshot);
    let region = &plan.regions[0];
    assert_eq!(region.endpoints.iter().map(|endpoint| endpoint.listed).collect::<Vec<_>>(), [true, false]);
    assert_eq!((region.replicas, region.reason), (2, RegionReason::Draining));
    assert_eq!(region.message, "1 of 2 shards stay; Pod orders-eu-west-1 waits for 340 events to be delivered");
    assert_eq!(plan.recheck_after, RECHECK_WHILE_DRAINING);
}

#[test]
fn a_region_that_left_the_spec_stays_until_it_is_empty() {
    let mut intent = fixtures::intent();
    intent.regions.truncate(1);
    let mut snapshot = fixtures::settled();
    let shard = |snapshot: &mut FleetSnapshot, report| {
        snapshot.regions.get_mut("us-east").unwrap().shards.get_mut(&0).unwrap().report = report;
    };
    shard(&mut snapshot, fixtures::reading(1, Duration::ZERO));
    let leaving = &decided(&intent, &snapshot).regions[1];
    assert_eq!((leaving.standing, leaving.reason), (Standing::Leaving, RegionReason::Leaving));
    assert_eq!(
        leaving.message,
        "the region is not in the spec any more; Pod orders-us-east-0 waits for 1 event to be delivered"
    );
    assert!(leaving.endpoints.iter().all(|endpoint| !endpoint.listed));

    shard(&mut snapshot, fixtures::reading(0, Duration::from_mins(1)));
    assert_eq!(decided(&intent, &snapshot).regions[1].standing, Standing::Gone);
}

#[test]
fn trouble_with_a_pod_is_the_reason_and_names_it() {
    let mut snapshot = fixtures::settled();
    let region = snapshot.regions.get_mut("us-east").unwrap();
    let pod = region.shards.get_mut(&1).unwrap().pod.as_mut().unwrap();
    pod.ready = false;
    pod.trouble =
        Some(PodTrouble { kind: TroubleKind::ImageUnavailable, message: "image x cannot be had.".to_owned() });
    let plan = decided(&fixtures::intent(), &snapshot);
    assert_eq!(plan.regions[1].reason, RegionReason::ImageUnavailable);
    assert_eq!(plan.regions[1].message, "1 of 2 shards ready; image x cannot be had; see Pod orders-us-east-1");
}

#[test]
fn trouble_with_a_volume_names_the_claim() {
    let mut snapshot = fixtures::settled();
    let region = snapshot.regions.get_mut("us-east").unwrap();
    let pod = region.shards.get_mut(&0).unwrap().pod.as_mut().unwrap();
    pod.ready = false;
    pod.trouble = Some(PodTrouble { kind: TroubleKind::VolumeUnavailable, message: "no class".to_owned() });
    let message = &decided(&fixtures::intent(), &snapshot).regions[1].message;
    assert_eq!(
        message,
        "1 of 2 shards ready; no class; see PersistentVolumeClaim log-orders-us-east-0, which asks for the default StorageClass"
    );
}

#[test]
fn a_terminating_or_unready_shard_is_not_listed() {
    let mut snapshot = fixtures::settled();
    let region = snapshot.regions.get_mut("eu-west").unwrap();
    region.shards.get_mut(&0).unwrap().pod.as_mut().unwrap().terminating = true;
    region.shards.get_mut(&1).unwrap().pod.as_mut().unwrap().ready = false;
    let plan = decided(&fixtures::intent(), &snapshot);
    assert!(plan.regions[0].endpoints.iter().all(|endpoint| !endpoint.listed));
    assert_eq!(plan.regions[1].share_percent, 100);
}

#[test]
fn a_shard_that_is_silent_for_long_is_named_without_taking_it_out() {
    let mut snapshot = fixtures::settled();
    let since = fixtures::now() - Duration::from_secs(10);
    let silent = Observation::Unreachable(NotRead { why: "port 9090 cannot be reached".to_owned(), since });
    snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&1).unwrap().report = silent;
    let region = &decided(&fixtures::intent(), &snapshot).regions[0];
    assert!(region.settled && region.endpoints.iter().all(|endpoint| endpoint.listed));
    assert_eq!(region.reason, RegionReason::ReportsMissing);
    assert!(region.message.contains("orders-eu-west-1, port 9090 cannot be reached"), "{}", region.message);
}

#[test]
fn a_rollout_is_told_by_how_far_it_has_come() {
    let mut snapshot = fixtures::settled();
    let region = snapshot.regions.get_mut("eu-west").unwrap();
    region.rollout = Some(crate::fleet::Rollout { replicas: 2, complete: false, replaces: true, updated: 1 });
    region.shards.get_mut(&1).unwrap().pod.as_mut().unwrap().ready = false;
    let region = &decided(&fixtures::intent(), &snapshot).regions[0];
    assert_eq!((region.reason, region.settled), (RegionReason::RollingOut, false));
    assert_eq!(region.message, "1 of 2 shards ready, 1 of 2 run the new spec; see StatefulSet orders-eu-west");
}

/// Of 1000 fleets with three regions of four shards each. It tells how long that took, which is measured in a release build:
/// `cargo test --release -p signalbox --lib a_thousand_fleets -- --nocapture`.
#[test]
fn a_thousand_fleets_are_decided_about_each_by_its_own_load() {
    let rates =
        crate::fleet::Rates { over: Duration::from_secs(5), accepted: 60.0, settled: 60.0, ..Default::default() };
    let fleets: Vec<_> = (0..1_000_u64)
        .map(|number| {
            let (mut intent, mut snapshot) = (fixtures::intent(), FleetSnapshot::default());
            let template = intent.regions[0].clone();
            intent.regions.clear();
            for name in ["eu-west", "us-east", "ap-south"] {
                let shards = ShardRange { min: 1, max: 16 };
                intent.regions.push(RegionIntent { name: name.to_owned(), shards, ..template.clone() });
                let mut seen = fixtures::region(1, 4);
                for (&ordinal, shard) in &mut seen.shards {
                    shard.report = fixtures::reading_with(number * 10, rates.clone());
                    if let Observation::Reading { value, .. } = &mut shard.report {
                        let log = u64::from(ordinal) + 1;
                        value.shard.routing =
                            Some(signalbox_contract::RoutingReport { ordinal, log, ..Default::default() });
                    }
                }
                snapshot.regions.insert(name.to_owned(), seen);
            }
            // The table that the regions have is remembered, and on its way to their shards.
            let memory = decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now()).memory();
            assert_eq!(memory.routing.len(), 3);
            (intent, snapshot, memory)
        })
        .collect();
    let start = std::time::Instant::now();
    let growing = fleets.iter().filter(|(intent, snapshot, memory)| {
        let plan = decide(intent, snapshot, memory, fixtures::now());
        plan.regions.iter().any(|region| region.wanted > 4)
    });
    let growing = growing.count();
    let each = start.elapsed() / 1_000;
    println!("decide: {each:?} a fleet of 3 regions and 12 shards; {growing} of 1000 grow");
    assert!((101..1_000).contains(&growing), "{growing}");
}

fn table(shards: u32, peers: &[u32]) -> Routing {
    let peers = peers.iter().map(|&ordinal| (ordinal, 0xa0 + u64::from(ordinal))).collect();
    Routing { epoch: 3, shards, peers, ..Routing::default() }
}

#[test]
fn a_shard_that_hands_over_goes_once_it_is_in_no_table() {
    let mut region = fixtures::region(1, 2);
    region.shards.get_mut(&1).unwrap().report = fixtures::routed(1, 3, 7);
    let decided = |region: &RegionSnapshot, table: &Routing| desired_shards(1, region, &[table], fixtures::now());
    assert_eq!(decided(&region, &table(1, &[0, 1])).held[0].by, HeldBy::HandingOver(Some(7)));
    region.shards.get_mut(&1).unwrap().report = fixtures::routed(1, 3, 0);
    assert_eq!(decided(&region, &table(2, &[0, 1])).held[0].by, HeldBy::HandingOver(Some(0)));
    assert_eq!(decided(&region, &table(1, &[0])).replicas, 1);
    region.shards.get_mut(&1).unwrap().report = Observation::NotYet;
    assert_eq!(decided(&region, &table(1, &[0])).held[0].by, HeldBy::Unknown, "what is not known is not empty");
}

#[test]
fn a_shard_does_not_go_by_a_table_that_is_older_than_what_shards_know() {
    let (mut intent, mut snapshot) = (fixtures::intent(), fixtures::settled());
    intent.regions[0].shards = crate::fleet::ShardRange::always(1);
    let shards = &mut snapshot.regions.get_mut("eu-west").unwrap().shards;
    for (ordinal, shard) in shards {
        shard.report = fixtures::routed(*ordinal, 9, 0);
        let Observation::Reading { value, .. } = &mut shard.report else { panic!() };
        value.quiet_for = Duration::from_mins(1);
    }
    for remembered in [Some(table(1, &[0])), None] {
        let routing = remembered.map(|table| ("eu-west".to_owned(), table)).into_iter().collect();
        let memory = FleetMemory { routing, ..FleetMemory::default() };
        let plan = decide(&intent, &snapshot, &memory, fixtures::now());
        let region = &plan.regions[0];
        assert!(region.routing.as_ref().unwrap().routing.peers.contains_key(&1));
        assert_eq!(region.replicas, 2, "it may own slots by then");
    }
}

#[test]
fn a_region_that_goes_delivers_what_it_holds_though_it_has_a_table() {
    let mut snapshot = fixtures::settled();
    let mut gone = fixtures::region(3, 1);
    gone.shards.get_mut(&0).unwrap().report = fixtures::routed(0, 3, 7);
    snapshot.regions.insert("ap-south".to_owned(), gone);
    let routing = BTreeMap::from([("ap-south".to_owned(), table(1, &[0]))]);
    let memory = FleetMemory { routing, ..FleetMemory::default() };
    let plan = decide(&fixtures::intent(), &snapshot, &memory, fixtures::now());
    let region = plan.regions.iter().find(|region| region.name == "ap-south").unwrap();
    assert_eq!((region.replicas, region.standing), (1, Standing::Leaving));
    assert!(region.message.contains("7 events to be delivered"), "{}", region.message);
    assert_eq!(region.routing.as_ref().unwrap().routing, table(1, &[0]));
}

#[test]
fn while_dispatchers_from_before_routing_serve_producers_are_sent_to_those_alone() {
    let (intent, mut snapshot) = (fixtures::intent(), fixtures::settled());
    let listed = |snapshot: &FleetSnapshot| {
        let endpoints = &decided(&intent, snapshot).regions[0].endpoints;
        endpoints.iter().map(|endpoint| endpoint.listed).collect::<Vec<_>>()
    };
    let shards = &mut snapshot.regions.get_mut("eu-west").unwrap().shards;
    shards.get_mut(&1).unwrap().report = fixtures::routed(1, 1, 0);
    assert_eq!(listed(&snapshot), [true, false]);
    let shards = &mut snapshot.regions.get_mut("eu-west").unwrap().shards;
    shards.get_mut(&0).unwrap().pod.as_mut().unwrap().ready = false;
    assert_eq!(listed(&snapshot), [false, true], "one that is being replaced takes nothing");
}

#[test]
fn a_fleet_is_looked_at_again_when_an_order_ends() {
    let (mut intent, snapshot) = (fixtures::intent(), fixtures::settled());
    let calm = decided(&intent, &snapshot).recheck_after;
    let end = Duration::from_secs(3);
    assert!(calm > end, "{calm:?}");
    intent.manual.scaling_paused_until = Some(fixtures::now() + end);
    assert_eq!(decided(&intent, &snapshot).recheck_after, end);
}
