//! How many shards a region is to have by its load. Pure.
//!
//! ```text
//! needed = ceil((arrival + backlog / targetDrainTime) / (capacity of a shard x targetUtilization))
//! ```
//!
//! One function, up and down. **Up** at once, when the shards that are wanted, counting those that are still starting,
//! do not suit the load: a tenth more arrives than `targetUtilization` of what they can settle, or the backlog would take longer
//! than `targetDrainTime`. Then it is corrected at most once, when rates describe the time after that and the shards are
//! clearly what limits; else what it brought is waited for first. **Down** to the largest size that was called for in the stabilisation window ([`window`]), with a
//! margin for noise; what goes drains first (`shards`).
//!
//! What a shard can settle is learned ([`capacity`]). While that is hardly known, the shards are at most doubled at once.
//! What is not known never takes a shard away ([`demand`]). Growth that brings nothing is not repeated ([`trial`]).
//!
//! **Ahead** of a shift of traffic, a region is made large enough for what it is to get, before it gets it: traffic waits
//! for the shards, and the shards for nothing. A growth in such a time is not judged. A region that is not Serving keeps
//! its size, because its traffic comes back ([`ahead`]).
//!
//! **Invariants:** `min <= to <= max` in mode Internal. Deciding again on the same numbers, with what was remembered,
//! changes nothing.

mod ahead;
mod capacity;
mod decision;
mod demand;
mod numbers;
mod text;
mod trial;
mod window;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use crate::fleet::{
    Bound, Capacity, FleetIntent, Limit, RegionIntent, RegionMemory, RegionSnapshot, ScalingDecision, ScalingIntent,
    ScalingMode, ScalingReason, Trial, round_to_two_digits, whole_second,
};
use decision::not_ours;
pub(super) use demand::arriving;
use demand::{Demand, KeptBy};
use numbers::{float, whole};
use trial::Verdict;

/// So much more than the target may arrive before shards are added, or noise would add them.
const UP_MARGIN: f64 = 1.1;
/// Fewer shards have to be enough for so much more than the load, or noise would bring them back.
const DOWN_MARGIN: f64 = 1.25;
/// While shards are starting, a backlog may take so many times the target: they will help to drain it.
const STARTING_SLACK: f64 = 2.0;
/// Events a second that a shard is taken to settle while events arrive and nothing has been seen to be settled: a spike
/// is not to wait for its first deliveries. Few enough for a slow sink; one shard too many is found out by its trial.
const ASSUMED: f64 = 100.0;
/// A capacity that was seen less often is hardly known.
const KNOWN_WELL: u32 = 3;
/// So often the size grows before it is judged what that brought.
const MOST_STEPS: u32 = 2;
/// Nothing is added within this time after something was, nor within that of the rates.
const LEAST_SETTLING: Duration = Duration::from_secs(5);

/// A size, why, and what kept it from being what the load asks for.
struct Choice {
    to: u32,
    reason: ScalingReason,
    bound: Option<Bound>,
}

/// What else is known of a region: what was decided before its size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outlook<'a> {
    /// What limits it, as far as that is known.
    pub(super) limit: Option<&'a Limit>,
    /// Where its breaker is.
    pub(super) phase: BreakerPhase,
    /// Traffic is being shifted, or was: some region is not Serving.
    pub(super) episode: bool,
    /// Events a second that it is to be large enough for. `None`: for what arrives.
    pub(super) expected: Option<u64>,
}

/// One region to decide about.
struct Region<'a> {
    range: RegionIntent,
    scaling: &'a ScalingIntent,
    from: u32,
    /// Shards of it that serve.
    ready: u32,
    demand: Demand,
    capacity: Option<Capacity>,
    limit: Option<&'a Limit>,
    outlook: Outlook<'a>,
    paused: Option<Timestamp>,
    now: Timestamp,
}

