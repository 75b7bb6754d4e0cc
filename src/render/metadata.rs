//! What all our objects have in common: owner, labels, selectors, digest. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Serialize;

use crate::api::EventDispatcher;
use crate::fleet::{self, FleetIntent, names};

/// Metadata of an object of the fleet, or of one of its regions.
pub(super) fn object_meta(intent: &FleetIntent, name: String, region: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(intent.namespace.clone()),
        labels: Some(labels(intent, region)),
        owner_references: Some(vec![OwnerReference {
            api_version: EventDispatcher::api_version(&()).into_owned(),
            kind: EventDispatcher::kind(&()).into_owned(),
            name: intent.name.clone(),
            uid: intent.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

/// The labels of everything that belongs to the fleet, or to one of its regions.
pub(super) fn labels(intent: &FleetIntent, region: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (names::NAME_LABEL.to_owned(), names::APP_NAME.to_owned()),
        (names::INSTANCE_LABEL.to_owned(), intent.name.clone()),
        (names::MANAGED_BY_LABEL.to_owned(), names::MANAGED_BY.to_owned()),
        (names::FLEET_LABEL.to_owned(), intent.name.clone()),
    ]);
    if let Some(region) = region {
        labels.insert(names::REGION_LABEL.to_owned(), region.to_owned());
    }
    labels
}

/// What selects the pods of the fleet, or of one of its regions. Immutable in a StatefulSet, so as little as will do.
pub(super) fn selector(intent: &FleetIntent, region: Option<&str>) -> BTreeMap<String, String> {
    let mut selector = BTreeMap::from([(names::FLEET_LABEL.to_owned(), intent.name.clone())]);
    if let Some(region) = region {
        selector.insert(names::REGION_LABEL.to_owned(), region.to_owned());
    }
    selector
}

/// The same as a `LabelSelector`.
pub(super) fn label_selector(intent: &FleetIntent, region: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selector(intent, Some(region))), match_expressions: None }
}

/// What producers speak to the events port, as `appProtocol` of Services and EndpointSlices has it.
pub(super) fn events_protocol(intent: &FleetIntent) -> &'static str {
    if intent.tls_secret.is_some() { "https" } else { "http" }
}

/// Writes the object's digest into its annotations, so that a change in what we render shows without comparing.
pub(super) fn stamped<K: Resource + Serialize>(mut object: K) -> K {
    let digest = digest(&object);
    object.meta_mut().annotations.get_or_insert_default().insert(names::RENDERED_ANNOTATION.to_owned(), digest);
    object
}

/// The first 16 hexadecimal digits of the SHA-256 of a value's JSON.
pub(super) fn digest(value: &impl Serialize) -> String {
    format!("{:016x}", fleet::digest(value))
}
