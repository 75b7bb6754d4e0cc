//! Who is listened to, and which lines are of them. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use signalbox_contract::{ADMIN_PORT, CONTROL_PORT, EVENTS_PORT, ShardReport};

use crate::fleet::names;
use crate::observe::caches::{Poke, fleet_of};

/// Who is listened to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shard {
    pub(super) uid: String,
    pub(super) ip: String,
    pub(super) port: u16,
    /// The port that takes events.
    pub(super) events: u16,
    /// Whether it has keys.
    pub(super) keyed: bool,
    pub(super) namespace: String,
    pub(super) fleet: String,
    pub(super) region: String,
    pub(super) ordinal: Option<u32>,
    pub(super) poke: Poke,
}

/// Why a line is not a report of this shard.
pub(super) enum NotOne {
    /// It makes no sense.
    Broken(String),
    /// It is another shard's.
    Elsewhere(String),
}

impl Shard {
    /// Only pods that run: one that is being started has no report, and that is known without asking.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Running"))?;
        // The pod itself says whether it has keys: while they are rolled out, some have and some have not.
        let ports =
            pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
        let keyed = ports.into_iter().any(|port| port.name.as_deref() == Some(names::CONTROL_PORT_NAME));
        Some(Self {
            uid: pod.uid()?,
            ip: status.pod_ip.clone()?,
            port: if keyed { CONTROL_PORT } else { ADMIN_PORT },
            events: EVENTS_PORT,
            keyed,
            namespace: pod.namespace()?,
            fleet: pod.labels().get(names::FLEET_LABEL)?.clone(),
            region: pod.labels().get(names::REGION_LABEL)?.clone(),
            ordinal: names::ordinal(&pod.name_any()),
            poke: fleet_of(pod),
        })
    }

    /// What a line says, if it is a report of this shard.
    pub(super) fn report(&self, text: &[u8]) -> Result<ShardReport, NotOne> {
        let report: ShardReport =
            serde_json::from_slice(text).map_err(|error| NotOne::Broken(format!("its report is not one: {error}")))?;
        if report.fleet != self.fleet || report.region != self.region {
            return Err(NotOne::Elsewhere(format!(
                "its report is of fleet {}, region {}",
                report.fleet, report.region
            )));
        }
        if let Some(routing) = report.routing.as_ref().filter(|routing| Some(routing.ordinal) != self.ordinal) {
            return Err(NotOne::Elsewhere(format!("its report is of shard {}", routing.ordinal)));
        }
        Ok(report)
    }
}
