//! What is told of what limits a fleet: one entry of the status, and one condition. Pure.
//!
//! What is not known yet leaves standing what was told before, by this process or another, so that an operator that
//! starts anew writes nothing.

use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::conditions::Draft;
use crate::api::BottleneckStatus;
use crate::fleet::{Bottleneck, FleetPlan, Known, Limit, Saturates, Saturation};

pub(super) const BOTTLENECK_FORECAST: &str = "BottleneckForecast";

/// The entry of the status.
pub(super) fn status(old: Option<&BottleneckStatus>, plan: &FleetPlan) -> Option<BottleneckStatus> {
    if let Some(worst) = worst(&plan.bottlenecks) {
        return Some(entry(worst));
    }
    let all = |known: fn(&Bottleneck) -> bool| plan.bottlenecks.iter().all(known);
    let undecided = |bottleneck: &&Bottleneck| bottleneck.limit == Known::NotYet;
    if let Some(undecided) = plan.bottlenecks.iter().find(undecided) {
        // Of a region that is known by now, what was told is over.
        return old.filter(|old| old.region.as_ref().is_none_or(|region| *region == undecided.region)).cloned();
    }
    all(|bottleneck| bottleneck.limit == Known::Is(Limit::Nothing))
        .then(|| BottleneckStatus { kind: Limit::Nothing.as_str().to_owned(), ..BottleneckStatus::default() })
}

/// The one that runs into something first, else the first that is limited.
fn worst(bottlenecks: &[Bottleneck]) -> Option<&Bottleneck> {
    let soonest = bottlenecks.iter().filter_map(|one| Some((saturation(one)?.at, one))).min_by_key(|(at, _)| *at);
    let limited = |one: &&Bottleneck| one.limit.is().is_some_and(|limit| *limit != Limit::Nothing);
    soonest.map(|(_, one)| one).or_else(|| bottlenecks.iter().find(limited))
}

fn saturation(bottleneck: &Bottleneck) -> Option<&Saturation> {
    bottleneck.forecast.is()?.as_ref()
}

fn entry(bottleneck: &Bottleneck) -> BottleneckStatus {
    let limit = bottleneck.limit.is();
    BottleneckStatus {
        kind: limit.map_or("Unknown", Limit::as_str).to_owned(),
        region: Some(bottleneck.region.clone()),
        sink: limit.and_then(Limit::sink).map(str::to_owned),
        message: bottleneck.message.clone(),
        saturates_at: saturation(bottleneck).map(|saturation| Time(saturation.at)),
    }
}

/// The condition, or nothing while there is nothing to say that was not said.
pub(super) fn draft(old: &[Condition], plan: &FleetPlan) -> Option<Draft> {
    let of = |status, reason: &str, message| Draft {
        type_: BOTTLENECK_FORECAST,
        status,
        reason: reason.to_owned(),
        message,
    };
    let told = worst(&plan.bottlenecks).and_then(|worst| Some((worst, saturation(worst)?)));
    if let Some((bottleneck, saturation)) = told {
        return Some(of("True", saturation.into.as_str(), sentence(bottleneck, saturation)));
    }
    let forecasts = || plan.bottlenecks.iter().map(|one| &one.forecast);
    if forecasts().any(|forecast| *forecast == Known::NotYet) {
        let before = old.iter().find(|condition| condition.type_ == BOTTLENECK_FORECAST)?;
        let status = ["True", "False"].into_iter().find(|status| before.status == *status).unwrap_or("Unknown");
        return Some(of(status, &before.reason, before.message.clone()));
    }
    if forecasts().any(|forecast| *forecast == Known::Unknown) {
        return Some(of("Unknown", "ReportsMissing", "not every shard says what it has".to_owned()));
    }
    Some(of("False", "NoneForeseen", String::new()))
}

fn sentence(bottleneck: &Bottleneck, saturation: &Saturation) -> String {
    let (region, percent) = (&bottleneck.region, saturation.percent);
    let at = saturation.at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC");
    let what = match saturation.into {
        Saturates::BacklogLimit if percent >= 99 => {
            "the backlog is at its limit, and producers are answered 429".to_owned()
        }
        Saturates::BacklogLimit => {
            format!("the backlog is at {percent} % of its limit, and reaches it about {at} if it grows on like this")
        }
        Saturates::DrainTarget => format!(
            "the backlog takes {percent} % of autoscaling.targetDrainTime, and longer than that about {at} if it grows \
             on like this"
        ),
    };
    let why = if bottleneck.message.is_empty() { String::new() } else { format!("; {}", bottleneck.message) };
    format!("region {region}: {what}{why}")
}
