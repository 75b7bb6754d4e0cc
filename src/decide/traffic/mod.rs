//! How new events are led to regions: by weight, by phase, and no faster than capacity appears. Pure.
//!
//! ```text
//! weights x phases --goal--> goals --shift--> shares --places--> listed shards --table--> what shards hand over
//!                                     ^
//!               what arrives (arrival), and what ready shards can settle
//! ```
//!
//! While every region is Serving, shares are as the weights of the spec say. From the moment that one is not, an episode
//! lasts until all are again. In it, each share moves only toward its goal. A region that is Tripped and can be reached
//! keeps what the others have no room for: it is durable there, and its shards hand it over. One that cannot be reached
//! gets nothing from then on. Where no region is well, the weights of the spec hold, and each delivers by itself what it can;
//! or new events are refused, as the spec says.
//!
//! **Invariants:** shares sum up to 1000 thousandths where any region has a weight. What a share grows by is within 85 % of
//! what its region's ready shards can settle, where that is known, unless a region that cannot be reached lets go of it and
//! all others are there too. A table's version only grows, and only with what it says.

mod arrival;
mod goal;
mod places;
mod shift;
mod table;
mod words;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

pub(super) use arrival::Arriving;
use goal::Goals;
pub(super) use goal::permilles;
pub(super) use places::{Claim, desired_places};
pub(super) use table::{Listed, delivered, desired_table};

use crate::fleet::{Known, RegionTrafficPlan, Shift, TrafficHistory, WhenAllUnhealthy};

/// A shift that waits for shards is looked at again after this, if nobody tells of them before.
const RECHECK_WHILE_SHIFTING: Duration = Duration::from_secs(2);

/// A region of the spec, as far as traffic goes by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region<'a> {
    pub(super) name: &'a str,
    /// What the spec says, relative to the other regions.
    pub(super) weight: u32,
    pub(super) phase: BreakerPhase,
    /// While Probing: how much of its weight it gets, 1 to 100.
    pub(super) percent: u32,
    /// Nothing says that nobody can reach it.
    pub(super) reachable: bool,
    /// Shards that serve.
    pub(super) ready: u32,
    /// The most shards that it may have.
    pub(super) most: u32,
    /// Events a second that one of them can settle. `None`: not known.
    pub(super) per_shard: Option<u64>,
    pub(super) arriving: Arriving,
    /// Events that it holds.
    pub(super) backlog: u64,
    /// The share that it had, in thousandths. `None`: not remembered.
    pub(super) before: Option<u32>,
}

/// What was decided of shares, in the order of the regions.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Without places.
    pub(super) regions: Vec<RegionTrafficPlan>,
    /// Some region with a weight is not Serving.
    pub(super) episode: bool,
    /// New events are refused.
    pub(super) sheds: bool,
    /// Events a second that all regions that take may be handed over, and how they share it.
    pub(super) takes: Vec<Takes>,
    pub(super) shift: Option<Shift>,
    pub(super) history: TrafficHistory,
}

/// What a region takes of what others hand over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Takes {
    /// Relative to the others. 0: nothing.
    pub(super) weight: u32,
    /// Events a second. 0: no limit is known.
    pub(super) per_second: u64,
}

/// What regions have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub(super) regions: &'a [Region<'a>],
    /// Each region with a weight is Tripped, or would be if it were not the last.
    pub(super) none_is_well: bool,
    pub(super) when_all_unhealthy: WhenAllUnhealthy,
    /// In which time a backlog is to be delivered.
    pub(super) drain: Duration,
    pub(super) history: &'a TrafficHistory,
    pub(super) now: Timestamp,
}

/// Decides about shares.
pub(super) fn desired_shares(situation: &Situation<'_>) -> Traffic {
    let regions = situation.regions;
    let goals = Goals::of(regions, situation.none_is_well);
    let (total, history) = arrival::total(situation, &goals.spec);
    let shares = if goals.episode && !goals.none_is_well {
        let moves: Vec<_> = regions.iter().enumerate().map(|(at, region)| goals.step(at, region, total)).collect();
        shift::shares(&moves)
    } else {
        goals.by_phase.clone()
    };
    let takes = takes(regions, &goals, &shares, total);
    let plans = regions.iter().enumerate().map(|(at, region)| RegionTrafficPlan {
        goal_permille: goals.by_phase[at],
        share_permille: shares[at],
        places: 0,
        expected_arrival: expected(situation, region, &goals, goals.by_phase[at].max(shares[at]), &takes, at, total),
    });
    Traffic {
        regions: plans.collect(),
        episode: goals.episode,
        sheds: goals.none_is_well && situation.when_all_unhealthy == WhenAllUnhealthy::Shed,
        shift: words::shift(situation, &goals, &shares, total),
        takes,
        history,
    }
}

/// What it is to be large enough for.
fn expected(
    situation: &Situation<'_>,
    region: &Region<'_>,
    goals: &Goals,
    share: u32,
    takes: &[Takes],
    at: usize,
    total: Known<u64>,
) -> Option<u64> {
    let Known::Is(total) = total else { return None };
    if !goals.episode || goals.none_is_well || region.phase == BreakerPhase::Tripped {
        return None;
    }
    let tripped = situation.regions.iter().filter(|other| other.phase == BreakerPhase::Tripped && other.reachable);
    let waiting: u64 = tripped.map(|other| other.backlog).fold(0, u64::saturating_add);
    let weights: u64 = takes.iter().map(|takes| u64::from(takes.weight)).sum();
    let handed_over = part(waiting, takes[at].weight.into(), weights) / situation.drain.as_secs().max(1);
    Some(part(total, share.into(), 1_000).saturating_add(handed_over))
}

fn takes(regions: &[Region<'_>], goals: &Goals, shares: &[u32], total: Known<u64>) -> Vec<Takes> {
    let takes = |(region, share): (&Region<'_>, &u32)| {
        let weight = match region.phase {
            // It is no better off than who would give.
            _ if goals.none_is_well => 0,
            BreakerPhase::Serving => region.weight,
            // Who gives takes nothing: events would go round in circles.
            BreakerPhase::Probing | BreakerPhase::Tripped => 0,
        };
        let per_second = match (total, region.per_shard) {
            // Outside of an episode nobody hands over, and the table is to stay as it is.
            (Known::Is(total), Some(per_shard)) if goals.episode && weight > 0 => {
                let room = shift::room_per_second(region.ready, per_shard);
                let left = room.saturating_sub(part(total, (*share).into(), 1_000));
                // 0 would be no limit.
                crate::fleet::floor_to_two_digits(left).max(1)
            }
            _ => 0,
        };
        Takes { weight, per_second }
    };
    regions.iter().zip(shares).map(takes).collect()
}

/// So many of so many parts of it.
fn part(whole: u64, parts: u64, of: u64) -> u64 {
    let part = u128::from(whole) * u128::from(parts) / u128::from(of.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}
