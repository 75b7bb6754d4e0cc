//! What is told of growing and shrinking: each region's state, what a decision was made from, two conditions. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::Draft;
use super::status::whole;
use crate::api::{CapacityStatus, HoldStatus, ScalingStatus, TrialStatus, WindowStatus};
use crate::fleet::{
    Bound, Capacity, FleetPlan, RegionPlan, ScalingDecision, ScalingIntent, ScalingReason, ShardRange,
    approximate_count,
};

pub(super) const SCALING_LIMITED: &str = "ScalingLimited";
pub(super) const SCALING_INEFFECTIVE: &str = "ScalingIneffective";

/// The state of a region whose size follows its load: also what the next decision remembers.
pub(super) fn state(decision: &ScalingDecision, range: ShardRange) -> Option<ScalingStatus> {
    let memory = &decision.memory;
    Some(ScalingStatus {
        wanted: whole(memory.wanted?),
        min: whole(range.min),
        max: whole(range.max),
        capacity: memory.capacity.map(|capacity| CapacityStatus {
            events_per_second: i64::try_from(capacity.per_second).unwrap_or(i64::MAX),
            samples: whole(capacity.samples),
            confidence: confidence(capacity).to_owned(),
            seen_at: Time(capacity.seen_at),
        }),
        window: memory
            .window
            .iter()
            .map(|called| WindowStatus { shards: whole(called.shards), until: called.until.map(Time) })
            .collect(),
        trial: memory.trial.map(|trial| TrialStatus {
            at: Time(trial.at),
            from: whole(trial.from),
            to: whole(trial.to),
            settled_per_second: i64::try_from(trial.settled).unwrap_or(i64::MAX),
            steps: whole(trial.steps),
        }),
        hold: memory.hold.map(|hold| HoldStatus { until: Time(hold.until), times: whole(hold.times) }),
        reason: decision.reason.as_str().to_owned(),
        message: decision.message.clone(),
    })
}

fn confidence(capacity: Capacity) -> &'static str {
    match capacity.samples {
        0 => "Estimated",
        1..=2 => "Low",
        3..Capacity::MOST_SAMPLES => "Medium",
        _ => "High",
    }
}

/// What a decision was made from, rounded to two digits.
pub(super) fn numbers(decision: &ScalingDecision, scaling: &ScalingIntent) -> String {
    let numbers = &decision.numbers;
    let capacity = match numbers.capacity {
        None => "capacity unknown".to_owned(),
        Some(rate) if numbers.samples == 0 => format!("{}/s a shard by its processors", approximate_count(rate)),
        Some(rate) => format!("{}/s a shard (seen {}x)", approximate_count(rate), numbers.samples),
    };
    let needed = numbers.needed.map(|needed| format!(", {needed} needed")).unwrap_or_default();
    let bound = match decision.bound {
        Some(Bound::Maximum) => ", bound by shards.max",
        Some(Bound::Minimum) => ", bound by shards.min",
        Some(Bound::Doubling) => ", at most doubled",
        Some(Bound::Window | Bound::Settling | Bound::Unknown | Bound::Ineffective) | None => "",
    };
    let expected = numbers.expected.map(|rate| format!(" ({}/s to come)", approximate_count(rate))).unwrap_or_default();
    format!(
        "arrival {}/s{expected}, settled {}/s, backlog {} to drain in {}s, {capacity} at {} %{needed}{bound}",
        approximate_count(numbers.arrival),
        approximate_count(numbers.settled),
        approximate_count(numbers.backlog),
        scaling.target_drain.as_secs(),
        scaling.target_utilization,
    )
}

/// The conditions of a fleet in which some region's size follows its load.
pub(super) fn drafts(plan: &FleetPlan) -> Vec<Draft> {
    let scaled = || {
        let scaled = plan.regions.iter().filter_map(|region| Some((region, region.scaling.as_ref()?)));
        scaled.filter(|(_, decision)| decision.memory.wanted.is_some())
    };
    if scaled().next().is_none() {
        return Vec::new();
    }
    let limited = scaled().find(|(_, decision)| decision.bound == Some(Bound::Maximum));
    let useless = scaled().find(|(_, decision)| decision.bound == Some(Bound::Ineffective));
    // Who it is that limits, and what would help.
    let culprit = useless.and_then(|(region, _)| plan.bottleneck(&region.name)).map(|culprit| &culprit.message);
    let mut useless = draft(SCALING_INEFFECTIVE, useless, None);
    if let Some(culprit) = culprit.filter(|culprit| !culprit.is_empty()) {
        useless.message = format!("{}; {culprit}", useless.message);
    }
    vec![draft(SCALING_LIMITED, limited, Some(ScalingReason::AtMaximum)), useless]
}

fn draft(type_: &'static str, found: Option<(&RegionPlan, &ScalingDecision)>, reason: Option<ScalingReason>) -> Draft {
    match found {
        Some((region, decision)) => Draft {
            type_,
            status: "True",
            reason: reason.unwrap_or(decision.reason).as_str().to_owned(),
            message: format!("region {}: {}", region.name, decision.message),
        },
        None => {
            Draft { type_, status: "False", reason: ScalingReason::Suits.as_str().to_owned(), message: String::new() }
        }
    }
}
