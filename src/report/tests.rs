//! What people are told in each situation.

mod regions;
mod routing;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use signalbox_contract::{BreakerPhase, LastFailure, SinkReport};

use super::*;
use crate::decide::decide;
use crate::fixtures;
use crate::fleet::{FleetMemory, Observation, RegionReason};
use crate::manifests::ApplyFailure;
use crate::render::render;

struct Situation {
    intent: FleetIntent,
    snapshot: FleetSnapshot,
    failures: Vec<ApplyFailure>,
    changed_sets: BTreeSet<String>,
}

fn settled() -> Situation {
    Situation {
        intent: fixtures::intent(),
        snapshot: fixtures::settled(),
        failures: Vec::new(),
        changed_sets: BTreeSet::new(),
    }
}

fn told(situation: &Situation, old: &EventDispatcherStatus, now: Timestamp) -> EventDispatcherStatus {
    let Situation { intent, snapshot, failures, changed_sets } = situation;
    let plan = decide(intent, snapshot, &FleetMemory::of(Some(old)), now);
    let stage = Applied { failures: failures.clone(), changed_sets: changed_sets.clone(), route_left: false };
    let applied = render(intent, &plan, &fixtures::keyring()).applied(stage);
    status::status(&Told::Acted { intent, snapshot, plan: &plan, applied: &applied }, old, Some(3), now)
}

fn status_of(situation: &Situation) -> EventDispatcherStatus {
    told(situation, &EventDispatcherStatus::default(), fixtures::now())
}

fn condition<'a>(status: &'a EventDispatcherStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

fn verdict<'a>(status: &'a EventDispatcherStatus, type_: &str) -> (&'a str, &'a str) {
    let condition = condition(status, type_);
    (&condition.status, &condition.reason)
}

#[test]
fn a_settled_fleet_is_ready_in_one_line() {
    let status = status_of(&settled());
    let summary = status.summary.clone().unwrap();
    assert_eq!((summary.regions.as_str(), summary.shards.as_str(), summary.backlog.as_str()), ("2/2", "4/4", "0"));
    assert_eq!(verdict(&status, "Ready"), ("True", "AllRegionsServing"));
    assert_eq!(verdict(&status, "Reconciling"), ("False", "UpToDate"));
    assert_eq!(verdict(&status, "Stalled"), ("False", "NotStalled"));
    assert_eq!(verdict(&status, "SinksHealthy"), ("True", "AllSinksAnswer"));
    assert_eq!(status.observed_generation, Some(3));
    insta::assert_yaml_snapshot!("status_of_a_settled_fleet", status);
}

#[test]
fn telling_again_changes_nothing() {
    let status = status_of(&settled());
    let later = fixtures::now() + Duration::from_mins(10);
    assert_eq!(told(&settled(), &status, later), status);
}

#[test]
fn a_status_survives_the_way_through_the_api_server() {
    let status = told(&settled(), &EventDispatcherStatus::default(), fixtures::now() + Duration::from_millis(345));
    let stored: EventDispatcherStatus = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
    assert_eq!(stored, status);
}

#[test]
fn the_largest_status_fits_into_11_kilobytes() {
    let mut situation = settled();
    let (region, sink) = (situation.intent.regions[0].clone(), situation.intent.sinks[0].clone());
    let seen = situation.snapshot.regions["eu-west"].clone();
    situation.intent.regions.clear();
    situation.intent.sinks.clear();
    situation.snapshot.regions.clear();
    for number in 0..32 {
        let name = format!("region-{number:02}");
        situation.snapshot.regions.insert(name.clone(), seen.clone());
        situation.intent.regions.push(crate::fleet::RegionIntent { name, ..region.clone() });
        situation.intent.sinks.push(crate::fleet::SinkIntent { name: format!("sink-{number:02}"), ..sink.clone() });
    }
    let size = serde_json::to_string(&status_of(&situation)).unwrap().len();
    assert!(size <= 11 << 10, "{size} bytes");
}

