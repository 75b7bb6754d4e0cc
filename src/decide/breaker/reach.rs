//! Whether a region is there at all. Pure.
//!
//! | its shards' reports | their events ports, from here | from other regions | is |
//! | --- | --- | --- | --- |
//! | some are heard | | | there |
//! | all missing | all silent | somebody asks, and nobody is answered | unreachable |
//! | all missing | all silent | somebody is answered | unknown: a way that is closed to us alone |
//! | all missing | all silent | nobody says anything | unknown: it may be us who are cut off |
//! | all missing | some answer, or none was asked yet | | unknown |

use jiff::Timestamp;

use super::count::heard;
use crate::fleet::{DataPort, FleetSnapshot, Observation, RegionSnapshot, ShardSnapshot};

/// For how long a shard of another region must have had no answer, in milliseconds.
const SILENT_MS: u64 = 1000;

/// What is known of a region's being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Some of its shards are heard, or it has none yet.
    Heard,
    /// Nothing is heard of any of them, and that may have other reasons.
    Unknown(Doubt),
    /// Nobody reaches any of them.
    Unreachable,
}

/// Why it cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Some of their events ports answer the operator, or have not been asked for long enough.
    PortsAnswer,
    /// Shards of other regions are answered.
    OthersAreAnswered,
    /// No shard of another region says anything.
    NoWitness,
}

/// Whether some shard of a region is ready, and heard.
pub(super) fn is_reachable(seen: &RegionSnapshot, now: Timestamp) -> bool {
    seen.shards.values().any(|shard| shard.is_serving() && heard(shard, now).is_some())
}

/// Whether any shard of a region is ready.
pub(super) fn is_ready(seen: &RegionSnapshot) -> bool {
    seen.shards.values().any(ShardSnapshot::is_serving)
}

/// What is known of a region's being there.
pub(super) fn reach(region: &str, snapshot: &FleetSnapshot, now: Timestamp) -> Reach {
    let shards: Vec<_> = snapshot.regions.get(region).into_iter().flat_map(running).collect();
    if shards.is_empty() || !shards.iter().all(|shard| is_missing(shard)) {
        return Reach::Heard;
    }
    if !shards.iter().all(|shard| matches!(shard.data_port, DataPort::Silent(_))) {
        return Reach::Unknown(Doubt::PortsAnswer);
    }
    let others = snapshot.regions.iter().filter(|(name, _)| name.as_str() != region);
    let reports = others.flat_map(|(_, seen)| seen.shards.values()).filter_map(|shard| heard(shard, now));
    let traffic = reports.filter_map(|report| report.shard.traffic.as_ref());
    let views: Vec<_> = traffic.flat_map(|traffic| &traffic.regions).filter(|view| view.name == region).collect();
    if views.iter().any(|view| view.answered > 0) {
        return Reach::Unknown(Doubt::OthersAreAnswered);
    }
    if views.iter().any(|view| view.asked > 0 && view.silent_ms >= SILENT_MS) {
        return Reach::Unreachable;
    }
    Reach::Unknown(Doubt::NoWitness)
}

/// Shards that could say something: those that the kubelet calls ready, and those that were asked.
fn running(seen: &RegionSnapshot) -> impl Iterator<Item = &ShardSnapshot> {
    let replicas = seen.rollout.map_or(u32::MAX, |rollout| rollout.replicas);
    let asked = |shard: &ShardSnapshot| shard.is_serving() || shard.report != Observation::NotYet;
    let runs = move |shard: &ShardSnapshot| shard.pod.as_ref().is_some_and(|pod| !pod.terminating) && asked(shard);
    seen.shards.range(..replicas).map(|(_, shard)| shard).filter(move |shard| runs(shard))
}

fn is_missing(shard: &ShardSnapshot) -> bool {
    match &shard.report {
        Observation::Reading { value, .. } => value.trouble.is_some(),
        Observation::Unreachable(_) => true,
        Observation::NotYet => false,
    }
}
