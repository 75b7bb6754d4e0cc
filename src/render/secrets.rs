//! The Secrets that shards read: the fleet's keys, and those that the spec names; where they are in a pod, and the volume
//! that puts them there. Pure.
//!
//! One volume for all of them. The kubelet reads the Secrets that the spec names, so the operator does not, and keeps the files up
//! to date: a shard reads one again when it changes, so nothing has to restart.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    KeyToPath, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use signalbox_contract::{CONTROL_PORT, ControlConfig, TlsConfig};

use crate::fleet::{FleetIntent, SinkIntent, names};

/// What the Secret of a fleet's keys holds for shards.
pub(super) const FILES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];
/// The name of the volume.
const VOLUME: &str = "secrets";
/// Where it is mounted. Not within the directory of the configuration, which is a volume of its own.
const DIRECTORY: &str = "/etc/signalbox-secrets";
/// Readable for the user that a shard runs as, by the pod's group, and for nobody else.
const MODE: i32 = 0o440;

/// The volume.
pub(super) fn volume(intent: &FleetIntent) -> Volume {
    let keys = FILES.map(|key| item(key, format!("control/{key}"))).to_vec();
    let keys = projection(&names::keys(&intent.name), keys);
    let certificate = intent.tls_secret.as_ref().map(|secret| {
        let items = ["tls.crt", "tls.key"].map(|key| item(key, format!("tls/{key}")));
        projection(secret, items.to_vec())
    });
    let signing = intent.sinks.iter().filter_map(|sink| {
        let signing = sink.signing.as_ref()?;
        Some(projection(&signing.secret, vec![item(&signing.key, format!("signing/{}", sink.name))]))
    });
    let sources = [keys].into_iter().chain(certificate).chain(signing).collect();
    Volume {
        name: VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(MODE), sources: Some(sources) }),
        ..Volume::default()
    }
}

/// Where the container has it.
pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: DIRECTORY.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// The control port: its keys, and that the operator may speak to it.
pub(super) fn control(intent: &FleetIntent) -> ControlConfig {
    let [cert_file, key_file, ca_file] = FILES.map(|key| format!("{DIRECTORY}/control/{key}"));
    ControlConfig {
        listen: (Ipv4Addr::UNSPECIFIED, CONTROL_PORT).into(),
        cert_file,
        key_file,
        ca_file,
        operator: names::operator_identity(&intent.name, &intent.namespace),
        shard: names::shard_identity(&intent.name, &intent.namespace),
    }
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
