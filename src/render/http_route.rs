//! The `HTTPRoute` of a fleet that producers reach through a Gateway: the share of each region as a weight. Pure.

use signalbox_contract::EVENTS_PORT;

use super::metadata;
use crate::fleet::{FleetIntent, FleetPlan, GatewayIntent, RegionIntent, names};
use crate::manifests::{BackendRef, HTTPRoute, HTTPRouteSpec, ParentRef, Rule};

/// The route of a fleet in mode Gateway.
pub(super) fn http_route(intent: &FleetIntent, plan: &FleetPlan) -> Option<HTTPRoute> {
    let gateway = intent.traffic.gateway.as_ref()?;
    let metadata = metadata::object_meta(intent, intent.name.clone(), None);
    let spec = HTTPRouteSpec {
        parent_refs: parents(gateway),
        hostnames: gateway.hostnames.clone(),
        rules: vec![Rule { backend_refs: backends(intent, plan) }],
    };
    Some(metadata::stamped(HTTPRoute { metadata, spec }))
}

fn parents(gateway: &GatewayIntent) -> Vec<ParentRef> {
    let parents = gateway.parents.iter().map(|parent| ParentRef {
        name: parent.name.clone(),
        namespace: parent.namespace.clone(),
        section_name: parent.section.clone(),
    });
    parents.collect()
}

/// Each region's Service with its share in thousandths. A route whose weights are all zero answers 500 to everybody, so where
/// no region has a share, those of the spec stand.
fn backends(intent: &FleetIntent, plan: &FleetPlan) -> Vec<BackendRef> {
    let share = |region: &RegionIntent| plan.traffic.regions.get(&region.name).map_or(0, |plan| plan.share_permille);
    let none = intent.regions.iter().all(|region| share(region) == 0);
    let backends = intent.regions.iter().map(|region| BackendRef {
        name: names::region(&intent.name, &region.name),
        port: EVENTS_PORT.into(),
        weight: i32::try_from(if none { region.weight } else { share(region) }).unwrap_or(i32::MAX),
    });
    backends.collect()
}
