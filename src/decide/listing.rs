//! Which shards are listed in the fleet's Service, and what share of new events that brings each region. Pure.

use std::collections::BTreeMap;

use super::{Region, traffic};
use crate::fleet::{EndpointPlan, FleetIntent, RegionSnapshot, ShardSnapshot, names};

/// How many shards of each region are to be listed, and what that comes to.
pub(super) struct Listing {
    /// In the order of the regions.
    pub(super) places: Vec<u32>,
    /// New connections that come to each, in thousandths.
    pub(super) permilles: Vec<u32>,
}

/// Lists shards so that shares are kept. `shares` is by region, while traffic is not as the weights of the spec say.
///
/// Shares of a shift go by the shards that serve: what is to come up yet is not to bring anything. Else it goes by those that
/// the spec asks for, and one that restarts changes no other region's listing.
///
/// If that would list no shard, because those of the regions with a share are all away, every region with a weight is
/// listed by that: what comes is better off on a disk than refused.
pub(super) fn list(regions: &[Region<'_>], shares: Option<&BTreeMap<&str, u32>>) -> Listing {
    let fits: Vec<u32> = regions.iter().map(|region| fits(region.seen, region.target())).collect();
    let listed = |places: &[u32]| -> Vec<u64> {
        fits.iter().zip(places).map(|(fits, places)| u64::from(*fits.min(places))).collect()
    };
    if let Some(shares) = shares {
        let claim = |(region, fits): (&Region<'_>, &u32)| traffic::Claim {
            weight: shares.get(region.name).copied().unwrap_or(0),
            shards: *fits,
        };
        let places = traffic::desired_places(&regions.iter().zip(&fits).map(claim).collect::<Vec<_>>());
        let listed = listed(&places);
        if listed.iter().any(|listed| *listed > 0) {
            return Listing { permilles: traffic::permilles(&listed), places };
        }
    }
    let claim = |region: &Region<'_>| traffic::Claim { weight: region.weight(), shards: region.target() };
    let places = traffic::desired_places(&regions.iter().map(claim).collect::<Vec<_>>());
    Listing { permilles: traffic::permilles(&listed(&places)), places }
}

/// Every pod with an address; the first `places` serving ones of those that stay are listed.
pub(super) fn endpoints(
    intent: &FleetIntent,
    region: &str,
    seen: &RegionSnapshot,
    target: u32,
    places: u32,
) -> Vec<EndpointPlan> {
    let mut left = places;
    let mut endpoints = Vec::new();
    let fit = fit(seen, target);
    for (ordinal, shard) in &seen.shards {
        let Some((pod, ip)) = shard.pod.as_ref().and_then(|pod| Some((pod, pod.ip.clone()?))) else { continue };
        let listed = left > 0 && fit(*ordinal, shard);
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

fn fits(seen: &RegionSnapshot, target: u32) -> u32 {
    let fit = fit(seen, target);
    u32::try_from(seen.shards.iter().filter(|(ordinal, shard)| fit(**ordinal, shard)).count()).unwrap_or(u32::MAX)
}

/// Which shards may be listed: those that stay and serve. While some of them are from before routing, not those that take
/// part in it: the others accept everything, and take nothing from them.
fn fit(seen: &RegionSnapshot, target: u32) -> impl Fn(u32, &ShardSnapshot) -> bool {
    let some_take_all =
        seen.shards.range(..target).any(|(_, shard)| shard.is_serving() && super::routing::is_old(shard));
    let takes_part = |shard: &ShardSnapshot| shard.report.value().is_some_and(|report| report.shard.routing.is_some());
    move |ordinal, shard| ordinal < target && shard.is_serving() && !(some_take_all && takes_part(shard))
}
