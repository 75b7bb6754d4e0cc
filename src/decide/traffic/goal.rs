//! What share of new traffic each region is to have in the end: by its weight and the phase of its breaker. Pure.
//!
//! ```text
//! weight x (1 Serving | percent of the ramp Probing | 0 Tripped), over the sum of all
//! ```
//!
//! Where that leaves no region that is well, the weights of the spec hold for those that can be reached, or for all.

use signalbox_contract::BreakerPhase;

use super::Region;
use super::shift::{self, Move};
use crate::fleet::Known;

/// Shares in thousandths, in the order of the regions. They sum up to 1000, or to 0 where no region has a weight.
#[derive(Clone, Debug)]
pub(super) struct Goals {
    /// By the weights of the spec alone.
    pub(super) spec: Vec<u32>,
    /// By phases too.
    pub(super) by_phase: Vec<u32>,
    /// Some region with a weight is not Serving.
    pub(super) episode: bool,
    /// Every region with a weight is Tripped, or would be if it were not the last.
    pub(super) none_is_well: bool,
}

impl Goals {
    pub(super) fn of(regions: &[Region<'_>], none_is_well: bool) -> Self {
        let by = |weight: &dyn Fn(&Region<'_>) -> u64| permilles(&regions.iter().map(weight).collect::<Vec<_>>());
        let spec = by(&|region| region.weight.into());
        let weighed = || regions.iter().filter(|region| region.weight > 0);
        let episode = weighed().any(|region| region.phase != BreakerPhase::Serving);
        let all_tripped = weighed().all(|region| region.phase == BreakerPhase::Tripped);
        let none_is_well = episode && (none_is_well || all_tripped);
        let some_reachable = weighed().any(|region| region.reachable);
        let by_phase = match () {
            () if !episode => spec.clone(),
            () if none_is_well && some_reachable => {
                by(&|region| if region.reachable { region.weight.into() } else { 0 })
            }
            () if none_is_well => spec.clone(),
            () => by(&|region| u64::from(region.weight) * u64::from(percent(region))),
        };
        Self { spec, by_phase, episode, none_is_well }
    }

    /// How far a region may go now.
    pub(super) fn step(&self, at: usize, region: &Region<'_>, total: Known<u64>) -> Move {
        Move {
            goal: self.by_phase[at],
            before: region.before.unwrap_or(self.spec[at]).min(1_000),
            room: shift::room(region, total),
            lets_go: region.phase == BreakerPhase::Tripped && !region.reachable,
        }
    }
}

/// How much of its weight a region is to have.
fn percent(region: &Region<'_>) -> u32 {
    match region.phase {
        BreakerPhase::Serving => 100,
        BreakerPhase::Probing => region.percent.clamp(1, 100),
        BreakerPhase::Tripped => 0,
    }
}

/// Weights in thousandths of their sum, of which every weight gets at least one.
pub(in crate::decide) fn permilles(weights: &[u64]) -> Vec<u32> {
    let sum: u64 = weights.iter().sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let mut shares: Vec<u64> =
        weights.iter().map(|weight| (weight * 1_000 / sum).max(u64::from(*weight > 0))).collect();
    let mut by_rest: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0).collect();
    by_rest.sort_by_key(|at| std::cmp::Reverse(weights[*at] * 1_000 % sum));
    let given: u64 = shares.iter().sum();
    for at in by_rest.into_iter().cycle().take(usize::try_from(1_000_u64.saturating_sub(given)).unwrap_or(0)) {
        shares[at] += 1;
    }
    for _ in 1_000..given {
        if let Some(largest) = shares.iter_mut().max() {
            *largest -= 1;
        }
    }
    shares.into_iter().map(|share| u32::try_from(share).unwrap_or(1_000)).collect()
}
