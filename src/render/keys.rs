//! The Secrets that keep a fleet's keys. Pure.
//!
//! Two of them: one with everything, which nothing mounts, and one with what a shard needs. So a shard that is broken into
//! can speak as a shard of its fleet until its certificate is old, and cannot make itself another.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{metadata, secrets};
use crate::fleet::{FleetIntent, Keyring, names};

/// Both, the one that is the source of the other first.
pub(super) fn secrets(intent: &FleetIntent, keyring: &Keyring) -> Vec<Secret> {
    // Strings and times: they always serialise.
    let all = serde_json::to_vec(keyring).unwrap_or_default();
    let all = BTreeMap::from([(names::KEYRING_FILE.to_owned(), ByteString(all))]);
    let Keyring { shard, .. } = keyring;
    let for_shards = secrets::FILES.into_iter().zip([shard.cert.clone(), shard.key.clone(), keyring.trusted()]);
    let for_shards = for_shards.map(|(file, pem)| (file.to_owned(), ByteString(pem.into_bytes()))).collect();
    vec![secret(intent, names::authority(&intent.name), all), secret(intent, names::keys(&intent.name), for_shards)]
}

fn secret(intent: &FleetIntent, name: String, data: BTreeMap<String, ByteString>) -> Secret {
    metadata::stamped(Secret {
        metadata: metadata::object_meta(intent, name, None),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}
