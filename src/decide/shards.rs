//! How many shards a region runs now. Pure.
//!
//! As many as the spec says. Fewer than there are only when the ones that go hold nothing: a shard that goes is
//! not sent producers any more (see `traffic`), delivers what it has, and goes once it has been empty and quiet
//! for a while. What is not known is never taken for empty.
//!
//! Where the region has a routing table, a shard that goes hands over what it has, so it need not wait for a sink that is
//! away: it goes once neither the table that was remembered nor the one that is decided now has it. It was in there until
//! it said that it is empty.
//!
//! Example: 4 shards run, the spec says 2, shard 2 holds 7 events and shard 3 none: 3 shards stay.

use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{Observation, RegionSnapshot, Routing, ShardSnapshot, Volume};

/// For how long a shard must have been empty without accepting anything before it may go. Producers that hold a
/// connection open can still send to a shard that is listed no more; this is several of their usual gaps, and
/// longer than kube-proxy takes to follow an EndpointSlice.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// A report that is older says nothing about now. Reports are asked for every two seconds.
const FRESH: Duration = Duration::from_secs(5);

/// How many shards to run, and what keeps it above what the spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardsDecision {
    /// Shards to run now.
    pub(super) replicas: u32,
    /// Shards beyond the target that may not go yet, by ordinal.
    pub(super) held: Vec<Held>,
}

/// A shard that may not go yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) ordinal: u32,
    pub(super) by: HeldBy,
}

/// What keeps a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeldBy {
    /// Events that it has not delivered.
    Backlog(u64),
    /// It hands over events, as many as it tells.
    HandingOver(Option<u64>),
    /// It is empty, but was not so, or accepted events, a moment ago.
    NotQuietYet,
    /// It has a volume, and has not said lately what is on it.
    Unknown,
}

/// Decides how many shards a region runs, where `target` is what the spec says: 0 for a region that is leaving. `tables`
/// say who has what, if the shards go by that: the one that was remembered, and the one that is decided now.
pub(super) fn desired_shards(
    target: u32,
    region: &RegionSnapshot,
    tables: &[&Routing],
    now: Timestamp,
) -> ShardsDecision {
    let current = region.rollout.map_or(0, |rollout| rollout.replicas);
    let held: Vec<_> = region
        .shards
        .range(target..current.max(target))
        .filter_map(|(ordinal, shard)| Some(Held { ordinal: *ordinal, by: held_by(*ordinal, shard, tables, now)? }))
        .collect();
    let replicas = held.last().map_or(target, |last| last.ordinal + 1);
    ShardsDecision { replicas, held }
}

fn held_by(ordinal: u32, shard: &ShardSnapshot, tables: &[&Routing], now: Timestamp) -> Option<HeldBy> {
    let report = shard.report.value().map(|report| &report.shard);
    if tables.iter().any(|table| ordinal < table.shards || table.peers.contains_key(&ordinal)) {
        return Some(HeldBy::HandingOver(report.map(|report| report.backlog_events)));
    }
    // A shard that is in no table accepts nothing: there is nobody who has to move on.
    let routed = !tables.is_empty() && report.is_some_and(|report| report.routing.is_some());
    if shard.volume != Volume::Bound {
        return None;
    }
    match &shard.report {
        Observation::Reading { value, taken_at } if is_fresh(*taken_at, now) => match value.shard.backlog_events {
            0 if value.quiet_for >= QUIET || routed => None,
            0 => Some(HeldBy::NotQuietYet),
            events => Some(HeldBy::Backlog(events)),
        },
        Observation::Reading { .. } | Observation::Unreachable(_) | Observation::NotYet => Some(HeldBy::Unknown),
    }
}

fn is_fresh(taken_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(taken_at).unsigned_abs() <= FRESH
}
