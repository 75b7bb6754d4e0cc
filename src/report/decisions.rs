//! The latest decisions: changes of sizes and of breakers, with what they were made from. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::scaling::numbers;
use super::status::whole;
use crate::api::DecisionStatus;
use crate::fleet::{FleetIntent, FleetPlan, RegionPlan, whole_second};

/// Decisions that are kept.
const DECISIONS: usize = 20;
/// Characters of a sentence that are kept.
const SENTENCE: usize = 240;

/// A change of how many shards a region runs.
pub(super) const SHARDS: &str = "shards";
/// A change of what part of its weight a region has.
const WEIGHT_PERCENT: &str = "weightPercent";

/// The decisions so far and those of this plan, at most so many.
pub(super) fn decisions(
    old: &[DecisionStatus],
    intent: &FleetIntent,
    plan: &FleetPlan,
    now: Timestamp,
) -> Vec<DecisionStatus> {
    let new = plan.regions.iter().flat_map(|region| [of_breaker(intent, region, now), of_size(intent, region, now)]);
    let mut decisions: Vec<_> = old.iter().cloned().chain(new.flatten()).collect();
    decisions.drain(..decisions.len().saturating_sub(DECISIONS));
    decisions
}

fn of_size(intent: &FleetIntent, region: &RegionPlan, now: Timestamp) -> Option<DecisionStatus> {
    let decision = region.scaling.as_ref().filter(|decision| decision.memory.wanted.is_some())?;
    (decision.from != decision.to).then(|| DecisionStatus {
        time: Time(whole_second(now)),
        region: region.name.clone(),
        what: SHARDS.to_owned(),
        from: whole(decision.from),
        to: whole(decision.to),
        reason: decision.reason.as_str().to_owned(),
        numbers: numbers(decision, &intent.scaling),
    })
}

fn of_breaker(intent: &FleetIntent, region: &RegionPlan, now: Timestamp) -> Option<DecisionStatus> {
    let breaker = region.breaker.as_ref()?;
    let part = |memory| whole(intent.percent(&region.name, memory, now));
    Some(DecisionStatus {
        time: Time(whole_second(now)),
        region: region.name.clone(),
        what: WEIGHT_PERCENT.to_owned(),
        from: part(breaker.from.as_ref()?),
        to: part(&breaker.memory),
        reason: breaker.reason.as_str().to_owned(),
        numbers: breaker.message.chars().take(SENTENCE).collect(),
    })
}
