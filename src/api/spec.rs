//! The part of an `EventDispatcher` that users write.
//!
//! Every bound that the API server can check is checked there, by a rule whose message says what to write
//! instead. Lists and strings carry maxima because the cost of a rule is estimated from them.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::EventDispatcherStatus;

/// A fleet of event dispatchers: accepts CloudEvents over HTTP in every region it names, answers 202 once an
/// event is on disk, and delivers each event to every sink.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "signalbox.dev",
    version = "v1alpha1",
    kind = "EventDispatcher",
    plural = "eventdispatchers",
    shortname = "ed",
    category = "dispatch",
    namespaced,
    status = "EventDispatcherStatus",
    derive = "PartialEq",
    doc = "A fleet of event dispatchers: it accepts CloudEvents over HTTP in every region it names, answers 202 once an event is on disk, and delivers each event to every sink. Producers post to the Service of the same name, port 8080, path /.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Regions", type_ = "string", json_path = ".status.summary.regions", description = "Regions in which every shard is ready, of all."),
    printcolumn(name = "Shards", type_ = "string", json_path = ".status.summary.shards", description = "Shards ready, of those desired."),
    printcolumn(name = "Backlog", type_ = "string", json_path = ".status.summary.backlog", description = "Events accepted and not yet delivered to every sink."),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$')")
        .message("metadata.name: use 1 to 30 lower-case letters, digits or '-', starting with a letter and not ending with '-', because Services and shards are named after it")
)]
#[serde(rename_all = "camelCase")]
pub struct EventDispatcherSpec {
    /// Where events go: 1 to 32 HTTP destinations. Every accepted event is delivered to each of them, independently
    /// of the others. Removing a sink gives up the events it has not received yet.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sinks: Vec<Sink>,

    /// The durable queue of each shard.
    #[serde(default)]
    pub queue: Queue,

    /// Where the fleet runs: 1 to 32 regions. Removing a region stops new events from going there, waits until
    /// its shards have delivered what they hold, and only then removes them.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.exists(region, region.weight > 0)")
            .message("regions: give at least one region a weight above 0; with all weights 0 no event could be accepted")
    )]
    pub regions: Vec<Region>,

    /// The image of the shards, instead of the one that this version of the operator brings along.
    /// Default: the operator's own. Example: registry.example/signalbox-dispatcher:0.1.0
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
}

/// One HTTP destination.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// What status, metrics and logs call this sink; also the name under which shards remember what it has
    /// received, so renaming a sink is removing it and adding another. Example: fulfilment
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
        .message("name: use 1 to 63 lower-case letters, digits or '-', not starting or ending with '-'; for example \"fulfilment\""))]
    pub name: String,

    /// Absolute http or https URI that events are posted to, one CloudEvent a request, in binary mode. `{region}`
    /// is replaced by the name of the region that delivers. Redirects are not followed.
    /// Example: http://fulfilment-{region}.shop.svc:8080/events
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@]+([/?][^#]*)?$') && isURL(self.replace('{region}', 'region'))")
        .message("uri: write an absolute http or https URI without user, password or fragment; for example \"http://fulfilment.shop.svc:8080/events\""))]
    pub uri: String,

    /// How long one attempt may take, from connecting to the head of the answer, 100ms to 10m. An attempt that
    /// takes longer has failed and is made again. Default: 5s. Example: 2s
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('10m')")
        .message("timeout: write a duration from 100ms to 10m; for example \"5s\""))]
    pub timeout: String,

    /// Most attempts in flight at once from one shard, 1 to 4096. The sink sees at most this number times the
    /// number of shards. Events of one key are always delivered one at a time. Default: 64. Example: 16
    #[serde(default = "default_max_concurrency")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_concurrency: i32,

    /// When a failed attempt is made again.
    #[serde(default)]
    pub retry: Retry,
}

/// Exponential backoff with jitter: each wait is about twice the one before it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.initialBackoff.matches('^([0-9]+(ms|s|m|h))+$') || !self.maxBackoff.matches('^([0-9]+(ms|s|m|h))+$') || duration(self.initialBackoff) <= duration(self.maxBackoff)")
    .message("retry: initialBackoff must not be longer than maxBackoff; raise maxBackoff or lower initialBackoff"))]
pub struct Retry {
    /// The first wait, 10ms to 1h. The actual wait is drawn between half of it and the whole.
    /// Default: 200ms. Example: 1s
    #[serde(default = "default_initial_backoff")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('1h')")
        .message("initialBackoff: write a duration from 10ms to 1h; for example \"200ms\""))]
    pub initial_backoff: String,

    /// The longest wait, 10ms to 1h. An event is tried again until its sink accepts it.
    /// Default: 5m. Example: 30s
    #[serde(default = "default_max_backoff")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('1h')")
        .message("maxBackoff: write a duration from 10ms to 1h; for example \"5m\""))]
    pub max_backoff: String,
}

/// The durable queue of each shard, on a PersistentVolumeClaim of its own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName)")
    .message("queue.storageClassName cannot be set or removed later; make a new EventDispatcher, move the producers, and delete this one once its backlog is 0"))]
pub struct Queue {
    /// Size of the volume of each shard, 1Gi to 64Ti. Without 512Mi and a sixth of the rest, which the store needs for
    /// itself, it is the limit of the shard's backlog, above which producers are answered 429. The volumes are kept
    /// when shards, regions or the EventDispatcher are removed. Cannot be changed later. Default: 1Gi. Example: 10Gi
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
}

/// One failure domain of the fleet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Region {
    /// The region's name. Its shards run on nodes whose label topology.kubernetes.io/region has this value, unless
    /// nodeSelector says otherwise. Example: eu-west
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$') && self != 'any'")
        .message("name: use 1 to 20 lower-case letters, digits or '-', not starting or ending with '-', and not \"any\", which names the fallback Service; for example \"eu-west\""))]
    pub name: String,

    /// The region's share of new traffic: its weight divided by the sum of all weights. 0 takes the region out of
    /// service for new events while it goes on delivering what it has. The share is kept by how many of a
    /// region's shards are listed in the Service, so it is as exact as the shard counts allow; status.regions
    /// shows what it comes to. Default: 1. Example: 50
    #[serde(default = "default_weight")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,

    /// How many shards the region runs.
    #[serde(default)]
    pub shards: Shards,

    /// Labels of the nodes that the region's shards run on, instead of topology.kubernetes.io/region.
    /// Example: {"pool": "dispatch-eu"}
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = Rule::new("self.all(key, self[key].size() <= 63)")
        .message("nodeSelector: a label's value has at most 63 characters"))]
    pub node_selector: BTreeMap<String, String>,
}

/// How many shards a region runs.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shards {
    /// The number of shards that the region always has, 1 to 64. When it is lowered, the shards that go stop
    /// taking events and deliver what they hold first. Default: 1. Example: 2
    #[serde(default = "default_min_shards")]
    #[schemars(range(min = 1, max = 64))]
    pub min: i32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { storage: default_storage(), storage_class_name: None }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial_backoff: default_initial_backoff(), max_backoff: default_max_backoff() }
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self { min: default_min_shards() }
    }
}

fn default_timeout() -> String {
    "5s".to_owned()
}

fn default_max_concurrency() -> i32 {
    64
}

fn default_initial_backoff() -> String {
    "200ms".to_owned()
}

fn default_max_backoff() -> String {
    "5m".to_owned()
}

fn default_storage() -> String {
    "1Gi".to_owned()
}

fn default_weight() -> i32 {
    1
}

fn default_min_shards() -> i32 {
    1
}
