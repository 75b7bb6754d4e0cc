//! The status, from what was decided and applied. Pure.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{BreakerPhase, SinkReport};

use super::{Told, bottleneck, breaker, conditions, decisions, drill, manual, routing, scaling, traffic};
use crate::api::{EventDispatcherStatus, RegionStatus, ShardsStatus, SinkStatus, Summary};
use crate::fleet::{
    FleetIntent, FleetPlan, FleetSnapshot, RegionPlan, RegionSnapshot, ShardSnapshot, Standing, approximate_age,
    approximate_count, names,
};

/// The status to be. `old` gives the times at which conditions last changed.
pub(super) fn status(
    told: &Told<'_>,
    old: &EventDispatcherStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> EventDispatcherStatus {
    match told {
        // What is known of regions and sinks stays: the fleet goes on as it was.
        Told::Rejected(error) => EventDispatcherStatus {
            observed_generation: generation,
            conditions: conditions::rejected(&old.conditions, error, generation, now),
            ..old.clone()
        },
        Told::Acted { intent, snapshot, plan, applied } => {
            let sinks = sinks(intent, snapshot);
            let look = sinks.iter().find(|sink| has_dead_letters(sink)).and_then(|sink| {
                let pod = holder_of_dead_letters(intent, snapshot, &sink.name)?;
                Some(format!("kubectl exec --namespace {} {pod} -- /dispatcher dead-letters list", intent.namespace))
            });
            EventDispatcherStatus {
                observed_generation: generation,
                summary: Some(summary(snapshot, plan)),
                regions: regions(intent, snapshot, plan, now),
                traffic: traffic::status(old.traffic.as_ref(), intent, plan, &applied.stage),
                manual: manual::status(intent, now),
                drill: plan.drill.as_ref().map(drill::status),
                decisions: decisions::decisions(&old.decisions, intent, plan, now),
                conditions: conditions::acted(
                    &old.conditions,
                    intent,
                    plan,
                    &applied.stage,
                    &conditions::Sinks { sinks: &sinks, look: look.as_deref() },
                    generation,
                    now,
                ),
                bottleneck: bottleneck::status(old.bottleneck.as_ref(), plan),
                sinks,
            }
        }
    }
}

fn summary(snapshot: &FleetSnapshot, plan: &FleetPlan) -> Summary {
    let staying = || plan.regions.iter().filter(|region| region.standing == Standing::Stays);
    let settled = staying().filter(|region| region.settled).count();
    let ready: u32 = plan.regions.iter().map(|region| region.ready).sum();
    let replicas: u32 = plan.regions.iter().map(|region| region.replicas).sum();
    Summary {
        regions: format!("{settled}/{}", staying().count()),
        shards: format!("{ready}/{replicas}"),
        backlog: backlog(shards(snapshot), |shard| shard.report.value().map(|report| report.shard.backlog_events)),
        breakers: breaker::summary(plan),
        traffic: traffic::summary(plan),
    }
}

fn shards(snapshot: &FleetSnapshot) -> impl Iterator<Item = &ShardSnapshot> {
    snapshot.regions.values().flat_map(running)
}

/// Shards with a pod: what is on the volume of one that went is told with the routing, as far as that is known.
fn running(region: &RegionSnapshot) -> impl Iterator<Item = &ShardSnapshot> {
    region.shards.values().filter(|shard| shard.pod.is_some())
}

fn regions(intent: &FleetIntent, snapshot: &FleetSnapshot, plan: &FleetPlan, now: Timestamp) -> Vec<RegionStatus> {
    let several = breaker::several(plan);
    let unseen = RegionSnapshot::default();
    let there = plan.regions.iter().filter(|region| region.standing != Standing::Gone);
    there
        .map(|plan| {
            let seen = snapshot.regions.get(&plan.name).unwrap_or(&unseen);
            let scaling = plan.scaling.as_ref().zip(intent.region(&plan.name));
            RegionStatus {
                scaling: scaling.and_then(|(decision, wanted)| scaling::state(decision, wanted.shards)),
                breaker: breaker::state(intent, plan, several, now),
                ..region(plan, seen)
            }
        })
        .collect()
}

fn region(plan: &RegionPlan, seen: &RegionSnapshot) -> RegionStatus {
    let ages = running(seen).filter_map(|shard| shard.report.value()?.shard.oldest_event_age_ms);
    RegionStatus {
        name: plan.name.clone(),
        weight: whole(plan.weight),
        share_percent: whole(plan.share_percent),
        shards: ShardsStatus { ready: whole(plan.ready), desired: whole(plan.replicas) },
        backlog: backlog(running(seen), |shard| shard.report.value().map(|report| report.shard.backlog_events)),
        oldest_event_age: ages.max().map(|age| approximate_age(Duration::from_millis(age))),
        scaling: None,
        routing: plan.routing.as_ref().map(routing::state),
        breaker: None,
        reason: plan.reason.as_str().to_owned(),
        message: plan.message.clone(),
    }
}

fn sinks(intent: &FleetIntent, snapshot: &FleetSnapshot) -> Vec<SinkStatus> {
    intent.sinks.iter().map(|sink| self::sink(&sink.name, snapshot)).collect()
}

fn sink(name: &str, snapshot: &FleetSnapshot) -> SinkStatus {
    let reports: Vec<_> = shards(snapshot).filter_map(|shard| report_of(name, shard)).collect();
    let sum = |of: fn(&SinkReport) -> u64| backlog(shards(snapshot), |shard| report_of(name, shard).map(of));
    // Whether a shard probes just now or waits to: a status that told them apart would be written with every probe.
    let tripped = reports.iter().filter(|report| report.phase != BreakerPhase::Serving).count();
    let fails = |report: &&&SinkReport| report.consecutive_failures > 0 || report.phase != BreakerPhase::Serving;
    let failing: Vec<_> = reports.iter().filter(fails).collect();
    let latest = failing.iter().filter_map(|report| report.last_failure.as_ref()).min_by_key(|failure| failure.age_ms);
    SinkStatus {
        name: name.to_owned(),
        backlog: sum(|report| report.backlog_events),
        phase: match (tripped, reports.len()) {
            (_, 0) => "unknown".to_owned(),
            (0, _) => "Serving".to_owned(),
            (tripped, all) => format!("{tripped}/{all} Tripped"),
        },
        dead_letters: Some(sum(|report| report.dead_letters)).filter(|sum| sum != "0" && sum != "unknown"),
        failing: format!("{}/{}", failing.len(), reports.len()),
        last_failure: latest.map(|failure| failure.message.clone()),
    }
}

fn report_of<'a>(sink: &str, shard: &'a ShardSnapshot) -> Option<&'a SinkReport> {
    shard.report.value()?.shard.sinks.iter().find(|report| report.name == sink)
}

