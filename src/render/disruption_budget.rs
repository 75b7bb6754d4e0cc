//! How many shards of a region a drain of nodes may take at once. Pure.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::fleet::{FleetIntent, RegionIntent, names};

/// One shard at a time, and any that is not ready anyway.
pub(super) fn disruption_budget(intent: &FleetIntent, region: &RegionIntent) -> PodDisruptionBudget {
    metadata::stamped(PodDisruptionBudget {
        metadata: metadata::object_meta(intent, names::region(&intent.name, &region.name), Some(&region.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(metadata::label_selector(intent, &region.name)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
