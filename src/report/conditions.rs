//! The conditions, and the only place that owns their transition times. Pure.
//!
//! | type | True means | everything well |
//! | --- | --- | --- |
//! | `Ready` | every shard that the spec asks for is ready and up to date | True |
//! | `Reconciling` | the operator is still bringing about what the spec says | False |
//! | `Stalled` | it cannot, until somebody lends a hand | False |
//! | `SinksHealthy` | no shard's latest attempts at any sink failed, and no event was given up | True |
//! | `ScalingLimited` | the load of some region asks for more shards than it may have | False |
//! | `ScalingIneffective` | more shards would not help some region, so none are added | False |
//! | `OrderingAtRisk` | events may come after younger ones of their key, because a shard is taken for lost | False |
//! | `BottleneckForecast` | some region's backlog grows into its limit, or takes longer than it may, within the hour | False |
//! | `RegionsHealthy` | no region is out of service, or comes back, because of what was observed of it | True |
//! | `TrafficShifted` | traffic is not as the weights of the spec say | False |
//! | `SurvivesRegionLoss` | in the latest drill the fleet did without a region; absent until one was made | True |
//!
//! `Ready`, `Reconciling` and `Stalled` mean what kstatus says they mean, so that `kubectl wait`, Helm, Flux and
//! Argo CD need no script.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::bottleneck::{self, BOTTLENECK_FORECAST};
use super::breaker::{self, REGIONS_HEALTHY};
use super::drill::{self, SURVIVES_REGION_LOSS};
use super::routing::{self, ORDERING_AT_RISK};
use super::scaling::{self, SCALING_INEFFECTIVE, SCALING_LIMITED};
use super::status::has_dead_letters;
use super::traffic::{self, TRAFFIC_SHIFTED};
use crate::api::SinkStatus;
use crate::fleet::{FleetIntent, FleetPlan, RegionPlan, RegionReason, SpecError, Standing, whole_second};
use crate::manifests::{Applied, ApplyFailure};

const READY: &str = "Ready";
const RECONCILING: &str = "Reconciling";
pub(super) const STALLED: &str = "Stalled";
const SINKS_HEALTHY: &str = "SinksHealthy";
/// Events were given up.
pub(super) const DEAD_LETTERS: &str = "DeadLetters";

/// A condition without its times.
pub(super) struct Draft {
    pub(super) type_: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What there is to tell of sinks.
#[derive(Clone, Copy)]
pub(super) struct Sinks<'a> {
    /// All of them.
    pub(super) sinks: &'a [SinkStatus],
    /// The command that shows dead letters, if there are any.
    pub(super) look: Option<&'a str>,
}

/// After a plan was applied.
pub(super) fn acted(
    old: &[Condition],
    intent: &FleetIntent,
    plan: &FleetPlan,
    applied: &Applied,
    sinks: &Sinks<'_>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let failures = &applied.failures;
    let mut ready = ready(plan, applied);
    if let [problem, more @ ..] = intent.manual.problems(now).as_slice() {
        let more = if more.is_empty() { String::new() } else { format!(" ({} more)", more.len()) };
        ready.message = format!("{}; {problem}{more}", ready.message);
    }
    let mut drafts = vec![reconciling(plan, applied, &ready), stalled(failures), sinks_healthy(sinks), ready];
    drafts.extend(scaling::drafts(plan));
    drafts.extend(routing::draft(plan));
    drafts.extend(bottleneck::draft(old, plan));
    drafts.extend([breaker::draft(plan), traffic::draft(plan), drill::draft(plan)].into_iter().flatten());
    finish(old, drafts, generation, now)
}

/// After a spec that cannot be acted on.
pub(super) fn rejected(
    old: &[Condition],
    error: &SpecError,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let reason = "InvalidSpec".to_owned();
    let drafts = vec![
        Draft { type_: READY, status: "False", reason: reason.clone(), message: error.to_string() },
        Draft { type_: RECONCILING, status: "False", reason: reason.clone(), message: String::new() },
        Draft { type_: STALLED, status: "True", reason, message: error.to_string() },
    ];
    let mut conditions = finish(old, drafts, generation, now);
    // What was last known of sinks and sizes is still so: the fleet goes on with the spec before.
    let kept = [
        SINKS_HEALTHY,
        SCALING_LIMITED,
        SCALING_INEFFECTIVE,
        ORDERING_AT_RISK,
        BOTTLENECK_FORECAST,
        REGIONS_HEALTHY,
        TRAFFIC_SHIFTED,
        SURVIVES_REGION_LOSS,
    ];
    conditions.extend(old.iter().filter(|condition| kept.contains(&condition.type_.as_str())).cloned());
    sorted(conditions)
}

