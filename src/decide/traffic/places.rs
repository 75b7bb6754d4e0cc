//! How many shards of each region are listed in the fleet's Service, so that weights are kept. Pure.
//!
//! kube-proxy sends each new connection to one of the listed endpoints, all with equal chance, so a region's
//! share is its listed shards over all listed shards. The best choice of counts is searched for among those that
//! keep the ratio of the weights as well as whole numbers can. Being exact is worth leaving a shard unlisted, but
//! not for less than [`TOLERANCE_PERCENT`]: an unlisted shard is idle capacity.
//!
//! The counts are made from the shards that the spec asks for, not from those that are ready: when one shard of a
//! region restarts, the other regions' listings stay as they are.

/// One region's claim on traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decide) struct Claim {
    /// Relative to the other regions. 0 lists nothing.
    pub(in crate::decide) weight: u32,
    /// Shards that could be listed.
    pub(in crate::decide) shards: u32,
}

/// Errors of a share below this many percentage points are taken for none.
const TOLERANCE_PERCENT: u64 = 5;

/// How many shards of each region to list, in the order of the claims.
///
/// Every region with a weight and a shard gets at least one place. Of all counts, the ones whose worst share is
/// least wrong, in steps of [`TOLERANCE_PERCENT`]; of those, the ones that list the most shards.
pub(in crate::decide) fn desired_places(claims: &[Claim]) -> Vec<u32> {
    let most: u32 = claims.iter().filter(|claim| claim.weight > 0).map(|claim| claim.shards).sum();
    let weights = weight_sum(claims);
    (1..=most)
        .map(|total| places_for(claims, weights, total))
        .min_by_key(|places| (worst_error(claims, weights, places), std::cmp::Reverse(places.iter().sum::<u32>())))
        .unwrap_or_else(|| vec![0; claims.len()])
}

/// The counts that come nearest to the weights if there were `total` places.
fn places_for(claims: &[Claim], weights: u64, total: u32) -> Vec<u32> {
    claims
        .iter()
        .map(|claim| {
            if claim.weight == 0 || claim.shards == 0 {
                return 0;
            }
            let exact = (u64::from(total) * u64::from(claim.weight) + weights / 2) / weights;
            u32::try_from(exact).unwrap_or(u32::MAX).clamp(1, claim.shards)
        })
        .collect()
}

/// The largest difference between a region's share and its weight, in steps of the tolerance.
fn worst_error(claims: &[Claim], weights: u64, places: &[u32]) -> u64 {
    let listed: u64 = places.iter().copied().map(u64::from).sum::<u64>().max(1);
    let worst = claims.iter().zip(places).map(|(claim, places)| {
        let share = u64::from(*places) * 10_000 / listed;
        let weight = u64::from(claim.weight) * 10_000 / weights;
        share.abs_diff(weight)
    });
    worst.max().unwrap_or(0) / (TOLERANCE_PERCENT * 100)
}

/// Of those that have a shard; at least 1.
fn weight_sum(claims: &[Claim]) -> u64 {
    claims.iter().filter(|claim| claim.shards > 0).map(|claim| u64::from(claim.weight)).sum::<u64>().max(1)
}