/// Decides how many shards a region of the spec is to have.
pub(super) fn desired_size(
    intent: &FleetIntent,
    region: &RegionIntent,
    seen: &RegionSnapshot,
    memory: &RegionMemory,
    outlook: &Outlook<'_>,
    now: Timestamp,
) -> ScalingDecision {
    let limit = outlook.limit;
    let running = seen.rollout.map(|rollout| rollout.replicas);
    let range = region.shards;
    match intent.scaling.mode {
        ScalingMode::External => return not_ours(running.unwrap_or(range.min), ScalingReason::External),
        ScalingMode::Fixed => return not_ours(range.min, ScalingReason::Fixed),
        ScalingMode::Internal if range.min == range.max => return not_ours(range.min, ScalingReason::Fixed),
        ScalingMode::Internal => {}
    }
    let before = memory.wanted.or(running).unwrap_or(range.min);
    let from = before.clamp(range.min, range.max);
    let demand = Demand::of(seen, from, limit, now);
    let mut next = RegionMemory { wanted: None, ..memory.clone() };
    let held = next.hold.is_some_and(|hold| now < hold.until);
    let elsewhere = held || limit.is_some_and(|limit| !limit.yields_to_shards());
    next.capacity = capacity::learned(memory.capacity, &demand, elsewhere, memory.trial.is_some());
    let region = Region {
        range: region.clone(),
        scaling: &intent.scaling,
        from,
        ready: seen.serving_below(from),
        demand,
        capacity: next.capacity,
        limit,
        outlook: *outlook,
        paused: intent.manual.pause(now),
        now,
    };
    let mut choice = region.choice(&mut next);
    if choice.to > from && outlook.episode {
        next.window.clear();
    } else if choice.to > from {
        next.window.clear();
        let settled = round_to_two_digits(whole(region.demand.settled));
        let at = whole_second(now);
        next.trial = Some(match next.trial {
            Some(trial) => Trial { at, to: choice.to, steps: trial.steps + 1, ..trial },
            None => Trial { at, from, to: choice.to, settled, steps: 1 },
        });
    }
    if choice.to == from && from != before {
        choice.reason = ScalingReason::SpecRange;
    }
    next.wanted = Some(choice.to);
    region.decision(before, &choice, next, &intent.name)
}