#[test]
fn what_is_not_known_shows_in_the_backlog() {
    let mut situation = settled();
    let shards = &mut situation.snapshot.regions.get_mut("eu-west").unwrap().shards;
    shards.get_mut(&0).unwrap().report = fixtures::reading(1_234, Duration::ZERO);
    shards.get_mut(&1).unwrap().report = Observation::NotYet;
    let status = status_of(&situation);
    assert_eq!(status.summary.clone().unwrap().backlog, "1.2k+?");
    assert_eq!(status.regions[0].backlog, "1.2k+?");
    assert_eq!(status.regions[0].oldest_event_age.as_deref(), Some("10s"));
    situation.snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&0).unwrap().report = Observation::NotYet;
    assert_eq!(status_of(&situation).regions[0].backlog, "unknown");
}

#[test]
fn a_region_that_is_not_ready_is_named_with_what_to_look_at() {
    let mut situation = settled();
    situation.snapshot.regions.remove("us-east");
    let status = status_of(&situation);
    assert_eq!(verdict(&status, "Ready"), ("False", "Starting"));
    let message = &condition(&status, "Ready").message;
    assert_eq!(message, "region us-east: 0 of 2 shards ready; see StatefulSet orders-us-east");
    assert_eq!(verdict(&status, "Reconciling"), ("True", "Starting"));
    assert_eq!(status.summary.unwrap().regions, "1/2");
}

#[test]
fn a_spec_that_was_just_applied_is_not_ready_yet() {
    let mut situation = settled();
    situation.changed_sets.insert("orders-eu-west".to_owned());
    let status = status_of(&situation);
    assert_eq!(verdict(&status, "Ready"), ("False", "RollingOut"));
    assert_eq!(verdict(&status, "Reconciling"), ("True", "RollingOut"));
}

#[test]
fn an_object_of_somebody_else_stalls_the_fleet() {
    let mut situation = settled();
    let message = "it exists and belongs to nobody".to_owned();
    situation.failures.push(ApplyFailure { object: "Service orders".to_owned(), message, needs_a_hand: true });
    let status = status_of(&situation);
    assert_eq!(verdict(&status, "Ready"), ("False", "ApplyRefused"));
    assert_eq!(verdict(&status, "Stalled"), ("True", "ApplyRefused"));
    assert_eq!(verdict(&status, "Reconciling"), ("False", "Stalled"));
    assert_eq!(condition(&status, "Stalled").message, "Service orders: it exists and belongs to nobody");
}

#[test]
fn a_failure_that_may_pass_does_not_stall_the_fleet() {
    let mut situation = settled();
    let message = "no answer".to_owned();
    situation.failures.push(ApplyFailure { object: "Service orders".to_owned(), message, needs_a_hand: false });
    let status = status_of(&situation);
    assert_eq!(verdict(&status, "Stalled"), ("False", "NotStalled"));
    assert_eq!(verdict(&status, "Reconciling"), ("True", "ApplyFailed"));
}

#[test]
fn a_failing_sink_is_named_and_leaves_the_fleet_ready() {
    let mut situation = settled();
    let shard = situation.snapshot.regions.get_mut("eu-west").unwrap().shards.get_mut(&0).unwrap();
    let Observation::Reading { value, .. } = &mut shard.report else { panic!("a reading") };
    value.shard.sinks[1].consecutive_failures = 4;
    let message = "connection refused".to_owned();
    value.shard.sinks[1].last_failure = Some(LastFailure { message, age_ms: 10 });
    let status = status_of(&situation);
    assert_eq!(verdict(&status, "SinksHealthy"), ("False", "SinkFailing"));
    assert_eq!(condition(&status, "SinksHealthy").message, "sink audit: 1 of 4 shards fail: connection refused");
    assert_eq!(status.sinks[0].failing, "0/4");
    assert_eq!(verdict(&status, "Ready").0, "True");
}

fn sink_report<'a>(situation: &'a mut Situation, region: &str, sink: usize) -> &'a mut SinkReport {
    let shard = situation.snapshot.regions.get_mut(region).unwrap().shards.get_mut(&1).unwrap();
    let Observation::Reading { value, .. } = &mut shard.report else { panic!("a reading") };
    &mut value.shard.sinks[sink]
}

