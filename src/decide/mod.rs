//! Decides what is to become of a fleet. Pure: what was seen and the time come in, a plan with reasons goes out.
//!
//! In this order, because each step needs the one before it:
//! 1. **Bottleneck** of each region ([`bottleneck`]): what limits it, which tells whether more shards would help.
//! 2. **Shards** of each region: as many as its load asks for ([`autoscale`]), but no shard goes while it may hold
//!    events ([`shards`]).
//! 3. **Routing** of each region ([`routing`]): who owns which slots of event keys, and who hands over.
//! 4. **Traffic** across regions ([`traffic`]): which shards are listed, so that weights are kept.
//! 5. **Explanation** of each region ([`explain`]): the one thing that somebody should look at next.
//!
//! **Architecture Invariant:** no async, no client, no clock, no Kubernetes types, no hash order.

mod autoscale;
mod bottleneck;
mod breaker;
mod explain;
mod routing;
mod shards;
mod traffic;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{
    BreakerPlan, EndpointPlan, FleetIntent, FleetMemory, FleetPlan, FleetSnapshot, RegionIntent, RegionMemory,
    RegionPlan, RegionSnapshot, RoutingPlan, ScalingDecision, ScalingMode, ShardSnapshot, Standing, TrafficPlan, names,
};
use shards::ShardsDecision;

/// While shards drain, their reports decide when they may go, and those come every few seconds.
const RECHECK_WHILE_DRAINING: Duration = Duration::from_secs(2);
/// Watches say when something changes. This is for the change that a watch missed.
const RECHECK: Duration = Duration::from_mins(5);

/// A region to decide about: one of the spec, or one that left it.
struct Region<'a> {
    name: &'a str,
    /// `None`: it left the spec.
    wanted: Option<Wanted<'a>>,
    seen: &'a RegionSnapshot,
    shards: ShardsDecision,
    routing: Option<RoutingPlan>,
}

/// What a region of the spec is to have.
struct Wanted<'a> {
    region: &'a RegionIntent,
    scaling: ScalingDecision,
}

impl Region<'_> {
    /// Shards that are to stay.
    fn target(&self) -> u32 {
        self.wanted.as_ref().map_or(0, |wanted| wanted.scaling.to)
    }

    fn weight(&self) -> u32 {
        self.wanted.as_ref().map_or(0, |wanted| wanted.region.weight)
    }
}

/// Decides. Deciding again on the same snapshot gives the same plan.
pub(crate) fn decide(
    intent: &FleetIntent,
    snapshot: &FleetSnapshot,
    memory: &FleetMemory,
    now: Timestamp,
) -> FleetPlan {
    let monitored = bottleneck::monitor(intent, snapshot, now);
    let (unseen, forgotten) = (RegionSnapshot::default(), RegionMemory::default());
    let staying = intent.regions.iter().map(|region| {
        let seen = snapshot.regions.get(&region.name).unwrap_or(&unseen);
        let memory = memory.regions.get(&region.name).unwrap_or(&forgotten);
        let scaling = autoscale::desired_size(intent, region, seen, memory, monitored.limit(&region.name), now);
        (region.name.as_str(), Some(Wanted { region, scaling }), seen)
    });
    let leaving = snapshot
        .regions
        .iter()
        .filter(|(name, _)| intent.region(name).is_none())
        .map(|(name, seen)| (name.as_str(), None, seen));
    let mut breakers = breaker::desired_phases(intent, snapshot, memory, now);
    let mut history = monitored.history.clone();
    history.breakers = std::mem::take(&mut breakers.history);
    let mut soon = monitored.recheck_after;
    let regions: Vec<_> = staying
        .chain(leaving)
        .map(|(name, wanted, seen)| {
            let target = wanted.as_ref().map(|wanted| wanted.scaling.to);
            let remembered = memory.routing.get(name);
            let decided = routing::desired_routing(&routing::Situation {
                fleet: &intent.name,
                region: name,
                target,
                external: intent.scaling.mode == ScalingMode::External,
                seen,
                remembered,
                silences: snapshot.history.silences.get(name),
                held: snapshot.history.held.get(name),
                now,
            });
            if !decided.silences.is_empty() {
                history.silences.insert(name.to_owned(), decided.silences);
            }
            if !decided.held.is_empty() {
                history.held.insert(name.to_owned(), decided.held);
            }
            soon = [soon, decided.recheck_after].into_iter().flatten().min();
            // A region that leaves has nobody to hand over to. What is decided now is not known to anybody yet; but where
            // shards go by a table that was forgotten, it names those that may own slots by that.
            let tables = [remembered, decided.plan.as_ref().map(|plan| &plan.routing)].into_iter().flatten();
            let tables: Vec<_> = tables.filter(|_| target.is_some() && routing::applies(seen)).collect();
            let shards = shards::desired_shards(target.unwrap_or(0), seen, &tables, now);
            Region { name, shards, wanted, seen, routing: decided.plan }
        })
        .collect();

    let weights: Vec<_> =
        regions.iter().map(|region| traffic::Claim { weight: region.weight(), shards: region.target() }).collect();
    let places = traffic::desired_places(&weights);

    let mut plans: Vec<_> = regions
        .into_iter()
        .zip(places)
        .map(|(region, places)| {
            let breaker = breakers.plans.remove(region.name);
            plan_region(intent, region, places, breaker, now)
        })
        .collect();
    share_out(&mut plans);
    let recheck_after = recheck_after(&plans, snapshot);
    FleetPlan {
        regions: plans,
        bottlenecks: monitored.bottlenecks,
        traffic: TrafficPlan::default(),
        had_route: memory.route,
        drill: memory.drill.clone(),
        history,
        recheck_after: soon.map_or(recheck_after, |soon| soon.min(recheck_after)),
    }
}

