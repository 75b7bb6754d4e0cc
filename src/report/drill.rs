//! What is told of the latest drill: how it went, which the next decision remembers, and one condition. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::Draft;
use super::status::whole;
use crate::api::DrillStatus;
use crate::fleet::{DrillMemory, DrillOutcome, FleetPlan, whole_second};

pub(super) const SURVIVES_REGION_LOSS: &str = "SurvivesRegionLoss";

/// How it went.
pub(super) fn status(drill: &DrillMemory) -> DrillStatus {
    let large = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    DrillStatus {
        region: drill.region.clone(),
        started_at: Time(whole_second(drill.started_at)),
        ended_at: drill.ended_at.map(Time),
        refused: large(drill.refused),
        worst_utilisation: drill.worst_utilisation.map(whole),
        longest_wait_seconds: large(drill.longest_wait),
        shifted: drill.shifted,
        outcome: drill.outcome.as_str().to_owned(),
        message: drill.message.clone(),
    }
}

/// The condition of a fleet with which there was a drill. It says when that was: how long ago would change all the time.
pub(super) fn draft(plan: &FleetPlan) -> Option<Draft> {
    let drill = plan.drill.as_ref()?;
    let status = match drill.outcome {
        DrillOutcome::Survived => "True",
        DrillOutcome::Refused | DrillOutcome::Overloaded => "False",
        DrillOutcome::Running | DrillOutcome::Interrupted => "Unknown",
    };
    let reason = drill.outcome.as_str().to_owned();
    Some(Draft { type_: SURVIVES_REGION_LOSS, status, reason, message: drill.message.clone() })
}
