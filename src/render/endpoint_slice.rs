//! Where the fleet's Service leads: one EndpointSlice per region and address family. Pure.
//!
//! A shard that is not listed stays in the slice as `ready: false`, so that people can see it; kube-proxy sends
//! nothing there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use signalbox_contract::EVENTS_PORT;

use super::metadata;
use crate::fleet::{EndpointPlan, FleetIntent, RegionPlan, names};

/// One slice for each family in which the region has addresses; usually there is one.
pub(super) fn endpoint_slices(intent: &FleetIntent, region: &RegionPlan) -> Vec<EndpointSlice> {
    let mut families: BTreeMap<&str, Vec<&EndpointPlan>> = BTreeMap::new();
    for endpoint in &region.endpoints {
        families.entry(family(&endpoint.ip)).or_default().push(endpoint);
    }
    families.into_iter().map(|(family, endpoints)| slice(intent, region, family, &endpoints)).collect()
}

fn slice(intent: &FleetIntent, region: &RegionPlan, family: &str, endpoints: &[&EndpointPlan]) -> EndpointSlice {
    let name = names::slice(&intent.name, &region.name, family);
    let mut metadata = metadata::object_meta(intent, name, Some(&region.name));
    metadata.labels.get_or_insert_default().extend([
        (names::SERVICE_NAME_LABEL.to_owned(), intent.name.clone()),
        (names::SLICE_MANAGED_BY_LABEL.to_owned(), names::SLICE_MANAGED_BY.to_owned()),
    ]);
    metadata::stamped(EndpointSlice {
        metadata,
        address_type: family.to_owned(),
        ports: Some(vec![EndpointPort {
            name: Some(names::EVENTS_PORT_NAME.to_owned()),
            port: Some(EVENTS_PORT.into()),
            protocol: Some("TCP".to_owned()),
            app_protocol: Some(metadata::events_protocol(intent).to_owned()),
        }]),
        endpoints: endpoints.iter().map(|endpoint| slice_endpoint(intent, endpoint)).collect(),
    })
}

fn slice_endpoint(intent: &FleetIntent, endpoint: &EndpointPlan) -> Endpoint {
    Endpoint {
        addresses: vec![endpoint.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(endpoint.listed),
            serving: Some(endpoint.serving),
            terminating: Some(endpoint.terminating),
        }),
        node_name: endpoint.node.clone(),
        zone: endpoint.zone.clone(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(intent.namespace.clone()),
            name: Some(endpoint.pod.clone()),
            uid: Some(endpoint.uid.clone()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

fn family(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}
