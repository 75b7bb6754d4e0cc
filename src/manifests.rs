//! The parcel from `render` to `apply` to `report`: typed lists of Kubernetes objects, and how far they have come.
//!
//! **Architecture Invariant:** a leaf. `report` takes only `Manifests<Applied>`, so a status can only tell of what
//! was applied, not of what was meant to be.

mod http_route;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

pub(crate) use http_route::{BackendRef, HTTPRoute, HTTPRouteSpec, ParentRef, Rule};

/// Everything that one fleet is to consist of.
#[derive(Clone, Debug)]
pub(crate) struct Manifests<Stage> {
    /// Where all of it lives.
    pub namespace: String,
    /// `metadata.name` of the owner.
    pub owner_name: String,
    /// `metadata.uid` of the owner.
    pub owner_uid: String,
    /// The fleet's keys: all of them, and those that shards mount.
    pub secrets: Vec<Secret>,
    /// One per region.
    pub config_maps: Vec<ConfigMap>,
    /// Those of the fleet and of each region.
    pub services: Vec<Service>,
    /// One per region.
    pub disruption_budgets: Vec<PodDisruptionBudget>,
    /// One per region that has pods.
    pub endpoint_slices: Vec<EndpointSlice>,
    /// What leads a Gateway's traffic to the regions.
    pub route: Route,
    /// One per region, without `spec.replicas`.
    pub stateful_sets: Vec<StatefulSet>,
    /// The `spec.replicas` of each, which has a field manager of its own.
    pub replicas: Vec<Replicas>,
    /// Regions that wait to be emptied: what they have is left as it is.
    pub untouched_regions: BTreeSet<String>,
    /// How far it has come.
    pub stage: Stage,
}

/// The fleet's `HTTPRoute`. No watch shows it: most clusters have no Gateway API, and a watch of a kind that is not there
/// would fail for ever. So it is asked for, and only where there is or was one.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// There is none, and was none.
    None,
    /// This one.
    Wanted(Box<HTTPRoute>),
    /// None any more: the one of this name is to go.
    Unwanted(String),
}

/// How many pods a StatefulSet is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// The StatefulSet.
    pub name: String,
    /// Its `spec.replicas`.
    pub replicas: u32,
}

/// Built, and not shown to the cluster yet.
#[derive(Clone, Debug)]
pub(crate) struct Rendered;

/// Sent to the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// What did not succeed. The rest did.
    pub failures: Vec<ApplyFailure>,
    /// Whether the `HTTPRoute` that is not wanted any more may still be there.
    pub route_left: bool,
    /// StatefulSets that were changed just now, so that what was seen of them is out of date.
    pub changed_sets: BTreeSet<String>,
}

/// One object that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApplyFailure {
    /// Kind and name: `Service orders`.
    pub object: String,
    /// Why, and what to do about it.
    pub message: String,
    /// Whether trying again as it is has no hope.
    pub needs_a_hand: bool,
}

/// What one fleet consists of in the cluster now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inventory {
    /// As the watch last saw them.
    pub secrets: Vec<Arc<Secret>>,
    /// As the watch last saw them.
    pub config_maps: Vec<Arc<ConfigMap>>,
    /// As the watch last saw them.
    pub services: Vec<Arc<Service>>,
    /// As the watch last saw them.
    pub disruption_budgets: Vec<Arc<PodDisruptionBudget>>,
    /// As the watch last saw them.
    pub endpoint_slices: Vec<Arc<EndpointSlice>>,
    /// As the watch last saw them.
    pub stateful_sets: Vec<Arc<StatefulSet>>,
}

impl Manifests<Rendered> {
    /// The same, sent to the cluster.
    pub(crate) fn applied(self, stage: Applied) -> Manifests<Applied> {
        // Without `..`: a new kind that nobody carries over does not compile.
        let Self {
            namespace,
            owner_name,
            owner_uid,
            secrets,
            config_maps,
            services,
            disruption_budgets,
            endpoint_slices,
            route,
            stateful_sets,
            replicas,
            untouched_regions,
            stage: Rendered,
        } = self;
        Manifests {
            namespace,
            owner_name,
            owner_uid,
            secrets,
            config_maps,
            services,
            disruption_budgets,
            endpoint_slices,
            route,
            stateful_sets,
            replicas,
            untouched_regions,
            stage,
        }
    }
}
