//! A size with all that goes with it: its numbers, its sentence, and when to look again. Pure.

use std::time::Duration;

use super::numbers::whole;
use super::{Choice, Region, text};
use crate::fleet::{RegionMemory, ScalingDecision, ScalingNumbers, ScalingReason};

/// While there is something to do, what matters changes within seconds.
const RECHECK_BUSY: Duration = Duration::from_secs(2);
/// Else: rates move without a report that says anything new.
const RECHECK_CALM: Duration = Duration::from_secs(10);

/// A size that is not by load.
pub(super) fn not_ours(to: u32, reason: ScalingReason) -> ScalingDecision {
    ScalingDecision {
        from: to,
        to,
        reason,
        bound: None,
        numbers: ScalingNumbers::default(),
        message: String::new(),
        memory: RegionMemory::default(),
        recheck_after: Duration::MAX,
    }
}

impl Region<'_> {
    pub(super) fn decision(self, before: u32, choice: &Choice, memory: RegionMemory, fleet: &str) -> ScalingDecision {
        let Choice { to, reason, bound } = *choice;
        let demand = &self.demand;
        let numbers = ScalingNumbers {
            arrival: whole(demand.arrival),
            expected: self.expected_above(whole(demand.arrival)),
            settled: whole(demand.settled),
            backlog: whole(demand.backlog),
            capacity: self.capacity.map(|capacity| capacity.per_second),
            samples: self.capacity.map_or(0, |capacity| capacity.samples),
            needed: self.needed(1.0).max(self.needed_ahead()),
            known: u32::try_from(demand.shards.len()).unwrap_or(u32::MAX),
            unknown: u32::try_from(demand.doubts.len()).unwrap_or(u32::MAX),
        };
        let busy = demand.backlog >= 1.0 || demand.starting || memory.trial.is_some() || !demand.doubts.is_empty();
        let message = text::message(&text::Told {
            fleet,
            region: &self.range.name,
            to,
            max: self.range.shards.max,
            reason,
            doubt: demand.worst_doubt(),
            limit: self.limit,
            paused: self.paused,
            hold: memory.hold.filter(|hold| self.now < hold.until),
            stabilization: self.scaling.stabilization,
        });
        ScalingDecision {
            from: before,
            to,
            reason,
            bound,
            numbers,
            message,
            memory,
            recheck_after: self.until_pause_ends(if busy { RECHECK_BUSY } else { RECHECK_CALM }),
        }
    }
}
