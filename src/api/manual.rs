//! What the status tells of what people ask for by annotation, and of drills.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What people have asked for by annotation, for as long as it lasts.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManualStatus {
    /// Regions that are held in a phase, each with its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["region".into()]))]
    pub holds: Vec<RegionHoldStatus>,
    /// Until when no region's size changes. Absent: sizes follow their load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_paused_until: Option<Time>,
    /// Annotations that are not followed, each in a sentence that says what to write instead; the first 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Annotations whose end has come: nothing follows them any more; the first 8. Remove them, or write a later end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["annotation".into()]))]
    pub over: Vec<OrderOverStatus>,
}

/// What somebody asked for until a time that has come.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderOverStatus {
    /// The annotation's name.
    pub annotation: String,
    /// Its end.
    pub until: Time,
}

/// A region that is held in a phase.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionHoldStatus {
    /// The region.
    pub region: String,
    /// Hold, Drain or Drill: which annotation says so.
    pub purpose: String,
    /// Where it is held: "Serving", "Tripped" or "Probing 25".
    pub phase: String,
    /// When it ends. After that the region comes back by itself, step by step.
    pub until: Time,
}

/// The latest drill: a region was taken out of service on purpose, to see how the fleet does without it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillStatus {
    /// The region that was taken out.
    pub region: String,
    /// Since when.
    pub started_at: Time,
    /// When it was back, or the drill was given up. Absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Requests that the other regions refused meanwhile, to two digits. Absent: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: i64,
    /// The most that arrived in any other region, as a part of what its shards can settle: in percent, to the next 5.
    /// Absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_utilisation: Option<i32>,
    /// How long the oldest event of the other regions has waited at most, in seconds, to two digits. Absent: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub longest_wait_seconds: i64,
    /// Whether the other regions have taken over all of its traffic. Absent: not yet, or there was no room for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shifted: bool,
    /// Running, Survived, Refused (requests were refused), Overloaded (the others could not keep up) or Interrupted (it
    /// ended too soon to tell).
    pub outcome: String,
    /// The same in a sentence.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
