//! Decides what is to become of a fleet. Pure: what was seen and the time come in, a plan with reasons goes out.
//!
//! In this order, because each step needs the one before it:
//! 1. **Shards** of each region ([`shards`]): as the spec says, but no shard goes while it may hold events.
//! 2. **Traffic** across regions ([`traffic`]): which shards are listed, so that weights are kept.
//! 3. **Explanation** of each region ([`explain`]): the one thing that somebody should look at next.
//!
//! **Architecture Invariant:** no async, no client, no clock, no Kubernetes types, no hash order.

mod bottleneck;
mod explain;
mod shards;
mod traffic;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{
    EndpointPlan, FleetIntent, FleetPlan, FleetSnapshot, RegionIntent, RegionPlan, RegionSnapshot, Standing, names,
};
use shards::ShardsDecision;

/// While shards drain, their reports decide when they may go, and those come every few seconds.
const RECHECK_WHILE_DRAINING: Duration = Duration::from_secs(2);
/// Watches say when something changes. This is for the change that a watch missed.
const RECHECK: Duration = Duration::from_mins(5);

/// Decides. Deciding again on the same snapshot gives the same plan.
pub(crate) fn decide(intent: &FleetIntent, snapshot: &FleetSnapshot, now: Timestamp) -> FleetPlan {
    let monitored = bottleneck::monitor(intent, snapshot, now);
    let unseen = RegionSnapshot::default();
    let staying = intent.regions.iter().map(|region| {
        let seen = snapshot.regions.get(&region.name).unwrap_or(&unseen);
        (region.name.as_str(), Some(region), seen)
    });
    let leaving = snapshot
        .regions
        .iter()
        .filter(|(name, _)| intent.region(name).is_none())
        .map(|(name, seen)| (name.as_str(), None, seen));
    let regions: Vec<_> = staying
        .chain(leaving)
        .map(|(name, wanted, seen)| {
            (name, wanted, seen, shards::desired_shards(wanted.map_or(0, |region| region.shards), seen, now))
        })
        .collect();

    let weights: Vec<_> = regions
        .iter()
        .map(|(_, wanted, _, _)| traffic::Claim {
            weight: wanted.map_or(0, |region| region.weight),
            shards: wanted.map_or(0, |region| region.shards),
        })
        .collect();
    let places = traffic::desired_places(&weights);

    let mut plans: Vec<_> = regions
        .into_iter()
        .zip(places)
        .map(|((name, wanted, seen, shards), places)| plan_region(intent, name, wanted, seen, &shards, places, now))
        .collect();
    share_out(&mut plans);
    let draining = plans.iter().any(|region| region.replicas > region.wanted);
    let silent = snapshot.regions.values().flat_map(|region| region.shards.values()).any(explain::is_silent);
    let recheck_after = match (draining, silent) {
        (true, _) => RECHECK_WHILE_DRAINING,
        (false, true) => explain::SILENCE_WORTH_TELLING,
        (false, false) => RECHECK,
    };
    FleetPlan {
        regions: plans,
        bottlenecks: monitored.bottlenecks,
        history: monitored.history,
        recheck_after: recheck_after.min(monitored.recheck_after.unwrap_or(recheck_after)),
    }
}

fn plan_region(
    intent: &FleetIntent,
    name: &str,
    wanted: Option<&RegionIntent>,
    seen: &RegionSnapshot,
    shards: &ShardsDecision,
    places: u32,
    now: Timestamp,
) -> RegionPlan {
    let standing = match wanted {
        Some(_) => Standing::Stays,
        None if shards.replicas > 0 => Standing::Leaving,
        None => Standing::Gone,
    };
    let target = wanted.map_or(0, |region| region.shards);
    let endpoints = endpoints(intent, name, seen, target, places);
    let settled = standing == Standing::Stays
        && seen.serving_below(target) == target
        && seen.rollout.is_some_and(|rollout| rollout.complete && rollout.replicas >= target);
    let explanation = explain::explain(&explain::Region { intent, name, wanted, seen, shards, standing, settled, now });
    RegionPlan {
        name: name.to_owned(),
        standing,
        weight: wanted.map_or(0, |region| region.weight),
        wanted: target,
        replicas: shards.replicas,
        ready: seen.serving_below(shards.replicas),
        endpoints,
        share_percent: 0,
        settled,
        reason: explanation.reason,
        message: explanation.message,
    }
}

/// Every pod with an address; the first `places` serving ones of those that stay are listed.
fn endpoints(intent: &FleetIntent, region: &str, seen: &RegionSnapshot, target: u32, places: u32) -> Vec<EndpointPlan> {
    let mut left = places;
    let mut endpoints = Vec::new();
    for (ordinal, shard) in &seen.shards {
        let Some((pod, ip)) = shard.pod.as_ref().and_then(|pod| Some((pod, pod.ip.clone()?))) else { continue };
        let listed = *ordinal < target && left > 0 && shard.is_serving();
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
