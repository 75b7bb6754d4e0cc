//! Which events a change of status deserves: one per region or condition whose reason is another, and per sink that
//! begins to fail, trips, answers again, or has its first dead letter, per decision about a size, when more shards would
//! be needed or would not help, when a shard or its volume is lost, per step of a region's breaker, and when what somebody asks
//! for begins, ends or cannot be followed. Pure.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use kube::runtime::events::{Event, EventType};

use crate::api::{DecisionStatus, EventDispatcher, EventDispatcherStatus, RegionStatus, SinkStatus};
use crate::fleet::{RegionReason, names};

use super::bottleneck::BOTTLENECK_FORECAST;
use super::breaker;
use super::conditions::{DEAD_LETTERS, STALLED, describe_dead_letters, describe_failing, is_failing, is_tripped};
use super::decisions::SHARDS;
use super::manual;
use super::routing::{self, ORDERING_AT_RISK};
use super::scaling::{SCALING_INEFFECTIVE, SCALING_LIMITED};
use super::status::has_dead_letters;
use super::traffic;

/// Reasons that nobody has to do anything about.
const CALM: [RegionReason; 7] = [
    RegionReason::Serving,
    RegionReason::OutOfService,
    RegionReason::Draining,
    RegionReason::Claiming,
    RegionReason::Leaving,
    RegionReason::RollingOut,
    RegionReason::Starting,
];

/// What everybody who watches would want to hear, in the order of the status.
pub(super) fn events(
    dispatcher: &EventDispatcher,
    old: &EventDispatcherStatus,
    new: &EventDispatcherStatus,
) -> Vec<Event> {
    let mut events = Vec::new();
    for region in &new.regions {
        let before = old.regions.iter().find(|before| before.name == region.name);
        let step = breaker::of_region(before, region);
        let is_new = before.map(|before| &before.reason) != Some(&region.reason);
        if is_new && !(step.is_some() && breaker::says_all(before, region)) {
            events.push(of_region(dispatcher, region));
        }
        events.extend(routing::of_region(before, region));
        events.extend(step);
    }
    for gone in old.regions.iter().filter(|old| new.regions.iter().all(|new| new.name != old.name)) {
        events.push(event(
            EventType::Normal,
            "Removed",
            format!("region {}: removed; its volumes are kept", gone.name),
            "Remove",
        ));
    }
    for sink in &new.sinks {
        let before = old.sinks.iter().find(|before| before.name == sink.name);
        events.extend(of_sink(before, sink));
    }
    events.extend(manual::events(old, new));
    let decided = new.decisions.iter().filter(|decision| !old.decisions.contains(decision));
    // Those of breakers are told with the regions.
    let decided = decided.filter(|decision| decision.what == SHARDS);
    events.extend(decided.map(|decision| of_decision(dispatcher, decision)));
    for (type_, action) in [
        (STALLED, "Reconcile"),
        (SCALING_LIMITED, "Limit"),
        (SCALING_INEFFECTIVE, "Hold"),
        (ORDERING_AT_RISK, "Route"),
        (BOTTLENECK_FORECAST, "Foretell"),
    ] {
        events.extend(of_condition(type_, action, old, new));
    }
    events.extend(traffic::of_shift(old, new));
    events.extend(of_drill(old, new));
    events
}

/// How a sink is, as far as people want to hear of a change.
#[derive(PartialEq, Eq)]
enum Health {
    Answers,
    Fails,
    Tripped,
}

fn health(sink: &SinkStatus) -> Option<Health> {
    match sink {
        _ if sink.failing.ends_with("/0") => None,
        _ if is_tripped(sink) => Some(Health::Tripped),
        _ if is_failing(sink) => Some(Health::Fails),
        _ => Some(Health::Answers),
    }
}

