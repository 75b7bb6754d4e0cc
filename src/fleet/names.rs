//! Every name that Signalbox gives: objects, labels, annotations, field managers.
//!
//! Regions may contain `-`, so `a` + `b-c` and `a-b` + `c` make one name. That is not prevented here; `apply`
//! refuses to touch an object of another owner and says whose it is.

/// Node label that says which region a node is in.
pub const REGION_NODE_LABEL: &str = "topology.kubernetes.io/region";
/// Pod label, copied from the node where Kubernetes does that, with the node's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// Label on everything we own: which fleet.
pub const FLEET_LABEL: &str = "signalbox.dev/fleet";
/// Label on everything that belongs to one region.
pub const REGION_LABEL: &str = "signalbox.dev/region";
/// Standard label: who manages the object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Its value on everything we own.
pub const MANAGED_BY: &str = "signalbox";
/// Standard label: what the object is part of.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Its value.
pub const APP_NAME: &str = "event-dispatcher";
/// Standard label: which instance of it.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// Label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Label by which an EndpointSlice names its manager: other controllers leave it alone.
pub const SLICE_MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value.
pub const SLICE_MANAGED_BY: &str = "signalbox.dev";
/// Annotation on everything we own: digest of the object as it was rendered.
pub const RENDERED_ANNOTATION: &str = "signalbox.dev/rendered";
/// Annotation on the pod template: digest of the configuration, so that a new one rolls out.
pub const CONFIG_ANNOTATION: &str = "signalbox.dev/config";

/// Field manager of every object but for the fields below.
pub const MANAGER: &str = "signalbox";
/// Field manager of `spec.replicas`, so that somebody else can own it one day.
pub const SCALE_MANAGER: &str = "signalbox/scale";
/// Field manager of the status.
pub const STATUS_MANAGER: &str = "signalbox/status";
/// Who events are from.
pub const REPORTER: &str = "signalbox.dev/operator";

/// Port name of the events port, in pods, Services and EndpointSlices.
pub const EVENTS_PORT_NAME: &str = "events";
/// Port name of the admin port.
pub const ADMIN_PORT_NAME: &str = "admin";
/// Port name of the control port: a pod that has it is spoken to there, and nowhere else.
pub const CONTROL_PORT_NAME: &str = "control";
/// Name of the dispatcher's container.
pub const CONTAINER: &str = "dispatcher";
/// Name of the volume claim template; a shard's claim is `log-<pod>`.
pub const VOLUME: &str = "log";

/// The selector of everything we own.
pub fn managed_selector() -> String {
    format!("{MANAGED_BY_LABEL}={MANAGED_BY}")
}

/// StatefulSet, ConfigMap, PodDisruptionBudget and Service of one region.
pub fn region(fleet: &str, region: &str) -> String {
    format!("{fleet}-{region}")
}

/// Headless Service that gives each shard of a region a DNS name.
pub fn shards(fleet: &str, region: &str) -> String {
    format!("{fleet}-{region}-shards")
}

/// Service over all ready shards that needs no operator.
pub fn any(fleet: &str) -> String {
    format!("{fleet}-any")
}

/// EndpointSlice of one region.
pub fn slice(fleet: &str, region: &str, family: &str) -> String {
    format!("{fleet}-{region}-{}", family.to_ascii_lowercase())
}

/// Pod of one shard.
pub fn pod(fleet: &str, region: &str, ordinal: u32) -> String {
    format!("{fleet}-{region}-{ordinal}")
}

/// Volume claim of one shard.
pub fn claim(fleet: &str, region: &str, ordinal: u32) -> String {
    format!("{VOLUME}-{}", pod(fleet, region, ordinal))
}

/// The ordinal at the end of the name of a pod or a claim.
pub fn ordinal(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}

/// What is in the Secret with all keys of a fleet.
pub const KEYRING_FILE: &str = "keyring.json";

/// Secret with all keys of a fleet, which no pod mounts.
pub fn authority(fleet: &str) -> String {
    format!("{fleet}-authority")
}

/// Secret with the keys that the fleet's shards mount.
pub fn keys(fleet: &str) -> String {
    format!("{fleet}-keys")
}

/// What a shard's certificate is made out to. A name that nothing resolves, and that no public authority signs.
pub fn shard_identity(fleet: &str, namespace: &str) -> String {
    format!("shard.{fleet}.{namespace}.signalbox")
}

/// What the operator's certificate for a fleet is made out to.
pub fn operator_identity(fleet: &str, namespace: &str) -> String {
    format!("operator.{fleet}.{namespace}.signalbox")
}
