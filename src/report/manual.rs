//! What is told of what people ask for by annotation: what is in force and until when, what is over, and an event when it
//! begins, ends or cannot be followed. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::{Event, EventType};

use super::events::event;
use crate::api::{EventDispatcherStatus, GROUP, ManualStatus, OrderOverStatus, RegionHoldStatus};
use crate::fleet::{FleetIntent, HeldPhase, HoldPurpose, PAUSE_SCALING, whole_second};

/// Problems that are told, and orders that are over.
const MANY: usize = 8;

/// What is in force now.
pub(super) fn status(intent: &FleetIntent, now: Timestamp) -> Option<ManualStatus> {
    let held = intent.regions.iter().filter_map(|region| Some((region, intent.manual.hold(&region.name, now)?)));
    let holds = held.map(|(region, hold)| RegionHoldStatus {
        region: region.name.clone(),
        purpose: hold.purpose.as_str().to_owned(),
        phase: match hold.phase {
            HeldPhase::Serving => "Serving".to_owned(),
            HeldPhase::Tripped => "Tripped".to_owned(),
            HeldPhase::Probing(percent) => format!("Probing {percent}"),
        },
        until: Time(whole_second(hold.until)),
    });
    let over = intent.manual.over(now).map(|(order, until)| OrderOverStatus {
        annotation: format!("{GROUP}/{order}"),
        until: Time(whole_second(until)),
    });
    let status = ManualStatus {
        holds: holds.collect(),
        scaling_paused_until: intent.manual.pause(now).map(|until| Time(whole_second(until))),
        problems: intent.manual.problems(now).into_iter().take(MANY).collect(),
        over: over.take(MANY).collect(),
    };
    (status != ManualStatus::default()).then_some(status)
}

/// What began, ended, or cannot be followed.
pub(super) fn events(old: &EventDispatcherStatus, new: &EventDispatcherStatus) -> Vec<Event> {
    let nothing = ManualStatus::default();
    let (old, new) = (old.manual.as_ref().unwrap_or(&nothing), new.manual.as_ref().unwrap_or(&nothing));
    let began = new.holds.iter().filter(|hold| !old.holds.contains(hold)).map(|hold| {
        let RegionHoldStatus { region, purpose, phase, until } = hold;
        let note = format!("region {region}: held {phase} until {} ({purpose})", until.0);
        event(EventType::Normal, "HoldBegins", note, &format!("{purpose}-{region}"))
    });
    // An order that was changed has begun anew.
    let ended = old.holds.iter().filter(|old| new.holds.iter().all(|new| new.region != old.region)).map(|hold| {
        let note = format!("region {}: held no longer ({})", hold.region, hold.purpose);
        event(EventType::Normal, "HoldEnds", note, &format!("End{}-{}", hold.purpose, hold.region))
    });
    let paused = match (&old.scaling_paused_until, &new.scaling_paused_until) {
        (before, Some(until)) if before.as_ref() != Some(until) => {
            Some(("ScalingPaused", format!("no region's size changes until {}", until.0)))
        }
        (Some(_), None) => Some(("ScalingResumed", "sizes follow their load again".to_owned())),
        _ => None,
    };
    let paused = paused.map(|(reason, note)| event(EventType::Normal, reason, note, reason));
    let problems = new.problems.iter().enumerate().filter(|(_, problem)| !old.problems.contains(problem));
    // Events are told apart by their action, not by their text.
    let problems = problems.map(|(number, problem)| {
        event(EventType::Warning, "OrderNotFollowed", problem.clone(), &format!("Follow-{number}"))
    });
    let late = new.over.iter().filter(|over| !old.over.contains(over) && !may_have_been_followed(over, old));
    let late = late.map(|OrderOverStatus { annotation, until }| {
        let note = format!("annotation {annotation} is not followed, because {} is over; write a later time", until.0);
        event(EventType::Warning, "OrderNotFollowed", note, &format!("Follow-{annotation}"))
    });
    began.chain(ended).chain(paused).chain(problems).chain(late).collect()
}

/// Whether an order that is over may have been in force before. Of several for one region, only the one that is followed was
/// told of.
fn may_have_been_followed(over: &OrderOverStatus, old: &ManualStatus) -> bool {
    let order = over.annotation.strip_prefix(GROUP).and_then(|order| order.strip_prefix('/')).unwrap_or_default();
    let region = HoldPurpose::of_order(order).map(|(_, region)| region);
    old.holds.iter().any(|hold| region == Some(hold.region.as_str()))
        || (order == PAUSE_SCALING && old.scaling_paused_until.is_some())
}