fn trip(report: &mut SinkReport) {
    report.phase = BreakerPhase::Tripped;
    report.last_failure = Some(LastFailure { message: "answered 503".to_owned(), age_ms: 10 });
}

#[test]
fn a_tripped_sink_is_named_before_one_that_fails() {
    let mut situation = settled();
    sink_report(&mut situation, "eu-west", 0).consecutive_failures = 1;
    trip(sink_report(&mut situation, "us-east", 1));
    let status = status_of(&situation);
    assert_eq!((status.sinks[0].phase.as_str(), status.sinks[1].phase.as_str()), ("Serving", "1/4 Tripped"));
    assert_eq!(verdict(&status, "SinksHealthy"), ("False", "SinkFailing"));
    let message = &condition(&status, "SinksHealthy").message;
    assert_eq!(message, "sink audit: 1 of 4 shards fail, 1 of them Tripped: answered 503");
}

#[test]
fn a_probe_and_the_limit_of_concurrency_are_nothing_to_tell() {
    let mut situation = settled();
    trip(sink_report(&mut situation, "eu-west", 1));
    let waiting = status_of(&situation);
    let report = sink_report(&mut situation, "eu-west", 1);
    (report.phase, report.concurrency_limit) = (BreakerPhase::Probing, 1);
    assert_eq!(status_of(&situation), waiting);
}

#[test]
fn dead_letters_are_counted_and_where_they_are_is_told() {
    let mut situation = settled();
    sink_report(&mut situation, "eu-west", 1).dead_letters = 7;
    sink_report(&mut situation, "us-east", 1).dead_letters = 1_300;
    let status = status_of(&situation);
    assert_eq!(
        (status.sinks[0].dead_letters.as_deref(), status.sinks[1].dead_letters.as_deref()),
        (None, Some("1.3k"))
    );
    assert_eq!(verdict(&status, "SinksHealthy"), ("False", "DeadLetters"));
    let message = &condition(&status, "SinksHealthy").message;
    let look = "kubectl exec --namespace shop orders-eu-west-1 -- /dispatcher dead-letters list";
    assert_eq!(message, &format!("sink audit: dead letters: 1.3k; see {look}"));
    assert_eq!(verdict(&status, "Ready").0, "True");
}

#[test]
fn a_sink_that_no_shard_tells_of_is_unknown() {
    let mut situation = settled();
    for region in situation.snapshot.regions.values_mut() {
        region.shards.values_mut().for_each(|shard| shard.report = Observation::NotYet);
    }
    let status = status_of(&situation);
    let sink = &status.sinks[0];
    assert_eq!((sink.phase.as_str(), sink.dead_letters.as_deref()), ("unknown", None));
    assert_eq!(verdict(&status, "SinksHealthy"), ("Unknown", "NoReports"));
}

#[test]
fn a_sink_that_fails_trips_gives_up_and_answers_again_is_announced_once_each() {
    let mut situation = settled();
    let mut before = status_of(&situation);
    let mut announced = |situation: &Situation| {
        let after = told(situation, &before, fixtures::now());
        let events = events::events(&fixtures::dispatcher(), &before, &after);
        assert!(events.iter().all(|event| event.action == "DeliverTo-audit"));
        before = after;
        events.into_iter().map(|event| format!("{}: {}", event.reason, event.note.unwrap())).collect::<Vec<_>>()
    };
    let report = sink_report(&mut situation, "eu-west", 1);
    report.consecutive_failures = 1;
    assert_eq!(announced(&situation), ["SinkFailing: sink audit: 1 of 4 shards fail"]);
    trip(sink_report(&mut situation, "eu-west", 1));
    let tripped = "SinkTripped: sink audit: 1 of 4 shards fail, 1 of them Tripped: answered 503";
    assert_eq!(announced(&situation), [tripped]);
    trip(sink_report(&mut situation, "us-east", 1));
    assert_eq!(announced(&situation), [""; 0]);
    for region in ["eu-west", "us-east"] {
        let report = sink_report(&mut situation, region, 1);
        (report.phase, report.consecutive_failures, report.dead_letters) = (BreakerPhase::Serving, 0, 2);
    }
    let well = ["SinkAnswers: sink audit: answers every shard again", "DeadLetters: sink audit: dead letters: 4"];
    assert_eq!(announced(&situation), well);
    sink_report(&mut situation, "us-east", 1).dead_letters = 9;
    assert_eq!(announced(&situation), [""; 0]);
}

