//! What the shards of a region say of their routing. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{RoutingReport, ShardReport};

use crate::fleet::{Observation, RegionSnapshot, ShardSnapshot};

/// A shard that takes part in routing, as it was heard last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) says: &'a RoutingReport,
    pub(super) backlog_events: u64,
    /// How long its process lives: who has no table yet has waited for that long.
    pub(super) uptime: Duration,
    pub(super) terminating: bool,
    pub(super) at: Timestamp,
}

/// Those that are heard, by ordinal.
pub(super) fn heard(seen: &RegionSnapshot) -> BTreeMap<u32, Heard<'_>> {
    seen.shards.iter().filter_map(|(ordinal, shard)| Some((*ordinal, of(*ordinal, shard)?))).collect()
}

/// One that says it is another, or has no log, says nothing of use.
fn of(ordinal: u32, shard: &ShardSnapshot) -> Option<Heard<'_>> {
    let Observation::Reading { value, taken_at } = &shard.report else { return None };
    let (pod, report) = (shard.pod.as_ref()?, &value.shard);
    let says = report.routing.as_ref().filter(|says| says.ordinal == ordinal && says.log != 0)?;
    Some(Heard {
        says,
        backlog_events: report.backlog_events,
        uptime: Duration::from_millis(report.uptime_ms),
        terminating: pod.terminating,
        at: *taken_at,
    })
}

/// Whether a shard accepts events, and takes no part in routing: its dispatcher is from before that. One that does not
/// accept any may not have come so far yet.
pub(in crate::decide) fn is_old(shard: &ShardSnapshot) -> bool {
    let old = |report: &ShardReport| report.accepting && report.routing.is_none();
    shard.pod.is_some() && shard.report.value().is_some_and(|report| old(&report.shard))
}
