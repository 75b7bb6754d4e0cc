//! Decides what is to become of a fleet. Pure: what was seen and the time come in, a plan with reasons goes out.
//!
//! In this order, because each step needs the one before it:
//! 1. **Bottleneck** of each region ([`bottleneck`]): what limits it, which tells whether more shards would help.
//! 2. **Breaker** of each region ([`breaker`]): whether it is in service.
//! 3. **Shares** of the regions ([`traffic`]): how much of new traffic each gets, and what it is to be large enough for.
//! 4. **Shards** of each region: as many as its load asks for, or what is about to be shifted there ([`autoscale`]), but
//!    no shard goes while it may hold events ([`shards`]).
//! 5. **Routing** of each region ([`routing`]): who owns which slots of event keys, and who hands over.
//! 6. **Traffic** across regions: which shards are listed, so that shares are kept ([`listing`]), and what shards are to
//!    hand over to other regions ([`traffic`]).
//! 7. **Explanation** of each region ([`explain`]): the one thing that somebody should look at next.
//!
//! **Architecture Invariant:** no async, no client, no clock, no Kubernetes types, no hash order.

mod autoscale;
mod bottleneck;
mod breaker;
mod drill;
mod explain;
mod listing;
mod routing;
mod shards;
mod stand;
mod traffic;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{
    BreakerPlan, FleetIntent, FleetMemory, FleetPlan, FleetSnapshot, RegionIntent, RegionMemory, RegionPlan,
    RegionSnapshot, RegionTrafficPlan, RoutingPlan, ScalingDecision, ScalingMode, Standing,
};
use shards::ShardsDecision;
use stand::{listed, stand};

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
    let mut monitored = bottleneck::monitor(intent, snapshot, now);
    let mut breakers = breaker::desired_phases(intent, snapshot, memory, now);
    let mut history = std::mem::take(&mut monitored.history);
    history.breakers = std::mem::take(&mut breakers.history);
    let (unseen, forgotten) = (RegionSnapshot::default(), RegionMemory::default());
    let stand = stand(intent, snapshot, memory, &breakers.plans, now);
    let led = traffic::desired_shares(&traffic::Situation {
        regions: &stand,
        none_is_well: breakers.none_is_well,
        when_all_unhealthy: intent.breaker.when_all_unhealthy,
        drain: intent.scaling.target_drain,
        history: &snapshot.history.traffic,
        now,
    });
    let staying = intent.regions.iter().zip(&stand).zip(&led.regions).map(|((region, stands), share)| {
        let seen = snapshot.regions.get(&region.name).unwrap_or(&unseen);
        let memory = memory.regions.get(&region.name).unwrap_or(&forgotten);
        let outlook = autoscale::Outlook {
            limit: monitored.limit(&region.name),
            phase: stands.phase,
            episode: led.episode,
            expected: share.expected_arrival,
        };
        let scaling = autoscale::desired_size(intent, region, seen, memory, &outlook, now);
        (region.name.as_str(), Some(Wanted { region, scaling }), seen)
    });
    let leaving = snapshot
        .regions
        .iter()
        .filter(|(name, _)| intent.region(name).is_none())
        .map(|(name, seen)| (name.as_str(), None, seen));
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

    let names = || stand.iter().map(|region| region.name);
    let shares = led.episode.then(|| names().zip(led.regions.iter().map(|plan| plan.share_permille)).collect());
    let listing = listing::list(&regions, shares.as_ref());
    let listed = listed(intent, &regions, &listing, &led);
    let delivered = traffic::delivered(&stand, &led, &listed);
    let mut told = traffic::desired_table(intent, snapshot, &memory.traffic, &stand, led, &listed, now);
    history.traffic = told.history;
    soon = [soon, told.recheck_after].into_iter().flatten().min();

    let mut plans = Vec::new();
    for (at, region) in regions.into_iter().enumerate() {
        let breaker = breakers.plans.remove(region.name);
        soon = [soon, breaker.as_ref().and_then(|breaker| breaker.recheck_after)].into_iter().flatten().min();
        if region.wanted.is_none() {
            told.plan.regions.insert(region.name.to_owned(), RegionTrafficPlan::default());
        }
        let share = (delivered.get(at).copied().unwrap_or(0) + 5) / 10;
        plans.push(plan_region(intent, region, listing.places[at], share, breaker, now));
    }
    let (drill, measured) = drill::desired_drill(&drill::Situation {
        intent,
        snapshot,
        remembered: memory.drill.as_ref(),
        regions: &plans,
        traffic: &told.plan,
        now,
    });
    history.drill = measured;
    let drilling = drill.as_ref().filter(|drill| drill.ended_at.is_none()).map(|_| RECHECK_WHILE_DRAINING);
    let order_ends = intent.manual.next_end(now).map(|end| end.duration_since(now).unsigned_abs());
    soon = [soon, drilling, order_ends].into_iter().flatten().min();
    let recheck_after = recheck_after(&plans, snapshot);
    FleetPlan {
        regions: plans,
        bottlenecks: monitored.bottlenecks,
        had_route: memory.route,
        drill,
        traffic: told.plan,
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
    share_percent: u32,
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
    let endpoints = listing::endpoints(intent, name, seen, target, places);
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
        breaker: breaker.as_ref(),
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
        share_percent,
        settled: complete || grows,
        scaling: wanted.map(|wanted| wanted.scaling),
        breaker,
        routing,
        reason: explanation.reason,
        message: explanation.message,
    }
}
