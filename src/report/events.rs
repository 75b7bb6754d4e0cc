//! Which events a change of status deserves: one per region, sink or condition whose reason is another. Pure.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use kube::runtime::events::{Event, EventType};

use crate::api::{EventDispatcher, EventDispatcherStatus, RegionStatus};
use crate::fleet::{RegionReason, names};

use super::conditions::{SINKS_HEALTHY, STALLED};

/// Reasons that nobody has to do anything about.
const CALM: [RegionReason; 6] = [
    RegionReason::Serving,
    RegionReason::OutOfService,
    RegionReason::Draining,
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
        if before.map(|before| &before.reason) != Some(&region.reason) {
            events.push(of_region(dispatcher, region));
        }
    }
    for gone in old.regions.iter().filter(|old| new.regions.iter().all(|new| new.name != old.name)) {
        events.push(event(
            EventType::Normal,
            "Removed",
            format!("region {}: removed; its volumes are kept", gone.name),
            "Remove",
        ));
    }
    for type_ in [STALLED, SINKS_HEALTHY] {
        let status_of = |status: &EventDispatcherStatus| {
            status.conditions.iter().find(|condition| condition.type_ == type_).cloned()
        };
        let (before, after) = (status_of(old), status_of(new));
        let Some(after) = after else { continue };
        let is_bad = |status: &str| status == if type_ == STALLED { "True" } else { "False" };
        let was_bad = before.is_some_and(|before| is_bad(&before.status));
        if is_bad(&after.status) && !was_bad {
            events.push(event(EventType::Warning, &after.reason, after.message, "Reconcile"));
        } else if was_bad && !is_bad(&after.status) {
            let note =
                if after.message.is_empty() { format!("{type_} is {} again", after.status) } else { after.message };
            events.push(event(EventType::Normal, &after.reason, note, "Reconcile"));
        }
    }
    events
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
        secondary: Some(ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("StatefulSet".to_owned()),
            namespace: dispatcher.namespace(),
            name: Some(names::region(&dispatcher.name_any(), &region.name)),
            ..ObjectReference::default()
        }),
        ..event(type_, &region.reason, note, "Reconcile")
    }
}

fn event(type_: EventType, reason: &str, note: String, action: &str) -> Event {
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}
