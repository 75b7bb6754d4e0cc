//! How new events are led to regions, as users write it, and what the status tells of it.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How new events are led to regions.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Gateway' || has(self.gateway)")
        .message("traffic: with mode Gateway write gateway.parentRefs, the Gateways that producers use; for example gateway: {parentRefs: [{name: public}]}"),
    validation = Rule::new("self.mode == 'Gateway' || !has(self.gateway)")
        .message("traffic: gateway is for mode Gateway only; write mode: Gateway, or leave gateway out")
)]
pub struct Traffic {
    /// What leads producers to regions. EndpointSlice: the Service of the fleet's name, by how many shards of each region
    /// it lists; works in any cluster. Gateway: that, and an HTTPRoute of the Gateway API with exact weights, for producers
    /// that come through a Gateway. Default: EndpointSlice. Example: Gateway
    #[serde(default)]
    pub mode: TrafficMode,

    /// The HTTPRoute. Needed with mode Gateway, and not written without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

/// What leads producers to regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficMode {
    /// The Service alone.
    #[default]
    EndpointSlice,
    /// An HTTPRoute too.
    Gateway,
}

/// The HTTPRoute of the fleet's name. It leads every path to the regions' Services. Where the events port speaks HTTPS
/// (spec.tls), the Gateway must be told to do so too, by a BackendTLSPolicy.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The Gateways that the route is for, 1 to 16. A Gateway of another namespace must allow routes from this one.
    #[schemars(length(min = 1, max = 16))]
    pub parent_refs: Vec<ParentRef>,

    /// Hosts that the route is for, up to 16; the first label may be "*". Default: all hosts of the Gateways.
    /// Example: [orders.example.com]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = Rule::new("self.all(host, host.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))")
        .message("hostnames: write host names in lower case without scheme and port, the first label may be \"*\"; for example \"orders.example.com\""))]
    pub hostnames: Vec<String>,
}

/// A Gateway, or one listener of it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The Gateway's name. Example: public
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("name: use 1 to 253 lower-case letters, digits, '-' or '.', not starting or ending with '-' or '.'; for example \"public\""))]
    pub name: String,

    /// Its namespace. Default: the fleet's own. Example: gateways
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("namespace: use 1 to 63 lower-case letters, digits or '-', not starting or ending with '-'; for example \"gateways\""))]
    pub namespace: Option<String>,

    /// The listener of that Gateway. Default: all that fit. Example: https
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("sectionName: use 1 to 253 lower-case letters, digits, '-' or '.', not starting or ending with '-' or '.'; for example \"https\""))]
    pub section_name: Option<String>,
}

/// How new events are led to regions now.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficStatus {
    /// The version of the traffic table that shards are given. It only grows. Absent: none was given yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: i64,
    /// The digest of that table, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The share of new events that each region is to have now: "40%", "2.5%".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, String>,
    /// The HTTPRoute that leads there too, in mode Gateway; and after that until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<String>,
    /// What shift of traffic is under way or done, in a sentence. Absent while traffic is as the weights of the spec say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
