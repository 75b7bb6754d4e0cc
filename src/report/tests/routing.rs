//! What people are told of routing tables, of slots that wait, and of shards that are lost.

use kube::runtime::events::EventType;
use signalbox_contract::RoutingReport;

use super::super::routing::is_kept;
use super::*;

/// A settled fleet whose shards in eu-west have the table of this epoch.
fn routed(epoch: u64) -> Situation {
    let mut situation = settled();
    for (ordinal, shard) in &mut situation.snapshot.regions.get_mut("eu-west").unwrap().shards {
        shard.report = fixtures::routed(*ordinal, epoch, 0);
    }
    situation
}

fn says(situation: &mut Situation, ordinal: u32, change: impl FnOnce(&mut RoutingReport)) {
    let shard = situation.snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&ordinal).unwrap();
    let Observation::Reading { value, .. } = &mut shard.report else { panic!("it does not report") };
    change(value.shard.routing.as_mut().unwrap());
}

/// The first table is given out, and taken.
fn with_a_table() -> (Situation, EventDispatcherStatus) {
    let status = status_of(&routed(0));
    let situation = routed(1);
    let status = told(&situation, &status, fixtures::now());
    (situation, status)
}

fn announced(old: &EventDispatcherStatus, new: &EventDispatcherStatus) -> Vec<(EventType, String, String)> {
    let events = events::events(&fixtures::dispatcher(), old, new).into_iter();
    events.map(|event| (event.type_, event.reason, event.note.unwrap())).collect()
}

#[test]
fn a_table_is_in_the_status_and_a_new_leader_goes_on_with_it() {
    let situation = routed(0);
    let status = status_of(&situation);
    let routing = status.regions[0].routing.clone().unwrap();
    assert_eq!((routing.epoch, routing.shards), (1, 2));
    assert_eq!((routing.peers[1].ordinal, routing.peers[1].log.as_str()), (1, "a1"));
    assert_eq!(status.regions[1].routing, None);
    let stored: EventDispatcherStatus = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
    let plan = decide(&situation.intent, &situation.snapshot, &FleetMemory::default(), fixtures::now());
    assert_eq!(FleetMemory::of(Some(&stored)).routing, plan.memory().routing);
    assert_eq!(told(&situation, &stored, fixtures::now()), stored);
}

#[test]
fn a_fleet_without_tables_says_nothing_of_them() {
    let status = status_of(&settled());
    assert!(status.conditions.iter().all(|condition| condition.type_ != "OrderingAtRisk"));
}

#[test]
fn a_region_of_which_slots_wait_is_ready_and_says_for_whom_they_wait() {
    let (mut situation, settled) = with_a_table();
    assert_eq!(settled.regions[0].reason, "Serving");
    says(&mut situation, 0, |says| says.claiming = 341);
    let status = told(&situation, &settled, fixtures::now());
    assert_eq!(verdict(&status, "Ready"), ("True", "Claiming"));
    assert_eq!(
        status.regions[0].message,
        "2 shards ready; 340 slots of event keys wait for what other shards held of them"
    );
    assert_eq!(status.regions[0].routing.as_ref().unwrap().claiming, 340);
    situation.snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&1).unwrap().report = Observation::NotYet;
    let status = told(&situation, &settled, fixtures::now());
    assert!(status.regions[0].message.ends_with("wait for Pod orders-eu-west-1, which does not report"), "{status:?}");
    assert_eq!(announced(&settled, &status)[0].0, EventType::Normal);
}

#[test]
fn a_shard_that_has_not_taken_its_table_is_named() {
    let (mut situation, settled) = with_a_table();
    says(&mut situation, 1, |says| says.epoch = 0);
    let status = told(&situation, &settled, fixtures::now());
    let waits = "2 shards ready; slots of event keys wait for Pod orders-eu-west-1 to take routing table 1";
    assert_eq!((status.regions[0].reason.as_str(), status.regions[0].message.as_str()), ("Claiming", waits));
}

