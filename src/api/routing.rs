//! What the status tells of a region's routing, and what must not be forgotten: a new leader reads it from here.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which shard owns which of the 1024 slots of event keys. Absent while no shard takes part in it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingStatus {
    /// The version of the routing table that the shards are given. It only grows, by one with each change in everyday use.
    pub epoch: i64,
    /// Shards that own slots: those with ordinals below this. How many slots each owns follows from it.
    pub shards: i32,
    /// The shards that may hold events of the region: the owners, and those that are handing over what they hold before
    /// they go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ordinal".into()]))]
    pub peers: Vec<PeerStatus>,
    /// Ordinals of shards that are taken for lost: nobody waits for what they hold. It comes late, and out of order, when
    /// they are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<i32>,
    /// Slots that their owners do not deliver yet, because they wait for what others hold of them. Rounded to two digits.
    /// Absent when there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub claiming: i32,
    /// Slots whose order is at risk, because a shard that was taken for lost may still hold older events of them. Rounded
    /// to two digits. Absent when there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub at_risk: i32,
    /// Shards that came back without the volume that they had, since the region is there. What was on it, and not
    /// delivered, is gone. Absent when there was none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub volumes_lost: i32,
}

/// One shard that may hold events of the region.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its number in the StatefulSet.
    pub ordinal: i32,
    /// The id of its log, in hexadecimal digits. "0" while that is not known.
    pub log: String,
    /// Events that it held when it was heard last, of a shard that is leaving, lost, or without a pod. Rounded to two
    /// digits. Absent: not known, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}
