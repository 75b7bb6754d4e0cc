//! What users write and read: the `EventDispatcher` resource, version `v1alpha1`.
//!
//! **Architecture Invariant:** a leaf. Types, their documentation and their validation rules; no logic. The
//! doc comments here are what `kubectl explain` prints, so they are written for people who apply YAML.

mod autoscaling;
mod bottleneck;
mod breaker;
mod manual;
mod queue;
mod routing;
mod scaling;
mod sink;
mod spec;
mod status;
mod traffic;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

pub use autoscaling::{Autoscaling, ScalingMode};
pub use bottleneck::BottleneckStatus;
pub use breaker::{Breaker, BreakerStatus, WhenAllUnhealthy};
pub use manual::{DrillStatus, ManualStatus, OrderOverStatus, RegionHoldStatus};
pub use queue::{Limits, Queue};
pub use routing::{PeerStatus, RoutingStatus};
pub use scaling::{CapacityStatus, DecisionStatus, HoldStatus, ScalingStatus, TrialStatus, WindowStatus};
pub use sink::{Ordering, Retry, Signing, Sink};
pub use spec::{EventDispatcher, EventDispatcherSpec, Region, Shards, Tls};
pub use status::{EventDispatcherStatus, RegionStatus, ShardsStatus, SinkStatus, Summary};
pub use traffic::{Gateway, ParentRef, Traffic, TrafficMode, TrafficStatus};

/// The API group of everything Signalbox defines; also the prefix of its labels and annotations.
pub const GROUP: &str = "signalbox.dev";

/// The `CustomResourceDefinition`, as `signalbox crd` prints it and `crds/` holds it.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = EventDispatcher::crd();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            unwrap_lines(schema);
        }
    }
    crd
}

/// Comments in the sources are wrapped for editors; `kubectl explain` wraps them again for terminals.
fn unwrap_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(unwrap_lines);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        unwrap_lines(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_crd_is_what_the_types_say() {
        let printed = serde_yaml::to_string(&crd()).unwrap();
        let committed = include_str!("../../crds/eventdispatchers.yaml");
        assert_eq!(printed, committed, "run: cargo run -- crd > crds/eventdispatchers.yaml");
    }

    #[test]
    fn every_field_of_the_spec_is_explained_with_an_example() {
        let crd = serde_json::to_value(crd()).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut bare = Vec::new();
        collect_unexplained("spec", spec, &mut bare);
        assert!(bare.is_empty(), "fields without a description, or leaves without an example: {bare:#?}");
    }

    fn collect_unexplained(path: &str, schema: &serde_json::Value, bare: &mut Vec<String>) {
        let description = schema["description"].as_str().unwrap_or_default();
        let children = schema["properties"].as_object().or_else(|| schema["items"]["properties"].as_object());
        if description.is_empty() || (children.is_none() && !description.contains("Example:")) {
            bare.push(path.to_owned());
        }
        for (name, child) in children.into_iter().flatten() {
            collect_unexplained(&format!("{path}.{name}"), child, bare);
        }
    }
}
