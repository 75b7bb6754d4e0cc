//! The shards of one region. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, TopologySpreadConstraint, Volume,
    VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use signalbox_contract::{
    ADMIN_PORT, CONFIG_FILE, CONTROL_PORT, DATA_DIR, EVENTS_PORT, HEALTHZ_PATH, ORDINAL_VARIABLE, READYZ_PATH,
};

use super::{config, metadata, secrets};
use crate::fleet::{FleetIntent, RegionIntent, names};

/// The numeric user that the image runs as; also the group that its volume belongs to.
const USER: i64 = 65532;

/// Time for a shard to end after SIGTERM. It needs 5 s, and if it is to own no slots any more, the time to hand over what
/// it holds; what it does not manage stays on its volume.
const GRACE_PERIOD_SECONDS: i64 = 60;

/// Label that a StatefulSet gives its pods: the ordinal.
const ORDINAL_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The StatefulSet of one region, without `spec.replicas`, which has a field manager of its own.
pub(super) fn stateful_set(intent: &FleetIntent, region: &RegionIntent) -> StatefulSet {
    metadata::stamped(StatefulSet {
        metadata: metadata::object_meta(intent, names::region(&intent.name, &region.name), Some(&region.name)),
        spec: Some(StatefulSetSpec {
            service_name: Some(names::shards(&intent.name, &region.name)),
            selector: metadata::label_selector(intent, &region.name),
            // A shard is ready once it has a routing table, and that is not made before those beside it are there, or
            // have been waited for. And a broken one must not hold back the repair of the rest.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            // A volume may hold the only copy of an event: we never delete one.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            volume_claim_templates: Some(vec![claim_template(intent, region)]),
            template: pod_template(intent, region),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

fn claim_template(intent: &FleetIntent, region: &RegionIntent) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::VOLUME.to_owned()),
            labels: Some(metadata::labels(intent, Some(&region.name))),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(intent.queue.storage.clone()))])),
                limits: None,
            }),
            storage_class_name: intent.queue.storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn pod_template(intent: &FleetIntent, region: &RegionIntent) -> PodTemplateSpec {
    let digest = metadata::digest(&config::shard_config(intent, region));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(metadata::labels(intent, Some(&region.name))),
            annotations: Some(BTreeMap::from([(names::CONFIG_ANNOTATION.to_owned(), digest)])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(intent)],
            node_selector: Some(region.node_selector.clone()),
            topology_spread_constraints: Some(vec![
                spread(intent, region, names::ZONE_LABEL),
                spread(intent, region, "kubernetes.io/hostname"),
            ]),
            volumes: Some(vec![config_volume(intent, region), secrets::volume(intent)]),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_PERIOD_SECONDS),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
    }
}

fn config_volume(intent: &FleetIntent, region: &RegionIntent) -> Volume {
    Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::region(&intent.name, &region.name),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn container(intent: &FleetIntent) -> Container {
    let directory = CONFIG_FILE.rsplit_once('/').map_or("/", |(directory, _)| directory);
    let mounts = [
        VolumeMount { name: names::VOLUME.to_owned(), mount_path: DATA_DIR.to_owned(), ..VolumeMount::default() },
        VolumeMount {
            name: "config".to_owned(),
            mount_path: directory.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        },
        secrets::mount(),
    ];
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(intent.image.clone()),
        image_pull_policy: Some(intent.image_pull_policy.clone()),
        args: Some(["serve", "--config", CONFIG_FILE, "--data-dir", DATA_DIR].map(str::to_owned).to_vec()),
        env: Some(vec![ordinal()]),
        ports: Some(vec![
            port(names::EVENTS_PORT_NAME, EVENTS_PORT),
            port(names::ADMIN_PORT_NAME, ADMIN_PORT),
            port(names::CONTROL_PORT_NAME, CONTROL_PORT),
        ]),
        // A shard is ready within a second of its start, and recovery of a long log is not a reason to kill it.
        startup_probe: Some(probe(HEALTHZ_PATH, 1, 300)),
        readiness_probe: Some(probe(READYZ_PATH, 1, 2)),
        liveness_probe: Some(probe(HEALTHZ_PATH, 10, 6)),
        resources: Some(ResourceRequirements {
            requests: Some(BTreeMap::from([
                ("cpu".to_owned(), Quantity("50m".to_owned())),
                ("memory".to_owned(), Quantity("64Mi".to_owned())),
            ])),
            // No limit on CPU: throttling a dispatcher turns spare capacity into latency.
            limits: Some(BTreeMap::from([("memory".to_owned(), Quantity("512Mi".to_owned()))])),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts.to_vec()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// Which shard it is.
fn ordinal() -> EnvVar {
    let field_path = format!("metadata.labels['{ORDINAL_LABEL}']");
    EnvVar {
        name: ORDINAL_VARIABLE.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path, api_version: Some("v1".to_owned()) }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(names::ADMIN_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn spread(intent: &FleetIntent, region: &RegionIntent, key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(metadata::label_selector(intent, &region.name)),
        ..TopologySpreadConstraint::default()
    }
}
