//! The status, from what was decided and applied. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{Told, conditions};
use crate::api::{EventDispatcherStatus, RegionStatus, ShardsStatus, SinkStatus, Summary};
use crate::fleet::{
    FleetIntent, FleetPlan, FleetSnapshot, RegionPlan, RegionSnapshot, ShardSnapshot, Standing, approximate_age,
    approximate_count,
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
            EventDispatcherStatus {
                observed_generation: generation,
                summary: Some(summary(snapshot, plan)),
                regions: regions(snapshot, plan),
                conditions: conditions::acted(&old.conditions, plan, &applied.stage, &sinks, generation, now),
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
    }
}

fn shards(snapshot: &FleetSnapshot) -> impl Iterator<Item = &ShardSnapshot> {
    snapshot.regions.values().flat_map(running)
}

/// Shards with a pod: the volume of one that went earlier holds nothing, or the shard would not have gone.
fn running(region: &RegionSnapshot) -> impl Iterator<Item = &ShardSnapshot> {
    region.shards.values().filter(|shard| shard.pod.is_some())
}

fn regions(snapshot: &FleetSnapshot, plan: &FleetPlan) -> Vec<RegionStatus> {
    let unseen = RegionSnapshot::default();
    let there = plan.regions.iter().filter(|region| region.standing != Standing::Gone);
    there.map(|plan| region(plan, snapshot.regions.get(&plan.name).unwrap_or(&unseen))).collect()
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
        reason: plan.reason.as_str().to_owned(),
        message: plan.message.clone(),
    }
}

fn sinks(intent: &FleetIntent, snapshot: &FleetSnapshot) -> Vec<SinkStatus> {
    intent.sinks.iter().map(|sink| self::sink(&sink.name, snapshot)).collect()
}

fn sink(name: &str, snapshot: &FleetSnapshot) -> SinkStatus {
    let of = |shard: &ShardSnapshot| {
        shard.report.value().and_then(|report| report.shard.sinks.iter().find(|sink| sink.name == name).cloned())
    };
    let reports: Vec<_> = shards(snapshot).filter_map(of).collect();
    let failing: Vec<_> = reports.iter().filter(|report| report.consecutive_failures > 0).collect();
    let latest = failing.iter().filter_map(|report| report.last_failure.as_ref()).min_by_key(|failure| failure.age_ms);
    SinkStatus {
        name: name.to_owned(),
        backlog: backlog(shards(snapshot), |shard| of(shard).map(|report| report.backlog_events)),
        failing: format!("{}/{}", failing.len(), reports.len()),
        last_failure: latest.map(|failure| failure.message.clone()),
    }
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

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
