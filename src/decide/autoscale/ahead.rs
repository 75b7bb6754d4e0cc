//! Sizes that are not by the load alone: ahead of a shift of traffic, while a region is not Serving, and while somebody has
//! asked that sizes stay. Pure.

use std::time::Duration;

use signalbox_contract::BreakerPhase;

use super::numbers::float;
use super::{Choice, Region, ceil};
use crate::fleet::{Bound, RegionMemory, ScalingReason};

/// Traffic is shifted up to 85 % of what shards can settle: with fewer shards than this makes, it would wait for more.
const MOST_UTILIZATION: f64 = 0.8;

impl Region<'_> {
    /// As large as what is about to come needs, if that is more than the load does; and no smaller while it is away.
    pub(super) fn ahead(&self, by_load: Choice, next: &mut RegionMemory) -> Choice {
        let away = self.outlook.phase != BreakerPhase::Serving;
        if away && by_load.to < self.from {
            return self.stays(next);
        }
        let Some(needed) = self.needed_ahead().filter(|needed| *needed > by_load.to) else { return by_load };
        if self.limit.is_some_and(|limit| !limit.yields_to_shards()) {
            return by_load;
        }
        // The load alone may call for fewer than there are: those are kept.
        next.window.clear();
        let most = if self.is_known_well() { u32::MAX } else { self.from.max(self.ready.saturating_mul(2)) };
        let max = self.range.shards.max;
        let to = needed.min(most).min(max).max(self.from);
        let bound = match () {
            () if to >= needed => None,
            () if to == max => Some(Bound::Maximum),
            () => Some(Bound::Doubling),
        };
        Choice { to, reason: ScalingReason::ShiftAhead, bound }
    }

    /// The size that there is. The stabilisation window begins anew afterwards.
    pub(super) fn stays(&self, next: &mut RegionMemory) -> Choice {
        next.window.clear();
        next.trial = None;
        let reason = if self.paused.is_some() { ScalingReason::Paused } else { ScalingReason::Standby };
        Choice { to: self.from, reason, bound: None }
    }

    /// What is expected, if it is clearly more than what arrives.
    pub(super) fn expected_above(&self, arrival: u64) -> Option<u64> {
        self.outlook.expected.filter(|expected| *expected > arrival)
    }

    /// So many shards that what is expected takes `targetUtilization` of them. `None`: no more is expected than arrives, or
    /// what a shard can settle is not known.
    pub(super) fn needed_ahead(&self) -> Option<u32> {
        let expected = float(self.outlook.expected?);
        let each = self.per_shard()? * self.utilization().min(MOST_UTILIZATION);
        (expected > self.demand.arrival).then(|| ceil(expected / each))
    }

    pub(super) fn until_pause_ends(&self, recheck_after: Duration) -> Duration {
        let left = self.paused.map(|until| until.duration_since(self.now).unsigned_abs());
        left.map_or(recheck_after, |left| left.min(recheck_after))
    }
}
