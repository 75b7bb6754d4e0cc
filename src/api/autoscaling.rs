//! How a fleet's size follows its load, as users write it.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many shards each region runs, between its shards.min and shards.max, by what arrives and what waits.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Who decides how many shards a region runs. Internal: Signalbox does, from shards.min to shards.max, by what it
    /// observes of the shards. External: a HorizontalPodAutoscaler or a KEDA ScaledObject does, for each region's
    /// StatefulSet, such as orders-eu-west; a new one starts with shards.min shards, and its replicas are never written
    /// after that. Fixed: every region runs shards.min shards. Default: Internal. Example: External
    #[serde(default)]
    pub mode: ScalingMode,

    /// In which time a backlog is to be delivered, 5s to 1h: the shorter, the more shards a backlog asks for.
    /// Default: 60s. Example: 2m
    #[serde(default = "default_target_drain_time")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('5s') && duration(self) <= duration('1h')")
        .message("targetDrainTime: write a duration from 5s to 1h; for example \"60s\""))]
    pub target_drain_time: String,

    /// How much of what a shard can settle it is to be given, 10 to 100 percent; the rest is room for what comes
    /// suddenly. What a shard can settle is learned from shards that have more to do than they manage, and shown in
    /// status.regions[].scaling. Default: 70. Example: 50
    #[serde(default = "default_target_utilization")]
    #[schemars(range(min = 10, max = 100))]
    pub target_utilization: i32,

    /// For how long fewer shards must have been enough before any goes, 0s to 24h. Shards are added at once. Default:
    /// 5m. Example: 10m
    #[serde(default = "default_scale_down_stabilization")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) <= duration('24h')")
        .message("scaleDownStabilization: write a duration from 0s to 24h; for example \"5m\""))]
    pub scale_down_stabilization: String,
}

/// Who decides how many shards a region runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    /// Signalbox, by what it observes.
    #[default]
    Internal,
    /// Whoever writes the StatefulSet's scale.
    External,
    /// The spec.
    Fixed,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            mode: ScalingMode::Internal,
            target_drain_time: default_target_drain_time(),
            target_utilization: default_target_utilization(),
            scale_down_stabilization: default_scale_down_stabilization(),
        }
    }
}

fn default_target_drain_time() -> String {
    "60s".to_owned()
}

fn default_target_utilization() -> i32 {
    70
}

fn default_scale_down_stabilization() -> String {
    "5m".to_owned()
}
