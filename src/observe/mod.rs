//! Looks: at the cluster through watches, at the shards through their reports. Writes nothing.
//!
//! The watches and the report reader run in tasks of their own and keep what they saw last; [`observe`] only puts
//! it together, so that deciding never waits for a network.

mod caches;
mod pods;
mod reports;
mod rollout;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt as _};

use crate::fleet::{FleetHistory, FleetIntent, FleetSnapshot, Keyring, RegionSnapshot, Volume, names};
use crate::manifests::Inventory;
pub(crate) use caches::{Caches, Scope};
pub(crate) use reports::Reports;

/// What there is to look through.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The cluster.
    pub caches: Caches,
    /// The shards.
    pub reports: Reports,
}

/// Looks at one fleet: what it is doing, and what it consists of.
pub(crate) fn observe(sources: &Sources, intent: &FleetIntent) -> (FleetSnapshot, Inventory) {
    let inventory = sources.caches.inventory(&intent.namespace, &intent.name);
    let mut regions: BTreeMap<String, RegionSnapshot> = BTreeMap::new();
    for set in &inventory.stateful_sets {
        // One that is being deleted, or of a deleted fleet of this name, says nothing of this fleet.
        let ours = set.metadata.owner_references.iter().flatten().any(|owner| owner.uid == intent.uid);
        if let Some(region) = region_of(set.as_ref()).filter(|_| ours && set.metadata.deletion_timestamp.is_none()) {
            regions.entry(region).or_default().rollout = rollout::rollout(set);
        }
    }
    for pod in sources.caches.pods(&intent.namespace, &intent.name) {
        let Some((region, ordinal)) = region_of(pod.as_ref()).zip(names::ordinal(&pod.name_any())) else { continue };
        let shard = regions.entry(region).or_default().shards.entry(ordinal).or_default();
        (shard.report, shard.data_port) = sources.reports.of(&pod);
        shard.pod = Some(pods::pod(&pod));
    }
    for claim in sources.caches.claims(&intent.namespace, &intent.name) {
        let Some((region, ordinal)) = region_of(claim.as_ref()).zip(names::ordinal(&claim.name_any())) else {
            continue;
        };
        regions.entry(region).or_default().shards.entry(ordinal).or_default().volume = volume(&claim);
    }
    // Volumes are kept when a region goes: they alone do not make it a region.
    regions.retain(|name, region| {
        let running = region.rollout.is_some() || region.shards.values().any(|shard| shard.pod.is_some());
        running || intent.region(name).is_some()
    });
    (FleetSnapshot { regions, history: FleetHistory::default() }, inventory)
}

/// The keys that a fleet has, as far as they were seen, and are its own.
pub(crate) fn held_keys(inventory: &Inventory, intent: &FleetIntent) -> Option<Keyring> {
    let name = names::authority(&intent.name);
    let secret = inventory.secrets.iter().find(|secret| secret.name_any() == name)?;
    let ours = secret.owner_references().iter().any(|owner| owner.uid == intent.uid);
    caches::keyring(secret).filter(|_| ours)
}

/// The volume claims that a fleet leaves behind, by name.
pub(crate) fn kept_claims(sources: &Sources, namespace: &str, fleet: &str) -> Vec<String> {
    sources.caches.claims(namespace, fleet).iter().map(|claim| claim.name_any()).collect()
}

fn region_of(object: &impl Resource) -> Option<String> {
    object.labels().get(names::REGION_LABEL).cloned()
}

fn volume(claim: &PersistentVolumeClaim) -> Volume {
    match claim.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Pending") | None => Volume::Pending,
        Some(_) => Volume::Bound,
    }
}