#[test]
fn a_spec_that_cannot_be_acted_on_stalls_and_keeps_what_is_known() {
    let before = status_of(&settled());
    let error = SpecError::NoWeight;
    let status = status::status(&Told::Rejected(&error), &before, Some(4), fixtures::now());
    assert_eq!(verdict(&status, "Stalled"), ("True", "InvalidSpec"));
    assert_eq!(condition(&status, "Ready").message, "regions: give at least one region a weight above 0");
    assert_eq!((&status.regions, status.observed_generation), (&before.regions, Some(4)));
    assert_eq!(verdict(&status, "SinksHealthy").0, "True");
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let before = status_of(&settled());
    let later = fixtures::now() + Duration::from_mins(1);
    let mut situation = settled();
    situation.snapshot.regions.remove("us-east");
    let status = told(&situation, &before, later);
    assert_eq!(condition(&status, "Ready").last_transition_time.0, later);
    assert_eq!(condition(&status, "Stalled").last_transition_time.0, fixtures::now());
}

#[test]
fn events_are_for_transitions_only() {
    let dispatcher = fixtures::dispatcher();
    let before = status_of(&settled());
    assert!(events::events(&dispatcher, &before, &before).is_empty());

    let mut situation = settled();
    situation.snapshot.regions.remove("us-east");
    let after = told(&situation, &before, fixtures::now());
    let events = events::events(&dispatcher, &before, &after);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].reason, RegionReason::Starting.as_str());
    assert_eq!(events[0].note.as_deref(), Some("region us-east: 0 of 2 shards ready; see StatefulSet orders-us-east"));
    let related = events[0].secondary.as_ref().unwrap();
    assert_eq!(related.name.as_deref(), Some("orders-us-east"));
}

#[test]
fn a_fleet_that_is_gone_is_announced_with_its_volumes() {
    let claims = ["log-orders-eu-west-0".to_owned(), "log-orders-us-east-0".to_owned()];
    let note = events::farewell("orders", &claims).note.unwrap();
    let start = "2 volume claims are kept, because they may hold events: log-orders-eu-west-0, log-orders-us-east-0;";
    assert!(note.starts_with(start), "{note}");
    assert!(note.ends_with("kubectl delete pvc -l signalbox.dev/fleet=orders deletes them"), "{note}");
    let many = vec!["log-orders-eu-west-0".to_owned(); 2048];
    assert!(events::farewell("orders", &many).note.unwrap().len() < 1024);
}

#[test]
fn a_region_that_is_gone_is_announced_with_what_is_kept() {
    let before = status_of(&settled());
    let mut situation = settled();
    situation.intent.regions.truncate(1);
    let after = told(&situation, &before, fixtures::now());
    assert_eq!(after.regions.len(), 1);
    let events = events::events(&fixtures::dispatcher(), &before, &after);
    let notes: Vec<_> = events.iter().filter_map(|event| event.note.as_deref()).collect();
    assert_eq!(notes, ["region us-east: removed; its volumes are kept"]);
}

/// A fleet whose first region may grow, and has more to do than it manages.
fn growing() -> Situation {
    let mut situation = settled();
    situation.intent.regions[0].shards = crate::fleet::ShardRange { min: 2, max: 3 };
    let rates = crate::fleet::Rates {
        over: Duration::from_secs(5),
        accepted: 500.0,
        settled: 100.0,
        cpu: Some(0.95),
        ..crate::fleet::Rates::default()
    };
    for shard in situation.snapshot.regions.get_mut("eu-west").unwrap().shards.values_mut() {
        shard.report = fixtures::reading_with(10_000, rates.clone());
    }
    situation
}

