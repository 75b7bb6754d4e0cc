//! What the bottleneck monitor tells in the status.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What limits the fleet: of several regions, the one whose backlog runs into something first, else the first of the
/// spec that is limited.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BottleneckStatus {
    /// What it is, in one word for machines: Cpu, Disk, Sink (it takes no more), ConcurrencyLimit (maxConcurrency, and
    /// the sink would take more), HotKey (one key's events go one after another), Skew (one shard has most to do),
    /// Ingest (too much is received at once), Nothing (what arrives is settled), or Unknown.
    pub kind: String,
    /// The region that it is about. Absent for Nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The sink that it is about, for Sink, ConcurrencyLimit and HotKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// The same in a sentence, with what would help.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the region's backlog reaches its limit, or takes longer than it may, if it grows on like this: to the
    /// minute. In the past when it is there. The condition BottleneckForecast says which. Absent when it does not grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturates_at: Option<Time>,
}