#[test]
fn a_lost_shard_puts_order_at_risk_until_it_is_back_and_both_are_announced_once() {
    let (mut situation, settled) = with_a_table();
    assert_eq!(verdict(&settled, "OrderingAtRisk"), ("False", "InOrder"));
    says(&mut situation, 0, |says| says.claiming = 3);
    situation.snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&1).unwrap().report = Observation::NotYet;
    let long_ago = fixtures::now() - Duration::from_mins(1);
    situation.snapshot.history.silences.insert("eu-west".to_owned(), [(1, long_ago)].into());
    let lost = told(&situation, &settled, fixtures::now());
    assert_eq!(verdict(&lost, "OrderingAtRisk"), ("True", "ShardLost"));
    assert_eq!(lost.regions[0].routing.as_ref().unwrap().lost, [1]);
    let message = &condition(&lost, "OrderingAtRisk").message;
    assert!(message.starts_with("region eu-west: Pod orders-eu-west-1 is taken for lost, because"), "{message}");
    let warning = announced(&settled, &lost).into_iter().find(|(_, reason, _)| reason == "ShardLost").unwrap();
    assert_eq!((warning.0, &warning.2), (EventType::Warning, message));
    assert!(announced(&lost, &lost).is_empty());

    let mut back = routed(2);
    says(&mut back, 0, |says| says.at_risk = 512);
    let back = told(&back, &lost, fixtures::now());
    assert_eq!(back.regions[0].routing.as_ref().unwrap().lost, [0; 0]);
    assert_eq!(verdict(&back, "OrderingAtRisk"), ("True", "LateEvents"));
    let in_order = told(&routed(3), &back, fixtures::now());
    assert_eq!(verdict(&in_order, "OrderingAtRisk"), ("False", "InOrder"));
    let calm = announced(&back, &in_order).into_iter().find(|(_, reason, _)| reason == "InOrder").unwrap();
    assert_eq!(calm.0, EventType::Normal);
}

#[test]
fn a_volume_that_was_lost_is_counted_and_announced() {
    let (mut situation, settled) = with_a_table();
    says(&mut situation, 1, |says| (says.log, says.epoch) = (0xbeef, 0));
    let status = told(&situation, &settled, fixtures::now());
    assert_eq!(status.regions[0].routing.as_ref().unwrap().volumes_lost, 1);
    let note = "region eu-west: a volume is gone, and what was there and not delivered is lost".to_owned();
    assert!(announced(&settled, &status).contains(&(EventType::Warning, "VolumeLost".to_owned(), note)));
}

#[test]
fn a_shard_that_goes_says_how_much_it_has_to_hand_over() {
    let mut situation = routed(1);
    let region = situation.snapshot.regions.get_mut("eu-west").unwrap();
    region.shards.insert(2, fixtures::shard(1, 2));
    region.shards.get_mut(&2).unwrap().report = fixtures::routed(2, 1, 7);
    let rollout = region.rollout.as_mut().unwrap();
    (rollout.replicas, rollout.updated) = (3, 3);
    let peers = (0..3).map(|ordinal| (ordinal, 0xa0 + u64::from(ordinal))).collect();
    let routing = crate::fleet::Routing { epoch: 1, shards: 3, peers, ..crate::fleet::Routing::default() };
    let memory = FleetMemory { routing: [("eu-west".to_owned(), routing)].into(), ..FleetMemory::default() };
    let plan = decide(&situation.intent, &situation.snapshot, &memory, fixtures::now());
    let region = &plan.regions[0];
    assert_eq!((region.reason, region.replicas), (RegionReason::Draining, 3));
    assert_eq!(region.message, "2 of 3 shards stay; Pod orders-eu-west-2 waits for 7 events to be handed over");
    assert_eq!((region.routing.as_ref().unwrap().routing.epoch, plan.recheck_after), (2, Duration::from_secs(1)));
}

