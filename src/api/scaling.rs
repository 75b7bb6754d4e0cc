//! What the autoscaler tells in the status, and what it must not forget: a new leader reads it from here.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How a region's size follows its load.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// Shards that the region is to have by its load; shards beyond that drain.
    pub wanted: i32,
    /// The least it may have, from the spec.
    pub min: i32,
    /// The most it may have, from the spec.
    pub max: i32,
    /// What one shard can settle, as far as that was seen. Absent until it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,
    /// Sizes that were called for lately and are below `wanted`, the largest first: shards go when the first of them
    /// has passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub window: Vec<WindowStatus>,
    /// The latest growth, while it is not known yet what it brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
    /// Set while no shards are added, because the last ones brought nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,
    /// Why the size is what it is, in one word for machines.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
}

/// What one shard can settle.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityStatus {
    /// Events per second, to two digits.
    pub events_per_second: i64,
    /// How often it was seen of shards that had more to do than they managed, up to 8. 0: it was inferred from how busy
    /// their processors are.
    pub samples: i32,
    /// Estimated (from processors), Low (seen once or twice), Medium (up to 7 times) or High. Low is not relied on to more
    /// than double the shards at once.
    pub confidence: String,
    /// When it was last seen, to ten minutes once it was seen often.
    pub seen_at: Time,
}

/// A size that was called for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowStatus {
    /// Shards.
    pub shards: i32,
    /// When it was last called for. Absent: it still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A growth of which it is not known yet what it brought.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialStatus {
    /// When it was decided last.
    pub at: Time,
    /// Shards before.
    pub from: i32,
    /// Shards after.
    pub to: i32,
    /// Events per second that the region settled before, to two digits.
    pub settled_per_second: i64,
    /// How often the size grew since then.
    pub steps: i32,
}

/// Growth was of no use, and is not tried again for a while.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// When it may be tried again.
    pub until: Time,
    /// How often in a row growth was of no use.
    pub times: i32,
}

/// One change of how many shards a region runs, or of where its breaker is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// When it was decided.
    pub time: Time,
    /// The region.
    pub region: String,
    /// What was changed: "shards", how many the region runs; or "weightPercent", the part of its weight that its breaker lets
    /// it have: 100 of Serving, 0 of Tripped, what the ramp says of Probing.
    pub what: String,
    /// So many before.
    pub from: i32,
    /// So many after.
    pub to: i32,
    /// Why, in one word for machines: the same word is the reason of the event and the label of the metric.
    pub reason: String,
    /// What it was made from, with units.
    pub numbers: String,
}
