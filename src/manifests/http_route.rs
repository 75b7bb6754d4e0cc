//! The part of the Gateway API's `HTTPRoute` that we write. What others, and the API server's defaults, put beside it is not
//! looked at.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What an `HTTPRoute` says: requests to these hosts at these Gateways go to these Services, by weight.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HTTPRouteSpec {
    /// The Gateways that it hangs on.
    #[serde(default)]
    pub(crate) parent_refs: Vec<ParentRef>,
    /// The hosts that it is for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hostnames: Vec<String>,
    /// Where requests go.
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
}

/// A Gateway, or one listener of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParentRef {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace; absent: the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    /// The listener; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) section_name: Option<String>,
}

/// Where requests go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    /// One of these for each request, by weight. The Gateway API allows 16 at most.
    #[serde(default)]
    pub(crate) backend_refs: Vec<BackendRef>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackendRef {
    /// Its name.
    pub(crate) name: String,
    /// Its port.
    pub(crate) port: i32,
    /// Its share, relative to the others.
    pub(crate) weight: i32,
}
