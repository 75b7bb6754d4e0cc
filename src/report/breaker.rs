//! What is told of regions' breakers: where each is, which the next decision remembers, one condition, and an event for each
//! step. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::{Event, EventType};
use signalbox_contract::BreakerPhase;

use super::conditions::Draft;
use super::events::event;
use super::status::whole;
use crate::api::{BreakerStatus, RegionStatus};
use crate::fleet::{
    BreakerPlan, BreakerReason, FleetIntent, FleetPlan, RegionPlan, RegionReason, TripCause, phase_word, whole_second,
};

pub(super) const REGIONS_HEALTHY: &str = "RegionsHealthy";

/// Whether there is a region that could do another's work.
pub(super) fn several(plan: &FleetPlan) -> bool {
    breakers(plan).nth(1).is_some()
}

fn breakers(plan: &FleetPlan) -> impl Iterator<Item = (&RegionPlan, &BreakerPlan)> {
    plan.regions.iter().filter_map(|region| Some((region, region.breaker.as_ref()?)))
}

/// Where a region's breaker is: also what the next decision remembers.
pub(super) fn state(intent: &FleetIntent, region: &RegionPlan, several: bool, now: Timestamp) -> Option<BreakerStatus> {
    let plan = region.breaker.as_ref()?;
    let memory = &plan.memory;
    let calm = memory.phase == BreakerPhase::Serving && memory.trips == 0 && plan.reason == BreakerReason::Healthy;
    if calm && !several {
        return None;
    }
    let healthy = plan.reason == BreakerReason::Healthy;
    let probing = memory.phase == BreakerPhase::Probing;
    Some(BreakerStatus {
        phase: phase_word(memory.phase).to_owned(),
        // A fraction of a second would make the status differ from itself.
        since: Time(whole_second(memory.since)),
        until: memory.until.map(|until| Time(whole_second(until))),
        percent: probing.then(|| whole(intent.percent(&region.name, memory, now))),
        step: whole(memory.step),
        trips: whole(memory.trips),
        cause: memory.cause.map(|cause| cause.as_str().to_owned()),
        reason: if healthy { String::new() } else { plan.reason.as_str().to_owned() },
        message: if healthy { String::new() } else { plan.message.clone() },
    })
}

/// How many are not Serving, as `kubectl get` shows it.
pub(super) fn summary(plan: &FleetPlan) -> String {
    let of = |phase| breakers(plan).filter(|(_, breaker)| breaker.memory.phase == phase).count();
    match (of(BreakerPhase::Tripped), of(BreakerPhase::Probing)) {
        (tripped, 0) => format!("{tripped} tripped"),
        (0, probing) => format!("{probing} probing"),
        (tripped, probing) => format!("{tripped} tripped, {probing} probing"),
    }
}

/// The region that somebody should hear of first: one that is Tripped, else one that comes back.
pub(super) fn worst(plan: &FleetPlan) -> Option<(&RegionPlan, &BreakerPlan)> {
    let of = |phase| breakers(plan).find(|(_, breaker)| breaker.memory.phase == phase);
    of(BreakerPhase::Tripped).or_else(|| of(BreakerPhase::Probing))
}

/// One word for where a region is that is not Serving, as the reason of `Ready` and of events.
pub(super) fn word(phase: BreakerPhase) -> &'static str {
    match phase {
        BreakerPhase::Serving => "RegionServing",
        BreakerPhase::Tripped => "RegionTripped",
        BreakerPhase::Probing => "RegionProbing",
    }
}

/// Whether somebody asked for it.
fn is_manual(breaker: &BreakerPlan) -> bool {
    breaker.memory.cause.is_some_and(TripCause::is_manual)
}

/// The condition of a fleet of several regions.
pub(super) fn draft(plan: &FleetPlan) -> Option<Draft> {
    if !several(plan) {
        return None;
    }
    let out = |phase| breakers(plan).find(|(_, breaker)| breaker.memory.phase == phase && !is_manual(breaker));
    let because = |reason| breakers(plan).find(|(_, breaker)| breaker.reason == reason);
    let told = |status, (region, breaker): (&RegionPlan, &BreakerPlan)| {
        let reason = breaker.memory.cause.map_or(breaker.reason.as_str(), TripCause::as_str);
        (status, reason, format!("region {}: {}", region.name, breaker.message))
    };
    let (status, reason, message) = out(BreakerPhase::Tripped)
        .or_else(|| out(BreakerPhase::Probing))
        .or_else(|| because(BreakerReason::TooFewLeft))
        .map(|found| told("False", found))
        .or_else(|| Some(told("True", because(BreakerReason::SinkFailsEverywhere)?)))
        .or_else(|| Some(told("Unknown", because(BreakerReason::Unknown)?)))
        .unwrap_or(("True", "NoRegionFails", String::new()));
    Some(Draft { type_: REGIONS_HEALTHY, status, reason: reason.to_owned(), message })
}

/// Whether a region's reason is another because of its breaker, and for nothing else.
pub(super) fn says_all(before: Option<&RegionStatus>, region: &RegionStatus) -> bool {
    let out = |region: &RegionStatus| {
        [RegionReason::Tripped, RegionReason::Probing].iter().any(|reason| reason.as_str() == region.reason)
    };
    let serves = region.reason == RegionReason::Serving.as_str();
    out(region) || (serves && before.is_some_and(out))
}

/// A phase that is another, or another step of the ramp, or another cause; or one that would be another, if more regions were
/// left.
pub(super) fn of_region(before: Option<&RegionStatus>, region: &RegionStatus) -> Option<Event> {
    let now = region.breaker.as_ref()?;
    let then = before.and_then(|before| before.breaker.as_ref());
    let place = |breaker: &BreakerStatus| (breaker.phase.clone(), breaker.percent, breaker.cause.clone());
    let serving = now.phase == phase_word(BreakerPhase::Serving);
    let spared = |breaker: &BreakerStatus| breaker.reason == BreakerReason::TooFewLeft.as_str();
    if spared(now) && !then.is_some_and(spared) {
        let note = format!("region {}: {}", region.name, now.message);
        return Some(event(EventType::Warning, &now.reason, note, &format!("Spare-{}", region.name)));
    }
    if then.map_or(serving, |then| place(then) == place(now)) {
        return None;
    }
    let cause = now.cause.as_deref().and_then(TripCause::of);
    let tripped = now.phase == phase_word(BreakerPhase::Tripped);
    let bad = tripped && !cause.is_some_and(TripCause::is_manual);
    let why = if now.message.is_empty() { "serves again" } else { &now.message };
    let (phase, note) = match (&now.cause, now.percent) {
        (_, Some(_)) => (BreakerPhase::Probing, format!("region {}: {why}", region.name)),
        (Some(cause), None) if tripped => (BreakerPhase::Tripped, format!("region {}: {cause}: {why}", region.name)),
        _ => (BreakerPhase::Serving, format!("region {}: {why}", region.name)),
    };
    // Events are told apart by their action, not by their text.
    let number = now.percent.unwrap_or(now.trips);
    let action = format!("{}-{}-{number}", now.phase, region.name);
    let type_ = if bad { EventType::Warning } else { EventType::Normal };
    Some(event(type_, word(phase), note, &action))
}
