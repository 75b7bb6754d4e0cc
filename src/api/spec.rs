//! The part of an `EventDispatcher` that users write.
//!
//! Every bound that the API server can check is checked there, by a rule whose message says what to write
//! instead. Lists and strings carry maxima because the cost of a rule is estimated from them.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Autoscaling, Breaker, EventDispatcherStatus, Queue, Sink, Traffic};

/// A fleet of event dispatchers: accepts CloudEvents over HTTP in every region it names, answers 202 once an
/// event is on disk, and delivers each event to every sink whose filter it matches.
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
    doc = "A fleet of event dispatchers: it accepts CloudEvents over HTTP in every region it names, answers 202 once an event is on disk, and delivers each event to every sink whose filter it matches. Producers post to the Service of the same name, port 8080, path /.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Regions", type_ = "string", json_path = ".status.summary.regions", description = "Regions in which every shard is ready, of all."),
    printcolumn(name = "Shards", type_ = "string", json_path = ".status.summary.shards", description = "Shards ready, of those desired."),
    printcolumn(name = "Backlog", type_ = "string", json_path = ".status.summary.backlog", description = "Events accepted and not yet delivered to every sink."),
    printcolumn(name = "Breakers", type_ = "string", json_path = ".status.summary.breakers", description = "Regions that are out of service, or come back."),
    printcolumn(name = "Traffic", type_ = "string", json_path = ".status.summary.traffic", description = "The share of new events that each region is to have now."),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$')")
        .message("metadata.name: use 1 to 30 lower-case letters, digits or '-', starting with a letter and not ending with '-', because Services and shards are named after it"),
    validation = Rule::new("self.spec.autoscaling.mode != 'Fixed' || self.spec.regions.all(region, !has(region.shards.max) || region.shards.max == region.shards.min)")
        .message("autoscaling: with mode Fixed every region runs shards.min shards; leave shards.max out, or use mode Internal"),
    validation = Rule::new("self.spec.autoscaling.mode != 'External' || self.spec.regions.all(region, !has(region.shards.max))")
        .message("autoscaling: with mode External leave shards.max out, and write it as maxReplicas in the HorizontalPodAutoscaler, or as maxReplicaCount in the ScaledObject"),
    validation = Rule::new("self.spec.traffic.mode != 'Gateway' || self.spec.regions.size() <= 16")
        .message("traffic: with mode Gateway have at most 16 regions, because an HTTPRoute leads to no more; join regions, or use mode EndpointSlice")
)]
#[serde(rename_all = "camelCase")]
pub struct EventDispatcherSpec {
    /// Where events go: 1 to 32 HTTP destinations. Every accepted event is delivered to each of them whose filter it
    /// matches, independently of the others. Removing a sink gives up the events it has not received yet.
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

    /// How many shards each region runs, between its shards.min and shards.max, by what arrives and what waits. A region
    /// without shards.max runs shards.min shards, whatever is written here.
    #[serde(default)]
    pub autoscaling: Autoscaling,

    /// When a region is taken out of service, and how it comes back. A fleet of one region goes on with it whatever happens:
    /// there is nowhere else to go.
    #[serde(default)]
    pub breaker: Breaker,

    /// How new events are led to regions.
    #[serde(default)]
    pub traffic: Traffic,

    /// Have producers speak HTTPS to the events port, instead of plain HTTP: `https://orders.shop.svc:8080/` for the fleet
    /// orders in the namespace shop. Default: plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// The image of the shards, instead of the one that this version of the operator brings along.
    /// Default: the operator's own. Example: registry.example/signalbox-dispatcher:0.1.0
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
}

/// A certificate for the events port.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret of type kubernetes.io/tls, in the fleet's namespace, with the chain in tls.crt and the key in tls.key.
    /// The certificate must be for the names that producers use, such as orders.shop.svc. Shards start once the Secret
    /// is there, and take up a renewed certificate without a restart. Example: orders-tls
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("secretName: use 1 to 253 lower-case letters, digits, '-' or '.', not starting or ending with '-' or '.'; for example \"orders-tls\""))]
    pub secret_name: String,
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
#[x_kube(validation = Rule::new("!has(self.max) || self.min <= self.max")
    .message("shards: max must not be below min; raise max, or leave it out to run min shards always"))]
pub struct Shards {
    /// The number of shards that the region always has, 1 to 64. When it is lowered, the shards that go stop
    /// taking events and deliver what they hold first. Default: 1. Example: 2
    #[serde(default = "default_min_shards")]
    #[schemars(range(min = 1, max = 64))]
    pub min: i32,

    /// The most shards that the region may have, 1 to 64, as its load asks for them. Not written with autoscaling.mode
    /// External. Default: the same as min, so that the number does not change. Example: 8
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max: Option<i32>,
}

impl Default for Shards {
    fn default() -> Self {
        Self { min: default_min_shards(), max: None }
    }
}

fn default_weight() -> i32 {
    1
}

fn default_min_shards() -> i32 {
    1
}
