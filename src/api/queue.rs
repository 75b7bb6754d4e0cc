//! The durable queue of each shard, as users write it: its volume, its limits, and what it takes for the same event.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The durable queue of each shard, on a PersistentVolumeClaim of its own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName)")
    .message("queue.storageClassName cannot be set or removed later; make a new EventDispatcher, move the producers, and delete this one once its backlog is 0"))]
pub struct Queue {
    /// Size of the volume of each shard, 1Gi to 64Ti. A tenth of it is for dead letters. What then remains, without
    /// 512Mi and a sixth of the rest, which the store needs for itself, is the limit of the shard's backlog, above which
    /// producers are answered 429. The volumes are kept when shards, regions or the EventDispatcher are removed. Cannot
    /// be changed later. Default: 1Gi. Example: 10Gi
    #[serde(default = "default_storage")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('1Gi')) >= 0 && quantity(self).compareTo(quantity('64Ti')) <= 0")
            .message("storage: write a quantity from 1Gi to 64Ti; for example \"1Gi\""),
        validation = Rule::new("self == oldSelf")
            .message("queue.storage cannot be changed later; make a new EventDispatcher, move the producers, and delete this one once its backlog is 0")
    )]
    pub storage: String,

    /// StorageClass of the volumes. Default: the cluster's default class. Cannot be changed later. Example: standard
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("queue.storageClassName cannot be changed later; make a new EventDispatcher, move the producers, and delete this one once its backlog is 0"))]
    pub storage_class_name: Option<String>,

    /// Further limits of each shard's backlog, besides the size of its volume. Above any of them producers are answered
    /// 429, until the backlog is below it again.
    #[serde(default)]
    pub limits: Limits,

    /// For how long an event with the source and id of one that the same shard has accepted is taken for the same, 0s
    /// to 1h: it is answered 202, and neither stored nor delivered again. 0s: every event is taken for a new one.
    /// Default: 2m. Example: 10m
    #[serde(default = "default_duplicate_window")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) <= duration('1h')")
        .message("duplicateWindow: write a duration from 0s to 1h; for example \"2m\""))]
    pub duplicate_window: String,
}

/// Limits of a shard's backlog.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most events, 1 to 1000000000000. Default: no such limit. Example: 1000000
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub events: Option<i64>,

    /// Highest age of the oldest event, 1s to 720h: a queue that does not move is told to those who fill it.
    /// Default: no such limit. Example: 1h
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('720h')")
        .message("age: write a duration from 1s to 720h; for example \"1h\""))]
    pub age: Option<String>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            storage: default_storage(),
            storage_class_name: None,
            limits: Limits::default(),
            duplicate_window: default_duplicate_window(),
        }
    }
}

fn default_storage() -> String {
    "1Gi".to_owned()
}

fn default_duplicate_window() -> String {
    "2m".to_owned()
}
