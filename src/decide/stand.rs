//! What traffic is decided by, of each region of the spec: gathered from what was seen, remembered and decided before. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::{Region, autoscale, listing, traffic};
use crate::fleet::{
    BreakerPlan, DataPort, FleetIntent, FleetMemory, FleetSnapshot, RegionSnapshot, RegionTrafficPlan, TripCause,
};

/// How the regions of the spec stand, as far as traffic goes by it.
pub(super) fn stand<'a>(
    intent: &'a FleetIntent,
    snapshot: &FleetSnapshot,
    memory: &FleetMemory,
    breakers: &BTreeMap<String, BreakerPlan>,
    now: Timestamp,
) -> Vec<traffic::Region<'a>> {
    let unseen = RegionSnapshot::default();
    let stands = intent.regions.iter().map(|region| {
        let seen = snapshot.regions.get(&region.name).unwrap_or(&unseen);
        let breaker = breakers.get(&region.name);
        let remembered = memory.regions.get(&region.name);
        let reports = seen.shards.values().filter_map(|shard| shard.report.value());
        traffic::Region {
            name: &region.name,
            weight: region.weight,
            phase: breaker.map_or(BreakerPhase::Serving, |breaker| breaker.memory.phase),
            percent: breaker.map_or(100, |breaker| intent.percent(&region.name, &breaker.memory, now)),
            reachable: breaker.is_none_or(|breaker| breaker.reachable || !is_gone(breaker, seen)),
            ready: seen.serving_below(remembered.and_then(|memory| memory.wanted).unwrap_or(u32::MAX)),
            most: region.shards.max,
            per_shard: remembered.and_then(|memory| Some(memory.capacity?.per_second)),
            arriving: autoscale::arriving(seen, now),
            backlog: reports.map(|report| report.shard.backlog_events).fold(0, u64::saturating_add),
            before: before(&memory.traffic.shares, &region.name),
        }
    });
    stands.collect()
}

/// The share that a region had. One that came lately had none, where any are remembered.
fn before(shares: &BTreeMap<String, u32>, region: &str) -> Option<u32> {
    (!shares.is_empty()).then(|| shares.get(region).copied().unwrap_or(0))
}

/// Whether nobody can reach a region that is not heard. Reports that are missing say nothing by themselves: what it holds of
/// new traffic is as well off there as before.
fn is_gone(breaker: &BreakerPlan, seen: &RegionSnapshot) -> bool {
    let hard = matches!(breaker.memory.cause, Some(TripCause::Unreachable | TripCause::NoShardReady));
    let mut serving = seen.shards.values().filter(|shard| shard.is_serving());
    hard || serving.all(|shard| matches!(shard.data_port, DataPort::Silent(_)))
}

/// How the regions of the spec are listed.
pub(super) fn listed(
    intent: &FleetIntent,
    regions: &[Region<'_>],
    listing: &listing::Listing,
    led: &traffic::Traffic,
) -> Vec<traffic::Listed> {
    let of = |(at, plan): (usize, &RegionTrafficPlan)| traffic::Listed {
        owners: regions[at].routing.as_ref().map(|plan| plan.routing.shards),
        // A Gateway leads by shares, whatever is listed.
        permille: if intent.traffic.gateway.is_some() { plan.share_permille } else { listing.permilles[at] },
        places: listing.places[at],
    };
    led.regions.iter().enumerate().map(of).collect()
}
