//! What the operator sees of a shard of the model: late, in part, or nothing. Pure.

use jiff::SignedDuration;
use signalbox_contract::{RegionSeen, TrafficReport};

use super::faults::{FaultKind, Faults};
use super::shard::Shard;
use super::world::time;
use crate::fleet::{DataPort, FleetSnapshot, NotRead, Observation, PodSnapshot, Report, ShardSnapshot, Volume};

/// For how long a report stands when none comes, as in `observe`.
const GRACE: u64 = 10;
/// When two reports are missing, as in `observe`.
const MISSED: u64 = 2;
/// When Kubernetes misses a node.
const NODE_LOST: u64 = 40;

/// One shard, with its report if one has come.
pub(super) fn seen_shard(
    ordinal: u32,
    shard: &mut Shard,
    now: u64,
    names: (&str, &str),
    sinks: &[String],
) -> ShardSnapshot {
    let ready = shard.is_ready(now);
    let pod = PodSnapshot {
        uid: ordinal.to_string(),
        ip: Some(format!("10.0.0.{ordinal}")),
        ready,
        ..PodSnapshot::default()
    };
    let since = shard.ready_at;
    let report = match shard.heard(now) {
        Some((arrived, said)) if now - arrived < GRACE => {
            let mut value = shard.in_full(&said, names, sinks);
            value.trouble = (now - arrived >= MISSED).then(|| not_read(arrived));
            Observation::Reading { value, taken_at: time(arrived) }
        }
        Some((arrived, _)) => silent(arrived),
        None if ready => silent(since),
        None => Observation::NotYet,
    };
    ShardSnapshot {
        pod: Some(pod),
        volume: if ready { Volume::Bound } else { Volume::Pending },
        report,
        ..ShardSnapshot::default()
    }
}

fn silent(since: u64) -> Observation<Report> {
    Observation::Unreachable(not_read(since))
}

fn not_read(since: u64) -> NotRead {
    NotRead { why: "its report was lost".to_owned(), since: time(since) }
}

/// The same as seen by somebody whose clock is so far ahead.
pub(super) fn by_clock(snapshot: &mut FleetSnapshot, ahead: SignedDuration) {
    let shards = snapshot.regions.values_mut().flat_map(|region| region.shards.values_mut());
    for shard in shards {
        let report = match &mut shard.report {
            Observation::Reading { value, taken_at } => {
                *taken_at += ahead;
                value.trouble.as_mut()
            }
            Observation::Unreachable(trouble) => Some(trouble),
            Observation::NotYet => None,
        };
        let port = match &mut shard.data_port {
            DataPort::Answers(at) | DataPort::Silent(at) => Some(at),
            DataPort::NotAsked => None,
        };
        report.map(|trouble| &mut trouble.since).into_iter().chain(port).for_each(|at| *at += ahead);
    }
}

/// What the operator sees of a shard's events port while its reports are missing, and what the shard sees of other regions.
pub(super) fn look_around(shard: &mut ShardSnapshot, region: &str, all: &[String], faults: Faults<'_>, now: u64) {
    let missing = match &mut shard.report {
        Observation::Reading { value, .. } => {
            let said_at = value.shard.sequence;
            let regions = all.iter().filter(|name| *name != region).map(|name| {
                let away = faults.away_since(name, said_at);
                let silent_ms = away.map_or(0, |since| (said_at - since) * 1000);
                RegionSeen { name: name.clone(), asked: 1, answered: u32::from(away.is_none()), silent_ms }
            });
            value.shard.traffic = Some(TrafficReport { regions: regions.collect(), ..TrafficReport::default() });
            value.trouble.is_some()
        }
        Observation::Unreachable(_) => true,
        Observation::NotYet => false,
    };
    shard.data_port = match (missing, faults.answers(region, now)) {
        (false, _) => DataPort::NotAsked,
        (true, true) => DataPort::Answers(time(now)),
        (true, false) => DataPort::Silent(time(now.saturating_sub(1))),
    };
    // The kubelet of a node that is cut off is missed after a while.
    let lost = faults.since(region, FaultKind::CutOff, now).is_some_and(|since| now - since >= NODE_LOST);
    if let Some(pod) = shard.pod.as_mut().filter(|_| lost) {
        pod.ready = false;
    }
}