impl Region<'_> {
    fn choice(&self, next: &mut RegionMemory) -> Choice {
        if self.outlook.episode {
            // What it was made for is not what it gets now.
            next.trial = None;
        }
        if self.paused.is_some() || self.outlook.phase == BreakerPhase::Tripped {
            return self.stays(next);
        }
        let enough = self.is_enough();
        self.look_back(next, enough);
        let by_load = if enough { self.down(next) } else { self.up(next) };
        self.ahead(by_load, next)
    }

    /// Events a second that a shard can settle.
    fn per_shard(&self) -> Option<f64> {
        self.capacity.map(|capacity| float(capacity.per_second))
    }

    /// The same where it was not learned: a shard can settle at least what it does.
    fn seen_per_shard(&self) -> Option<f64> {
        let Demand { arrival, settled, .. } = self.demand;
        match settled / f64::from(self.from) {
            seen if seen > 0.0 => Some(seen),
            _ => (arrival > 0.0).then_some(ASSUMED),
        }
    }

    fn utilization(&self) -> f64 {
        f64::from(self.scaling.target_utilization) / 100.0
    }

    /// Whether the shards that are wanted suit the load.
    fn is_enough(&self) -> bool {
        let Demand { arrival, backlog, starting, .. } = &self.demand;
        let drain = self.scaling.target_drain.as_secs_f64() * if *starting { STARTING_SLACK } else { 1.0 };
        let Some(per_shard) = self.per_shard() else {
            return *backlog <= self.seen_per_shard().unwrap_or(0.0) * f64::from(self.from) * drain;
        };
        let capacity = f64::from(self.from) * per_shard;
        let spare = (capacity - arrival).max(0.0);
        // What is worked off within a second is no backlog.
        *arrival <= capacity * self.utilization() * UP_MARGIN && *backlog <= (spare * drain).max(capacity)
    }

    /// The shards that a load of `times` what is seen needs. `None`: a shard's capacity is not known.
    fn needed(&self, times: f64) -> Option<u32> {
        let Demand { arrival, backlog, .. } = &self.demand;
        let asked = (arrival + backlog / self.scaling.target_drain.as_secs_f64()) * times;
        if asked < 0.5 {
            return Some(0);
        }
        let per_shard = self.per_shard().or_else(|| self.seen_per_shard())?;
        Some(ceil(asked / (per_shard * self.utilization())))
    }

    /// What has become of the latest growth, and of the time without any.
    fn look_back(&self, next: &mut RegionMemory, enough: bool) {
        if let Some(trial) = next.trial {
            let drain = self.scaling.target_drain;
            match trial::judge(&trial, &self.demand, drain, self.now) {
                Verdict::Open => {}
                Verdict::Over => (next.trial, next.hold) = (None, None),
                Verdict::NoUse => {
                    next.trial = None;
                    next.hold = Some(trial::held(next.hold, self.now));
                }
            }
        }
        let passed = next.hold.is_some_and(|hold| self.now >= hold.until);
        if passed && enough && next.trial.is_none() {
            next.hold = None;
        }
    }

    /// Not enough: as many as are needed, unless something is in the way.
    fn up(&self, next: &RegionMemory) -> Choice {
        let stay = |reason, bound| Choice { to: self.from, reason, bound: Some(bound) };
        if self.limit.is_some_and(|limit| !limit.yields_to_shards()) {
            return stay(ScalingReason::LimitedElsewhere, Bound::Ineffective);
        }
        let full = self.from == self.range.shards.max;
        if next.hold.is_some_and(|hold| full || self.now < hold.until) {
            return stay(ScalingReason::Ineffective, Bound::Ineffective);
        }
        if full {
            return stay(ScalingReason::AtMaximum, Bound::Maximum);
        }
        if next.trial.is_some_and(|trial| !self.may_correct(&trial)) {
            return stay(ScalingReason::LoadHigher, Bound::Settling);
        }
        let Some(needed) = self.needed(1.0) else { return stay(ScalingReason::CapacityUnknown, Bound::Unknown) };
        let needed = needed.max(self.from + 1);
        let most = match next.hold {
            // The last ones brought nothing: one more shows whether that is still so.
            Some(_) => self.from + 1,
            None if self.is_known_well() => u32::MAX,
            None => self.from.saturating_mul(2),
        };
        let to = needed.min(most).min(self.range.shards.max);
        let bound = match () {
            () if to == needed => None,
            () if to == self.range.shards.max => Some(Bound::Maximum),
            () => Some(Bound::Doubling),
        };
        Choice { to, reason: ScalingReason::LoadHigher, bound }
    }

    fn is_known_well(&self) -> bool {
        self.capacity.is_some_and(|capacity| capacity.samples >= KNOWN_WELL)
    }

    /// Whether a growth that is not judged yet may be followed by one more: once, when rates describe the time after it,
    /// and if it is clear that the shards are what limits.
    fn may_correct(&self, trial: &Trial) -> bool {
        let settling = self.demand.over.max(LEAST_SETTLING);
        trial.steps < MOST_STEPS
            && !self.demand.young
            && self.now.duration_since(trial.at).unsigned_abs() >= settling
            && self.is_known_well()
            && self.demand.shards.iter().any(|shard| shard.saturated == Some(KeptBy::Itself))
    }

    /// Enough: as many as were called for lately, if all is known.
    fn down(&self, next: &mut RegionMemory) -> Choice {
        let min = self.range.shards.min;
        let unknown = !self.demand.doubts.is_empty();
        let sure = !unknown && !self.demand.starting && next.trial.is_none();
        let idle = self.needed(DOWN_MARGIN) == Some(0);
        let called = match self.needed(DOWN_MARGIN) {
            Some(needed) if sure && (self.capacity.is_some() || idle) => needed.clamp(min, self.from),
            _ => self.from,
        };
        let (to, window) = window::stabilized(&next.window, self.from, called, self.scaling.stabilization, self.now);
        // What is not known takes nothing away, not even what the window would let go by now.
        let to = if sure { to } else { self.from };
        next.window = if sure { window } else { Vec::new() };
        let (reason, bound) = match () {
            () if to < self.from => (ScalingReason::LoadLower, (to == min).then_some(Bound::Minimum)),
            () if unknown => (ScalingReason::ReportsMissing, Some(Bound::Unknown)),
            () if next.trial.is_some() => (ScalingReason::LoadHigher, Some(Bound::Settling)),
            () if !next.window.is_empty() => (ScalingReason::Stabilizing, Some(Bound::Window)),
            () => (ScalingReason::Suits, None),
        };
        Choice { to, reason, bound }
    }
}

/// The next whole number, where a rounding error is no reason for one more.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn ceil(shards: f64) -> u32 {
    (shards - 1e-6).ceil() as u32
}
