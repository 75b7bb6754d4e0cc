//! The Secrets that shards read: where they are in a pod, and the volume that puts them there. Pure.
//!
//! One volume for all of them. The kubelet reads the Secrets, so the operator needs no right to, and keeps the files up
//! to date: a shard reads one again when it changes, so nothing has to restart.

use k8s_openapi::api::core::v1::{
    KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use signalbox_contract::TlsConfig;

use crate::fleet::{FleetIntent, SinkIntent};

/// The name of the volume.
const VOLUME: &str = "secrets";
/// Where it is mounted. Not within the directory of the configuration, which is a volume of its own.
const DIRECTORY: &str = "/etc/signalbox-secrets";
/// Readable for the user that a shard runs as, by the pod's group, and for nobody else.
const MODE: i32 = 0o440;

/// The volume, if there is a Secret to mount.
pub(super) fn volume(intent: &FleetIntent) -> Option<Volume> {
    let certificate = intent.tls_secret.as_ref().map(|secret| {
        let items = ["tls.crt", "tls.key"].map(|key| item(key, format!("tls/{key}")));
        projection(secret, items.to_vec())
    });
    let signing = intent.sinks.iter().filter_map(|sink| {
        let signing = sink.signing.as_ref()?;
        Some(projection(&signing.secret, vec![item(&signing.key, format!("signing/{}", sink.name))]))
    });
    let sources: Vec<_> = certificate.into_iter().chain(signing).collect();
    (!sources.is_empty()).then(|| Volume {
        name: VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(MODE), sources: Some(sources) }),
        ..Volume::default()
    })
}

/// Where the container has it.
pub(super) fn mount(intent: &FleetIntent) -> Option<VolumeMount> {
    (!intent.secrets().is_empty()).then(|| VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: DIRECTORY.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    })
}

/// Where a shard finds the certificate of its events port.
pub(super) fn tls(intent: &FleetIntent) -> Option<TlsConfig> {
    intent.tls_secret.as_ref().map(|_| TlsConfig {
        cert_file: format!("{DIRECTORY}/tls/tls.crt"),
        key_file: format!("{DIRECTORY}/tls/tls.key"),
    })
}

/// Where a shard finds what it signs the deliveries to a sink with.
pub(super) fn signing(sink: &SinkIntent) -> Option<String> {
    sink.signing.as_ref().map(|_| format!("{DIRECTORY}/signing/{}", sink.name))
}

fn projection(secret: &str, items: Vec<KeyToPath>) -> VolumeProjection {
    VolumeProjection {
        secret: Some(SecretProjection { name: secret.to_owned(), items: Some(items), optional: None }),
        ..VolumeProjection::default()
    }
}

fn item(key: &str, path: String) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path, mode: None }
}