fn recheck_after(plans: &[RegionPlan], snapshot: &FleetSnapshot) -> Duration {
    let draining = plans.iter().any(|region| region.replicas > region.wanted);
    let silent = snapshot.regions.values().flat_map(|region| region.shards.values()).any(explain::is_silent);
    let recheck_after = match (draining, silent) {
        (true, _) => RECHECK_WHILE_DRAINING,
        (false, true) => explain::SILENCE_WORTH_TELLING,
        (false, false) => RECHECK,
    };
    let scaling = plans.iter().filter_map(|region| Some(region.scaling.as_ref()?.recheck_after)).min();
    recheck_after.min(scaling.unwrap_or(RECHECK))
}

fn plan_region(
    intent: &FleetIntent,
    region: Region<'_>,
    places: u32,
    breaker: Option<BreakerPlan>,
    now: Timestamp,
) -> RegionPlan {
    let (target, weight) = (region.target(), region.weight());
    let Region { name, wanted, seen, shards, routing } = region;
    let standing = match wanted {
        Some(_) => Standing::Stays,
        None if shards.replicas > 0 => Standing::Leaving,
        None => Standing::Gone,
    };
    let endpoints = endpoints(intent, name, seen, target, places);
    let complete = standing == Standing::Stays
        && seen.serving_below(target) == target
        && seen.rollout.is_some_and(|rollout| rollout.complete && rollout.replicas >= target);
    let explanation = explain::explain(&explain::Region {
        intent,
        name,
        weight,
        wanted: target,
        seen,
        shards: &shards,
        standing,
        routing: routing.as_ref(),
        complete,
        now,
    });
    // Shards that the load asks for come and go: what the spec promises are those that are always there.
    let least = wanted.as_ref().map_or(0, |wanted| wanted.region.shards.min.min(target));
    let grows = standing == Standing::Stays
        && target > least
        && seen.serving_below(target) >= least
        && seen.rollout.is_some_and(|rollout| !rollout.replaces && rollout.replicas >= least);
    RegionPlan {
        name: name.to_owned(),
        standing,
        weight,
        wanted: target,
        replicas: shards.replicas,
        // Where somebody else decides, a new StatefulSet starts with what the spec says, and is theirs from then on.
        writes_replicas: intent.scaling.mode != ScalingMode::External || seen.rollout.is_none(),
        ready: seen.serving_below(shards.replicas),
        endpoints,
        share_percent: 0,
        settled: complete || grows,
        scaling: wanted.map(|wanted| wanted.scaling),
        breaker,
        routing,
        reason: explanation.reason,
        message: explanation.message,
    }
}

/// Every pod with an address; the first `places` serving ones of those that stay are listed. While some of them are from
/// before routing, not those that take part in it: the others accept everything, and take nothing from them.
fn endpoints(intent: &FleetIntent, region: &str, seen: &RegionSnapshot, target: u32, places: u32) -> Vec<EndpointPlan> {
    let mut left = places;
    let mut endpoints = Vec::new();
    let some_take_all = seen.shards.range(..target).any(|(_, shard)| shard.is_serving() && routing::is_old(shard));
    let takes_part = |shard: &ShardSnapshot| shard.report.value().is_some_and(|report| report.shard.routing.is_some());
    for (ordinal, shard) in &seen.shards {
        let Some((pod, ip)) = shard.pod.as_ref().and_then(|pod| Some((pod, pod.ip.clone()?))) else { continue };
        let fit = shard.is_serving() && !(some_take_all && takes_part(shard));
        let listed = *ordinal < target && left > 0 && fit;
        left -= u32::from(listed);
        endpoints.push(EndpointPlan {
            pod: names::pod(&intent.name, region, *ordinal),
            uid: pod.uid.clone(),
            ip,
            node: pod.node.clone(),
            zone: pod.zone.clone(),
            listed,
            serving: pod.ready,
            terminating: pod.terminating,
        });
    }
    endpoints
}

/// Each listed shard gets the same share of new connections: that is how kube-proxy chooses.
fn share_out(plans: &mut [RegionPlan]) {
    let listed = |plan: &RegionPlan| plan.endpoints.iter().filter(|endpoint| endpoint.listed).count();
    let total: usize = plans.iter().map(listed).sum();
    for plan in plans {
        let share = (listed(plan) * 200 + total) / (2 * total).max(1);
        plan.share_percent = u32::try_from(share).unwrap_or(100);
    }
}
