//! What was seen of a fleet. That something could not be seen is data too: never an error, never a zero.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::ShardReport;

use super::bottleneck::FleetHistory;

/// All that was seen of one fleet, by region. A region that is not in the spec any more is here for as long as
/// something of it is left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetSnapshot {
    /// By name.
    pub regions: BTreeMap<String, RegionSnapshot>,
    /// What this process remembers of it: [`super::FleetPlan::history`] of the decision before.
    pub history: FleetHistory,
}

/// One region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionSnapshot {
    /// `None` while there is no StatefulSet.
    pub rollout: Option<Rollout>,
    /// By ordinal: whatever has a pod or a volume.
    pub shards: BTreeMap<u32, ShardSnapshot>,
}

/// What a StatefulSet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// `spec.replicas`.
    pub replicas: u32,
    /// Whether its status is about its latest spec and every pod runs that.
    pub complete: bool,
    /// Whether there are pods of an earlier spec.
    pub replaces: bool,
    /// Pods that run the latest spec.
    pub updated: u32,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardSnapshot {
    /// `None` while there is no pod.
    pub pod: Option<PodSnapshot>,
    /// Its volume.
    pub volume: Volume,
    /// Its latest report.
    pub report: Observation<Report>,
    /// Whether its events port answers the operator.
    pub data_port: DataPort,
}

/// Whether a shard's events port answers the operator. It is asked only while its reports are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPort {
    /// It is not asked, or not answered yet and not given up either.
    #[default]
    NotAsked,
    /// It answered, the last time at this moment.
    Answers(Timestamp),
    /// Nothing has answered since this moment.
    Silent(Timestamp),
}

/// A shard's volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volume {
    /// No claim.
    #[default]
    None,
    /// A claim that never got a volume, so that nothing can have been stored.
    Pending,
    /// A claim with a volume, or one that lost it.
    Bound,
}

/// A shard's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSnapshot {
    /// `metadata.uid`.
    pub uid: String,
    /// Its primary address.
    pub ip: Option<String>,
    /// The node it is bound to.
    pub node: Option<String>,
    /// That node's zone, where Kubernetes tells.
    pub zone: Option<String>,
    /// Accepts events, says the kubelet.
    pub ready: bool,
    /// Is being deleted.
    pub terminating: bool,
    /// It has a node and waits there for its volumes.
    pub mounting: bool,
    /// Why it does not start, if that can be told.
    pub trouble: Option<PodTrouble>,
}

/// Why a pod does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTrouble {
    /// In one word.
    pub kind: TroubleKind,
    /// In a sentence, as Kubernetes says it.
    pub message: String,
}

/// What kind of trouble a pod is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// No node takes it.
    Unschedulable,
    /// Its volume cannot be had.
    VolumeUnavailable,
    /// Its image cannot be had.
    ImageUnavailable,
    /// Its container ends again and again.
    Crashing,
    /// Its container cannot be made.
    ContainerRejected,
}

/// Something that was asked for: what was read and when, or why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Observation<T> {
    /// It was read.
    Reading {
        /// What was read.
        value: T,
        /// When.
        taken_at: Timestamp,
    },
    /// It was asked for, in vain.
    Unreachable(NotRead),
    /// It has not been asked for yet.
    #[default]
    NotYet,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRead {
    /// In a sentence.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// A shard's report, with what only shows over several.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What the shard says.
    pub shard: ShardReport,
    /// For how long its backlog has been empty without any event accepted, as far as was seen.
    pub quiet_for: Duration,
    /// How its totals moved lately. `None` until there are two reports of one life that are far enough apart.
    pub rates: Option<Rates>,
    /// What is wrong since it came: further reports are missing, or were not taken. It stands for a few seconds more.
    pub trouble: Option<NotRead>,
}

/// How the totals of one life of a shard moved over the last seconds, by the shard's own clock. Shares are of the time,
/// 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// The time that these are means of.
    pub over: Duration,
    /// Events accepted, a second.
    pub accepted: f64,
    /// Those of them that other regions handed over, a second: there they were accepted once already.
    pub taken_over: f64,
    /// Events settled at every sink, a second.
    pub settled: f64,
    /// Requests refused because of a limit of the shard, a second.
    pub refused: f64,
    /// Requests refused because too much was being received at once, a second.
    pub receive_refused: f64,
    /// Share of the processors that the shard may use. `None` if that is not known.
    pub cpu: Option<f64>,
    /// Share of the time in which the log was writing.
    pub disk: f64,
    /// How long an event waited to be on disk, in the mean. Zero if none was accepted.
    pub disk_wait: Duration,
    /// By name.
    pub sinks: BTreeMap<String, SinkRates>,
}

/// One sink as one shard saw it over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SinkRates {
    /// Events delivered, a second.
    pub delivered: f64,
    /// Attempts that failed, a second.
    pub failed: f64,
    /// Attempts at which the sink asked for less, a second.
    pub throttled: f64,
    /// Share of the time in which the limit of attempts kept an event from being sent.
    pub limited: f64,
    /// How long an attempt took, in the mean. Zero if none ended.
    pub attempt_time: Duration,
}

impl<T> Observation<T> {
    /// What was read, however long ago.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Reading { value, .. } => Some(value),
            Self::Unreachable(_) | Self::NotYet => None,
        }
    }
}

impl RegionSnapshot {
    /// How many of the shards with an ordinal below `limit` a producer can be sent to.
    pub fn serving_below(&self, limit: u32) -> u32 {
        let serving = self.shards.range(..limit).filter(|(_, shard)| shard.is_serving()).count();
        u32::try_from(serving).unwrap_or(u32::MAX)
    }
}

impl ShardSnapshot {
    /// Whether a producer can be sent here.
    pub fn is_serving(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.ready && !pod.terminating && pod.ip.is_some())
    }
}