/// The first shard that keeps dead letters of a sink.
fn holder_of_dead_letters(intent: &FleetIntent, snapshot: &FleetSnapshot, sink: &str) -> Option<String> {
    let holds = |shard| report_of(sink, shard).is_some_and(|report| report.dead_letters > 0);
    snapshot.regions.iter().find_map(|(region, seen)| {
        let (ordinal, _) = seen.shards.iter().find(|(_, shard)| shard.pod.is_some() && holds(shard))?;
        Some(names::pod(&intent.name, region, *ordinal))
    })
}

/// Whether some shard is known to keep dead letters of a sink.
pub(super) fn has_dead_letters(sink: &SinkStatus) -> bool {
    sink.dead_letters.as_deref().is_some_and(|sum| sum != "0+?")
}

/// A sum in which what is not known shows.
fn backlog<'a>(
    shards: impl Iterator<Item = &'a ShardSnapshot>,
    events: impl Fn(&ShardSnapshot) -> Option<u64>,
) -> String {
    let (mut known, mut unknown, mut sum) = (0, 0, 0u64);
    for shard in shards {
        match events(shard) {
            Some(events) => (known, sum) = (known + 1, sum.saturating_add(events)),
            None => unknown += 1,
        }
    }
    match (known, unknown) {
        (0, 1..) => "unknown".to_owned(),
        (_, 0) => approximate_count(sum),
        (_, _) => format!("{}+?", approximate_count(sum)),
    }
}

pub(super) fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