#[test]
fn a_fleet_of_which_nothing_scales_says_nothing_of_scaling() {
    let status = status_of(&settled());
    assert!(status.decisions.is_empty() && status.regions.iter().all(|region| region.scaling.is_none()));
    assert!(status.conditions.iter().all(|condition| !condition.type_.starts_with("Scaling")));
}

#[test]
fn a_decision_is_told_with_its_numbers_and_remembered_across_a_restart() {
    let status = status_of(&growing());
    let decision = &status.decisions[0];
    assert_eq!((decision.region.as_str(), decision.from, decision.to), ("eu-west", 2, 3));
    assert_eq!(decision.reason, "LoadHigher");
    assert_eq!(
        decision.numbers,
        "arrival 1k/s, settled 200/s, backlog 20k to drain in 60s, 100/s a shard (seen 1x) at 70 %, 20 needed, bound by \
         shards.max"
    );
    let plan = |memory: &FleetMemory| decide(&growing().intent, &growing().snapshot, memory, fixtures::now());
    assert_eq!(FleetMemory::of(Some(&status)), plan(&FleetMemory::default()).memory());
    let stored: EventDispatcherStatus = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
    assert_eq!(stored, status);
}

#[test]
fn a_decision_and_its_limit_are_announced_once() {
    let (dispatcher, old) = (fixtures::dispatcher(), EventDispatcherStatus::default());
    let status = status_of(&growing());
    let told = |old: &EventDispatcherStatus, new: &EventDispatcherStatus| {
        let events = events::events(&dispatcher, old, new).into_iter();
        events.map(|event| (event.reason, event.action)).filter(|(_, action)| action != "Reconcile").collect::<Vec<_>>()
    };
    let pair = |reason: &str, action: &str| (reason.to_owned(), action.to_owned());
    assert_eq!(told(&old, &status), [pair("LoadHigher", "Scale"), pair("AtMaximum", "Limit")]);
    assert_eq!(verdict(&status, "ScalingLimited"), ("True", "AtMaximum"));
    assert_eq!(verdict(&status, "ScalingIneffective"), ("False", "Suits"));
    assert_eq!(told(&status, &status), []);
}

#[test]
fn growing_is_no_reason_not_to_be_ready() {
    let mut situation = growing();
    let status = status_of(&situation);
    let set = situation.snapshot.regions.get_mut("eu-west").unwrap();
    set.rollout = Some(crate::fleet::Rollout { replicas: 3, complete: false, replaces: false, updated: 2 });
    let status = told(&situation, &status, fixtures::now());
    assert_eq!(verdict(&status, "Ready"), ("True", "Starting"));
    assert_eq!(verdict(&status, "Reconciling"), ("True", "Starting"));
}

#[test]
fn only_the_last_twenty_decisions_are_kept_and_they_fit() {
    let mut status = EventDispatcherStatus::default();
    let one = status_of(&growing()).decisions[0].clone();
    status.decisions = (0..20).map(|from| crate::api::DecisionStatus { from, ..one.clone() }).collect();
    let status = told(&growing(), &status, fixtures::now());
    assert_eq!((status.decisions.len(), status.decisions[0].from, status.decisions[19].from), (20, 1, 2));
    let size = serde_json::to_string(&status.decisions).unwrap().len();
    assert!(size <= 8 << 10, "{size} bytes");
}

#[test]
fn a_status_is_written_only_over_the_one_that_it_was_made_from() {
    let mut dispatcher = fixtures::dispatcher();
    dispatcher.metadata.resource_version = Some("41".to_owned());
    let body = body(&dispatcher, &EventDispatcherStatus::default());
    assert_eq!((&body["metadata"]["resourceVersion"], &body["metadata"]["uid"]), (&"41".into(), &"0d0c5f1e".into()));
}