#[test]
fn what_is_stranded_is_in_the_status_and_the_region_says_how_to_have_it_delivered() {
    let (mut situation, _) = with_a_table();
    let region = situation.snapshot.regions.get_mut("eu-west").unwrap();
    region.shards.insert(2, crate::fleet::ShardSnapshot { pod: None, ..fixtures::shard(1, 2) });
    let mut before = EventDispatcherStatus::default();
    let peers = (0..3).map(|ordinal| crate::api::PeerStatus {
        ordinal,
        log: format!("{:x}", 0xa0 + ordinal),
        events: (ordinal == 2).then_some(1_200),
    });
    let routing = crate::api::RoutingStatus {
        epoch: 1,
        shards: 2,
        peers: peers.collect(),
        lost: vec![2],
        ..crate::api::RoutingStatus::default()
    };
    let region = crate::api::RegionStatus { name: "eu-west".to_owned(), routing: Some(routing), ..Default::default() };
    before.regions.push(region);
    let status = told(&situation, &before, fixtures::now());
    assert_eq!(status.regions[0].routing, before.regions[0].routing, "a new leader goes on with it");
    let message = "2 shards ready; Pod orders-eu-west-2 is gone, and its PersistentVolumeClaim log-orders-eu-west-2 still \
                   holds about 1.2k events: scale back up to 3 shards to have them delivered";
    assert_eq!((status.regions[0].reason.as_str(), status.regions[0].message.as_str()), ("Stranded", message));
    assert_eq!(verdict(&status, "Ready"), ("True", "Stranded"));
    assert_eq!(verdict(&status, "OrderingAtRisk"), ("True", "ShardLost"));
    let risk = &condition(&status, "OrderingAtRisk").message;
    assert!(risk.contains("log-orders-eu-west-2 still holds about 1.2k events"), "{risk}");
    let warned = announced(&before, &status).into_iter().find(|(_, reason, _)| reason == "Stranded").unwrap();
    assert_eq!((warned.0, warned.2), (EventType::Warning, format!("region eu-west: {message}")));
    assert_eq!(told(&situation, &status, fixtures::now()), status);
}

#[test]
fn a_lost_shard_is_named_beside_what_to_look_at_with_what_comes_late() {
    let (mut situation, settled) = with_a_table();
    says(&mut situation, 0, |says| says.claiming = 3);
    let shard = situation.snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&1).unwrap();
    shard.report = Observation::NotYet;
    shard.pod.as_mut().unwrap().ready = false;
    let long_ago = fixtures::now() - Duration::from_mins(1);
    situation.snapshot.history.silences.insert("eu-west".to_owned(), [(1, long_ago)].into());
    situation.snapshot.history.held.insert("eu-west".to_owned(), [(1, 5_678)].into());
    let lost = told(&situation, &settled, fixtures::now());
    let message = "1 of 2 shards ready; see StatefulSet orders-eu-west; about 5.7k events of Pod orders-eu-west-1 come \
                   late, when it is back";
    assert_eq!(lost.regions[0].message, message);
    assert_eq!(lost.regions[0].routing.as_ref().unwrap().peers[1].events, Some(5_700));
    let risk = &condition(&lost, "OrderingAtRisk").message;
    assert!(risk.contains("about 5.7k events come late when it is back"), "{risk}");
}

#[test]
fn the_largest_status_with_tables_fits_into_15_kilobytes() {
    let mut situation = routed(0);
    for ordinal in 0..2 {
        says(&mut situation, ordinal, |says| says.log = u64::MAX - u64::from(ordinal));
    }
    let seen = situation.snapshot.regions["eu-west"].clone();
    let region = situation.intent.regions[0].clone();
    situation.intent.regions.clear();
    situation.snapshot.regions.clear();
    for number in 0..32 {
        let name = format!("region-{number:02}");
        situation.snapshot.regions.insert(name.clone(), seen.clone());
        situation.intent.regions.push(crate::fleet::RegionIntent { name, ..region.clone() });
    }
    let size = serde_json::to_string(&status_of(&situation)).unwrap().len();
    assert!(size <= 15 << 10, "{size} bytes");
}

#[test]
fn a_table_that_the_api_server_drops_is_noticed() {
    let sent = status_of(&routed(0));
    assert!(is_kept(&sent, Some(&sent)));
    let mut pruned = sent.clone();
    pruned.regions[0].routing = None;
    assert!(!is_kept(&sent, Some(&pruned)) && !is_kept(&sent, None));
    let mut pruned = sent.clone();
    pruned.regions[1].breaker = None;
    assert!(!is_kept(&sent, Some(&pruned)));
    let mut shifted = sent.clone();
    shifted.traffic = Some(crate::api::TrafficStatus { version: 1, ..Default::default() });
    assert!(!is_kept(&shifted, Some(&sent)));
    let without = status_of(&settled());
    assert!(is_kept(&without, Some(&without)));
}
