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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixtures;
    use crate::fleet::{FleetHistory, TrafficPlan};

    fn plan(bottlenecks: Vec<Bottleneck>) -> FleetPlan {
        let recheck_after = Duration::from_secs(5);
        FleetPlan {
            regions: Vec::new(),
            bottlenecks,
            traffic: TrafficPlan::default(),
            had_route: false,
            drill: None,
            history: FleetHistory::default(),
            recheck_after,
        }
    }

    fn of(region: &str, limit: Known<Limit>, forecast: Known<Option<Saturation>>) -> Bottleneck {
        let message = if limit.is().is_some_and(|limit| *limit != Limit::Nothing) { "raise it" } else { "" };
        Bottleneck { region: region.to_owned(), limit, message: message.to_owned(), forecast }
    }

    fn audit() -> Known<Limit> {
        Known::Is(Limit::ConcurrencyLimit("audit".to_owned()))
    }

    fn in_minutes(minutes: i64, into: Saturates) -> Known<Option<Saturation>> {
        let at = fixtures::now() + jiff::SignedDuration::from_mins(minutes);
        Known::Is(Some(Saturation { into, at, percent: 62 }))
    }

    fn condition(draft: &Draft) -> Condition {
        Condition {
            type_: draft.type_.to_owned(),
            status: draft.status.to_owned(),
            reason: draft.reason.clone(),
            message: draft.message.clone(),
            last_transition_time: Time(fixtures::now()),
            observed_generation: None,
        }
    }

    #[test]
    fn the_region_that_runs_into_something_first_is_told_then_the_first_that_is_limited() {
        let (calm, limited) = (Known::Is(Limit::Nothing), Known::Is(Limit::Cpu));
        let told = |bottlenecks| status(None, &plan(bottlenecks)).unwrap();
        let first = told(vec![
            of("a", calm.clone(), Known::Is(None)),
            of("b", audit(), Known::Is(None)),
            of("c", limited.clone(), Known::Is(None)),
        ]);
        assert_eq!((first.kind.as_str(), first.region.as_deref()), ("ConcurrencyLimit", Some("b")));
        assert_eq!(
            (first.sink.as_deref(), first.message.as_str(), &first.saturates_at),
            (Some("audit"), "raise it", &None)
        );
        let soonest = told(vec![
            of("b", audit(), in_minutes(40, Saturates::BacklogLimit)),
            of("c", Known::Unknown, in_minutes(30, Saturates::DrainTarget)),
        ]);
        assert_eq!((soonest.kind.as_str(), soonest.region.as_deref()), ("Unknown", Some("c")));
        assert!(soonest.saturates_at.is_some());
        let none = told(vec![of("a", calm, Known::Is(None))]);
        assert_eq!(none, BottleneckStatus { kind: "Nothing".to_owned(), ..BottleneckStatus::default() });
    }

    #[test]
    fn what_is_not_known_yet_leaves_standing_what_was_told_and_what_cannot_be_known_does_not() {
        let before = status(None, &plan(vec![of("a", audit(), Known::Is(None))]));
        let again = |limit| status(before.as_ref(), &plan(vec![of("a", limit, Known::NotYet)]));
        assert_eq!(again(Known::NotYet), before);
        assert_eq!(again(Known::Unknown), None);
        let other =
            plan(vec![of("a", Known::Is(Limit::Nothing), Known::NotYet), of("b", Known::NotYet, Known::NotYet)]);
        assert_eq!(status(before.as_ref(), &other), None, "what was told of the first is over");
    }

    #[test]
    fn a_forecast_says_what_when_and_what_would_help() {
        let told = draft(&[], &plan(vec![of("a", audit(), in_minutes(40, Saturates::BacklogLimit))])).unwrap();
        assert_eq!((told.status, told.reason.as_str()), ("True", "BacklogLimit"));
        let expected = "region a: the backlog is at 62 % of its limit, and reaches it about 2026-03-01 12:40 UTC if it \
                        grows on like this; raise it";
        assert_eq!(told.message, expected);
        let told = draft(&[], &plan(vec![of("a", Known::NotYet, in_minutes(5, Saturates::DrainTarget))])).unwrap();
        assert_eq!((told.status, told.reason.as_str()), ("True", "DrainTarget"));
        assert!(told.message.contains("targetDrainTime") && told.message.contains("12:05 UTC"), "{}", told.message);
    }

    #[test]
    fn a_process_that_does_not_know_yet_leaves_the_condition_as_it_is() {
        let foreseen = draft(&[], &plan(vec![of("a", audit(), in_minutes(40, Saturates::BacklogLimit))])).unwrap();
        let young = plan(vec![of("a", Known::NotYet, Known::NotYet)]);
        assert!(draft(&[], &young).is_none());
        let kept = draft(&[condition(&foreseen)], &young).unwrap();
        assert_eq!((kept.status, kept.reason, kept.message), ("True", foreseen.reason, foreseen.message));
        let verdict = |forecast| draft(&[], &plan(vec![of("a", Known::Unknown, forecast)])).map(|draft| draft.status);
        assert_eq!((verdict(Known::Is(None)), verdict(Known::Unknown)), (Some("False"), Some("Unknown")));
    }
}
