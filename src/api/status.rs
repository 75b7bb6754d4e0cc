//! The part of an `EventDispatcher` that users read.
//!
//! Small (at most 11 KB with 32 regions and sinks in everyday use, 4 KB of routing, 8 KB of decisions at most, and some
//! sentences of each region that is out of service), rounded to two digits, and written only when what it says changes: exact and moving numbers are metrics.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    BottleneckStatus, BreakerStatus, DecisionStatus, DrillStatus, ManualStatus, RoutingStatus, ScalingStatus,
    TrafficStatus,
};

/// What the operator observed and decided. Numbers are rounded to two digits.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventDispatcherStatus {
    /// The metadata.generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The fleet in one line, as kubectl get shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,

    /// One entry per region: those of the spec in its order, then those that are leaving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub regions: Vec<RegionStatus>,

    /// One entry per sink, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sinks: Vec<SinkStatus>,

    /// How new events are led to regions. Absent for a fleet of one region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficStatus>,

    /// What people have asked for by annotation, while it lasts. Absent when that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<ManualStatus>,

    /// The latest drill. Absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillStatus>,

    /// The latest changes of how many shards a region runs, and of where its breaker is, the newest last: at most 20 of all
    /// regions together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionStatus>,

    /// What limits the fleet. Absent until that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<BottleneckStatus>,

    /// Ready (every shard serves as the spec says), Reconciling (the fleet is being changed), Stalled (it needs
    /// somebody's hand), SinksHealthy (every sink takes its events, and none was given up); of fleets that grow and shrink also
    /// ScalingLimited (more shards are needed than shards.max allows) and ScalingIneffective (more shards would not
    /// help, so none are added); of those whose shards hand events over to each other OrderingAtRisk (a shard is taken for
    /// lost, so that what it holds comes late); BottleneckForecast (the backlog of some region grows into its limit, or takes longer
    /// than autoscaling.targetDrainTime, within the hour); of fleets of several regions RegionsHealthy (no region is out of
    /// service because of what was observed of it), TrafficShifted (traffic is not as the weights of the spec say), and
    /// after a drill SurvivesRegionLoss (the fleet did without a region, and when that was). Each message names what to look at next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The fleet in one line.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Regions in which every desired shard is ready, of all: "2/2".
    pub regions: String,
    /// Shards ready, of those desired: "3/3".
    pub shards: String,
    /// Events accepted and not yet delivered to every sink: "1.2k". A "+?" after it says that some shard has not
    /// reported; "unknown", that none has.
    pub backlog: String,
    /// Regions that are out of service, or come back: "0 tripped", "1 probing", "1 tripped, 1 probing".
    #[serde(default)]
    pub breakers: String,
    /// The share of new events that each region is to have now: "eu-west 40%, us-east 60%". Of more than 4 regions, those
    /// that are not Serving, and the others together. Absent for a fleet of one region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traffic: String,
}

/// One region.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// The region's name.
    pub name: String,
    /// Its weight, from the spec. 0 when the region is leaving.
    pub weight: i32,
    /// The share of new events that it delivers, in percent, by its listed shards and by what is handed over.
    pub share_percent: i32,
    /// Its shards.
    pub shards: ShardsStatus,
    /// Events accepted here and not yet delivered to every sink: "1.2k", "1.2k+?" or "unknown".
    pub backlog: String,
    /// How long ago the oldest of them was accepted: "12s". Absent when there is none, or when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_event_age: Option<String>,
    /// How its size follows its load. Absent when it does not: when shards.max is not above shards.min, or
    /// autoscaling.mode is not Internal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// Which shard owns which slots of event keys. Absent until its shards take part in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingStatus>,
    /// Where its breaker is. Absent for the only region of a fleet while it is Serving, and for one that is leaving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerStatus>,
    /// Why the region is as it is, in one word for machines.
    pub reason: String,
    /// The same in a sentence, with the object to look at.
    pub message: String,
}

/// The shards of one region.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardsStatus {
    /// Shards that accept events.
    pub ready: i32,
    /// Shards that the region is to have now; more than the spec says while shards that go still hold events.
    pub desired: i32,
}

/// One sink, seen from all shards.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// The sink's name.
    pub name: String,
    /// Events accepted and not yet delivered to this sink: "1.2k", "1.2k+?" or "unknown".
    pub backlog: String,
    /// Shards whose latest attempts at this sink have failed, of those that report: "0/3".
    pub failing: String,
    /// "Serving" if every shard sends it all that it takes. "1/3 Tripped": so many shards, of those that report, send it
    /// nothing but a probe now and then, because it fails; its events wait, and no attempt is counted against them.
    /// "unknown" if no shard reports.
    #[serde(default)]
    pub phase: String,
    /// Events given up on after retry.maxAttempts and kept on the shards' volumes: "12" or "12+?". Absent when there are
    /// none, and when no shard reports. The message of SinksHealthy says how to list them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
    /// What the latest failure was, while some shard is failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}