fn ready(plan: &FleetPlan, applied: &Applied) -> Draft {
    let failures = &applied.failures;
    if let Some(failure) = worst(failures) {
        let reason = if failure.needs_a_hand { "ApplyRefused" } else { "ApplyFailed" }.to_owned();
        return Draft { type_: READY, status: "False", reason, message: describe(failure, failures.len()) };
    }
    let staying = || plan.regions.iter().filter(|region| region.standing == Standing::Stays);
    let unsettled = || staying().filter(|region| !region.settled);
    if let Some((region, breaker)) = breaker::worst(plan) {
        let status = if unsettled().next().is_some() { "False" } else { "True" };
        let elsewhere = unsettled().find(|other| other.name != region.name);
        let elsewhere = elsewhere.map(|other| format!("; region {}: {}", other.name, other.message));
        let message = format!("region {}: {}{}", region.name, region.message, elsewhere.unwrap_or_default());
        return Draft { type_: READY, status, reason: breaker::word(breaker.memory.phase).to_owned(), message };
    }
    if let Some(region) = unsettled().next() {
        let others = unsettled().count() - 1;
        let more = if others == 0 { String::new() } else { format!(" ({others} more not ready)") };
        let message = format!("region {}: {}{more}", region.name, region.message);
        return Draft { type_: READY, status: "False", reason: region.reason.as_str().to_owned(), message };
    }
    // The plan was made from what was seen before this change.
    if let Some(set) = applied.changed_sets.first() {
        let message = format!("StatefulSet {set} was changed just now; waiting for its pods");
        return Draft { type_: READY, status: "False", reason: RegionReason::RollingOut.as_str().to_owned(), message };
    }
    // Nothing is wrong, but there may be something to know.
    let noted = |region: &&RegionPlan| {
        !matches!(region.reason, RegionReason::Serving | RegionReason::OutOfService)
            && region.standing != Standing::Gone
    };
    if let Some(region) = plan.regions.iter().find(noted) {
        let message = format!("region {}: {}", region.name, region.message);
        return Draft { type_: READY, status: "True", reason: region.reason.as_str().to_owned(), message };
    }
    let message = match staying().filter(|region| region.weight > 0).count() {
        1 => "1 region serves".to_owned(),
        many => format!("{many} regions serve"),
    };
    Draft { type_: READY, status: "True", reason: "AllRegionsServing".to_owned(), message }
}

fn reconciling(plan: &FleetPlan, applied: &Applied, ready: &Draft) -> Draft {
    let failures = &applied.failures;
    let unfinished = |region: &RegionPlan| {
        let short = region.ready < region.wanted;
        region.standing != Standing::Stays || !region.settled || short || region.replicas != region.wanted
    };
    let stalled = failures.iter().any(|failure| failure.needs_a_hand);
    let busy =
        !stalled && (!failures.is_empty() || !applied.changed_sets.is_empty() || plan.regions.iter().any(unfinished));
    let (status, reason, message) = if busy {
        ("True", ready.reason.clone(), ready.message.clone())
    } else {
        ("False", "UpToDate".to_owned(), String::new())
    };
    Draft { type_: RECONCILING, status, reason: if stalled { "Stalled".to_owned() } else { reason }, message }
}

fn stalled(failures: &[ApplyFailure]) -> Draft {
    match worst(failures).filter(|failure| failure.needs_a_hand) {
        Some(failure) => Draft {
            type_: STALLED,
            status: "True",
            reason: "ApplyRefused".to_owned(),
            message: describe(failure, failures.len()),
        },
        None => Draft { type_: STALLED, status: "False", reason: "NotStalled".to_owned(), message: String::new() },
    }
}

fn sinks_healthy(told: &Sinks<'_>) -> Draft {
    let all = || told.sinks.iter();
    // What is tripped says most, then what fails, then what was given up.
    let failing = all().find(|sink| is_tripped(sink)).or_else(|| all().find(|sink| is_failing(sink)));
    let (status, reason, message) = match failing {
        Some(sink) => ("False", "SinkFailing", describe_failing(sink)),
        None if all().any(|sink| sink.failing.ends_with("/0")) => {
            ("Unknown", "NoReports", "no shard has reported yet".to_owned())
        }
        None => match all().find(|sink| has_dead_letters(sink)) {
            Some(sink) => ("False", DEAD_LETTERS, describe_dead_letters(sink, told.look)),
            None => ("True", "AllSinksAnswer", String::new()),
        },
    };
    Draft { type_: SINKS_HEALTHY, status, reason: reason.to_owned(), message }
}

/// Whether some shard has stopped to send events to a sink.
pub(super) fn is_tripped(sink: &SinkStatus) -> bool {
    sink.phase.ends_with("Tripped")
}

/// Whether some shard's latest attempts failed.
pub(super) fn is_failing(sink: &SinkStatus) -> bool {
    !sink.failing.starts_with("0/")
}

/// How a sink fails, in a sentence.
pub(super) fn describe_failing(sink: &SinkStatus) -> String {
    let tripped = match sink.phase.split_once('/') {
        Some((shards, _)) => format!(", {shards} of them Tripped"),
        None => String::new(),
    };
    let failure = sink.last_failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
    format!("sink {}: {} shards fail{tripped}{failure}", sink.name, sink.failing.replace('/', " of "))
}

/// What a sink was given up on, in a sentence.
pub(super) fn describe_dead_letters(sink: &SinkStatus, look: Option<&str>) -> String {
    let look = look.map(|look| format!("; see {look}")).unwrap_or_default();
    format!("sink {}: dead letters: {}{look}", sink.name, sink.dead_letters.as_deref().unwrap_or("0"))
}

/// One that needs a hand before one that may pass.
fn worst(failures: &[ApplyFailure]) -> Option<&ApplyFailure> {
    failures.iter().find(|failure| failure.needs_a_hand).or_else(|| failures.first())
}

fn describe(failure: &ApplyFailure, count: usize) -> String {
    let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
    format!("{}: {}{more}", failure.object, failure.message)
}

fn finish(old: &[Condition], drafts: Vec<Draft>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let conditions = drafts.into_iter().map(|draft| {
        let before = old.iter().find(|condition| condition.type_ == draft.type_);
        let since = before
            .filter(|condition| condition.status == draft.status)
            .map_or_else(|| Time(whole_second(now)), |condition| condition.last_transition_time.clone());
        Condition {
            type_: draft.type_.to_owned(),
            status: draft.status.to_owned(),
            reason: draft.reason,
            message: draft.message,
            last_transition_time: since,
            observed_generation: generation,
        }
    });
    sorted(conditions.collect())
}

fn sorted(mut conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}