fn of_sink(before: Option<&SinkStatus>, sink: &SinkStatus) -> Vec<Event> {
    let was = before.and_then(health);
    let mut told = Vec::new();
    match health(sink) {
        Some(Health::Tripped) if was != Some(Health::Tripped) => {
            told.push((EventType::Warning, "SinkTripped", describe_failing(sink)));
        }
        Some(Health::Fails) if !matches!(was, Some(Health::Fails | Health::Tripped)) => {
            told.push((EventType::Warning, "SinkFailing", describe_failing(sink)));
        }
        Some(Health::Answers) if matches!(was, Some(Health::Fails | Health::Tripped)) => {
            told.push((EventType::Normal, "SinkAnswers", format!("sink {}: answers every shard again", sink.name)));
        }
        _ => {}
    }
    if has_dead_letters(sink) && !before.is_some_and(has_dead_letters) {
        told.push((EventType::Warning, DEAD_LETTERS, describe_dead_letters(sink, None)));
    }
    // Events are told apart by what they are related to and by their action, and a sink is no object.
    let action = format!("DeliverTo-{}", sink.name);
    told.into_iter().map(|(type_, reason, note)| event(type_, reason, note, &action)).collect()
}

/// A condition that is bad when it is True.
fn of_condition(type_: &str, action: &str, old: &EventDispatcherStatus, new: &EventDispatcherStatus) -> Option<Event> {
    let of = |status: &EventDispatcherStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_).cloned();
        condition.map(|condition| (condition.status == "True", condition))
    };
    let was_true = of(old).is_some_and(|(is_true, _)| is_true);
    match of(new)? {
        (true, now) if !was_true => Some(event(EventType::Warning, &now.reason, now.message, action)),
        (false, now) if was_true => {
            Some(event(EventType::Normal, &now.reason, format!("{type_} is {} again", now.status), action))
        }
        _ => None,
    }
}

/// What a drill came to.
fn of_drill(old: &EventDispatcherStatus, new: &EventDispatcherStatus) -> Option<Event> {
    let drill = new.drill.as_ref()?;
    let before = old.drill.as_ref().filter(|before| before.started_at == drill.started_at);
    if before.is_some_and(|before| before.outcome == drill.outcome) {
        return None;
    }
    let good = ["Running", "Survived"].contains(&drill.outcome.as_str());
    let type_ = if good { EventType::Normal } else { EventType::Warning };
    Some(event(type_, &format!("Drill{}", drill.outcome), drill.message.clone(), &format!("Drill-{}", drill.region)))
}

fn of_decision(dispatcher: &EventDispatcher, decision: &DecisionStatus) -> Event {
    let DecisionStatus { region, from, to, reason, numbers, .. } = decision;
    let note = format!("region {region}: {from} -> {to} shards: {numbers}");
    Event { secondary: Some(stateful_set(dispatcher, region)), ..event(EventType::Normal, reason, note, "Scale") }
}

fn stateful_set(dispatcher: &EventDispatcher, region: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some("StatefulSet".to_owned()),
        namespace: dispatcher.namespace(),
        name: Some(names::region(&dispatcher.name_any(), region)),
        ..ObjectReference::default()
    }
}

/// What stays of a fleet that is gone. At most the first ten claims by name: an event's text is short.
pub(super) fn farewell(fleet: &str, claims: &[String]) -> Event {
    let more = if claims.len() > 10 { ", …" } else { "" };
    let named = claims.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    let label = names::FLEET_LABEL;
    let note = format!(
        "{} volume claims are kept, because they may hold events: {named}{more}; an EventDispatcher of the same name \
         takes them up again, and kubectl delete pvc -l {label}={fleet} deletes them",
        claims.len()
    );
    event(EventType::Normal, "VolumesKept", note, "Delete")
}

fn of_region(dispatcher: &EventDispatcher, region: &RegionStatus) -> Event {
    let calm = CALM.iter().any(|reason| reason.as_str() == region.reason);
    let type_ = if calm { EventType::Normal } else { EventType::Warning };
    let note = format!("region {}: {}", region.name, region.message);
    Event {
        // Events are told apart by what they are related to, not by their text.
        secondary: Some(stateful_set(dispatcher, &region.name)),
        ..event(type_, &region.reason, note, "Reconcile")
    }
}

pub(super) fn event(type_: EventType, reason: &str, note: String, action: &str) -> Event {
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}
