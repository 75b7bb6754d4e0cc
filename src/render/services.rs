//! The Services of a fleet. Pure.
//!
//! | name | who is behind it | for |
//! | --- | --- | --- |
//! | `<fleet>` | the shards that the operator lists | producers |
//! | `<fleet>-any` | every ready shard | producers, should there be no operator |
//! | `<fleet>-<region>` | the region's ready shards | producers that want one region |
//! | `<fleet>-<region>-shards` | each shard by name, ready or not | the StatefulSet, shards among themselves, and people |

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use signalbox_contract::{ADMIN_PORT, CONTROL_PORT, EVENTS_PORT};

use super::metadata;
use crate::fleet::{FleetIntent, RegionIntent, names};

/// The Service that producers use. Without a selector: its endpoints are ours.
pub(super) fn front(intent: &FleetIntent) -> Service {
    service(intent, intent.name.clone(), None, None)
}

/// The fallback, whose endpoints are Kubernetes' own.
pub(super) fn any(intent: &FleetIntent) -> Service {
    service(intent, names::any(&intent.name), None, Some(metadata::selector(intent, None)))
}

/// One region.
pub(super) fn region(intent: &FleetIntent, region: &RegionIntent) -> Service {
    let selector = metadata::selector(intent, Some(&region.name));
    service(intent, names::region(&intent.name, &region.name), Some(&region.name), Some(selector))
}

/// The shards of one region, each by its name.
pub(super) fn shards(intent: &FleetIntent, region: &RegionIntent) -> Service {
    metadata::stamped(Service {
        metadata: metadata::object_meta(intent, names::shards(&intent.name, &region.name), Some(&region.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            // Shards speak to each other before they are ready: that is how they become it.
            publish_not_ready_addresses: Some(true),
            selector: Some(metadata::selector(intent, Some(&region.name))),
            ports: Some(vec![
                events_port(intent),
                port(names::ADMIN_PORT_NAME, ADMIN_PORT, "http"),
                port(names::CONTROL_PORT_NAME, CONTROL_PORT, "https"),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

fn service(
    intent: &FleetIntent,
    name: String,
    region: Option<&str>,
    selector: Option<BTreeMap<String, String>>,
) -> Service {
    metadata::stamped(Service {
        metadata: metadata::object_meta(intent, name, region),
        spec: Some(ServiceSpec { selector, ports: Some(vec![events_port(intent)]), ..ServiceSpec::default() }),
        ..Service::default()
    })
}

fn events_port(intent: &FleetIntent) -> ServicePort {
    port(names::EVENTS_PORT_NAME, EVENTS_PORT, metadata::events_protocol(intent))
}

fn port(name: &str, number: u16, protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        app_protocol: Some(protocol.to_owned()),
        ..ServicePort::default()
    }
}
