//! What the regions of a fleet may do together. Pure.
//!
//! - A region that is held is where somebody wants it, whatever its machine says.
//! - Of the regions with weight, one is always left that is not Tripped. Who would take the last one is not followed, be it
//!   evidence or somebody's will.
//! - At most half of them are Tripped by what was inferred alone.
//! - Where all are Tripped nevertheless, because the spec has changed, one comes back at once.
//!
//! Somebody's will goes before certainty, and that before what was inferred; then the order of the spec.

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::machine::{at_step, serving};
use crate::fleet::{BreakerIntent, BreakerMemory, HeldPhase, HoldPurpose, RegionHold, TripCause, whole_second};

/// What one region asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) weight: u32,
    pub(super) before: BreakerMemory,
    /// What its machine says.
    pub(super) next: BreakerMemory,
    pub(super) hold: Option<&'a RegionHold>,
    pub(super) reachable: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) memory: BreakerMemory,
    /// It is where somebody holds it.
    pub(super) held: bool,
    /// It would be Tripped for this, and is not.
    pub(super) spared: Option<TripCause>,
}

/// Decides about all regions of a fleet, in the order of its spec.
pub(super) fn settle(wishes: &[Wish<'_>], intent: &BreakerIntent, now: Timestamp) -> Vec<Outcome> {
    let mut outcomes: Vec<_> = wishes.iter().map(|wish| first_outcome(wish, intent, now)).collect();
    let counts = |at: usize| wishes[at].weight > 0;
    let weighted = (0..wishes.len()).filter(|at| counts(*at)).count();
    // Those that are Tripped and stay so, and then one after another of those that are to be.
    let (mut away, mut inferred) = (0, 0);
    let mut newcomers = Vec::new();
    for (at, wish) in wishes.iter().enumerate().filter(|(at, _)| counts(*at)) {
        let memory = &outcomes[at].memory;
        if memory.phase != BreakerPhase::Tripped {
            continue;
        }
        if wish.before.phase == BreakerPhase::Tripped {
            away += 1;
            inferred += usize::from(is_inferred(memory));
        } else {
            newcomers.push((rank(memory), at));
        }
    }
    newcomers.sort_unstable();
    // A hold that is not followed leaves a machine that may want the same.
    for (_, at) in newcomers {
        for outcome in [outcomes[at], Outcome { memory: wishes[at].next, held: false, spared: None }] {
            let Outcome { memory, .. } = outcome;
            if memory.phase != BreakerPhase::Tripped {
                outcomes[at].memory = memory;
                break;
            }
            let too_many = is_inferred(&memory) && inferred + 1 > weighted / 2;
            if away + 1 < weighted && !too_many {
                (away, inferred) = (away + 1, inferred + usize::from(is_inferred(&memory)));
                (outcomes[at].memory, outcomes[at].held) = (memory, outcome.held);
                break;
            }
            let spared = outcomes[at].spared.or(memory.cause);
            outcomes[at] = Outcome { memory: spare(&wishes[at].before, now), held: false, spared };
        }
    }
    if weighted > 0 && away == weighted {
        bring_one_back(wishes, &mut outcomes, now);
    }
    outcomes
}

fn first_outcome(wish: &Wish<'_>, intent: &BreakerIntent, now: Timestamp) -> Outcome {
    let (held, memory) = match wish.hold {
        Some(hold) => (true, held(&wish.before, hold, intent, now)),
        None if wish.weight == 0 && wish.before.phase == BreakerPhase::Serving => (false, wish.before),
        None if wish.weight == 0 => (false, serving(&wish.before, now)),
        None => (false, wish.next),
    };
    Outcome { memory, held, spared: None }
}

fn rank(memory: &BreakerMemory) -> u8 {
    match memory.cause {
        Some(cause) if cause.is_manual() => 0,
        Some(cause) if !cause.is_inferred() => 1,
        _ => 2,
    }
}

fn is_inferred(memory: &BreakerMemory) -> bool {
    memory.cause.is_some_and(TripCause::is_inferred)
}

/// Where a region stays that may not be Tripped: as it was, but with as little as can be.
fn spare(before: &BreakerMemory, now: Timestamp) -> BreakerMemory {
    if before.phase == BreakerPhase::Probing && before.step > 0 { at_step(before, 0, now) } else { *before }
}

/// All are Tripped: the one that can be reached, or whose time is over first.
fn bring_one_back(wishes: &[Wish<'_>], outcomes: &mut [Outcome], now: Timestamp) {
    let away = wishes.iter().enumerate().filter(|(_, wish)| wish.weight > 0);
    let first = away.min_by_key(|(at, wish)| (outcomes[*at].held, !wish.reachable, outcomes[*at].memory.until, *at));
    let Some((at, _)) = first else { return };
    let Outcome { memory, held, .. } = outcomes[at];
    outcomes[at] = Outcome { memory: at_step(&memory, 0, now), held: false, spared: memory.cause.filter(|_| held) };
}

/// Where somebody holds a region.
fn held(before: &BreakerMemory, hold: &RegionHold, intent: &BreakerIntent, now: Timestamp) -> BreakerMemory {
    let cause = match hold.purpose {
        HoldPurpose::Hold => TripCause::Held,
        HoldPurpose::Drain => TripCause::Drained,
        HoldPurpose::Drill => TripCause::Drill,
    };
    let (phase, step, cause) = match hold.phase {
        HeldPhase::Serving => (BreakerPhase::Serving, 0, None),
        HeldPhase::Tripped => (BreakerPhase::Tripped, 0, Some(cause)),
        HeldPhase::Probing(percent) => (BreakerPhase::Probing, step_of(percent, intent), Some(cause)),
    };
    let same = (before.phase, before.step) == (phase, step);
    let since = if same { before.since } else { whole_second(now) };
    let until = (phase != BreakerPhase::Serving).then(|| whole_second(hold.until));
    BreakerMemory { phase, since, until, step, cause, trips: before.trips }
}

/// The last entry of the ramp that is not above this: where the ramp goes on from.
fn step_of(percent: u32, intent: &BreakerIntent) -> u32 {
    let below = intent.ramp.iter().take_while(|share| **share <= percent).count();
    u32::try_from(below.saturating_sub(1)).unwrap_or(u32::MAX)
}
