//! Tells people: the status, written only when what it says changes, and events, only for transitions.

mod bottleneck;
mod breaker;
mod conditions;
mod decisions;
mod drill;
mod events;
mod manual;
mod routing;
mod scaling;
mod status;
mod traffic;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, Recorder, Reporter};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use thiserror::Error;

use crate::api::{EventDispatcher, EventDispatcherStatus};
use crate::fleet::{FleetIntent, FleetPlan, FleetSnapshot, SpecError, names};
use crate::manifests::{Applied, Manifests};

/// Longest wait for one answer of the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be told.
pub(crate) enum Told<'a> {
    /// The spec was acted on.
    Acted {
        /// What is wanted.
        intent: &'a FleetIntent,
        /// What was seen.
        snapshot: &'a FleetSnapshot,
        /// What was decided.
        plan: &'a FleetPlan,
        /// What was applied.
        applied: &'a Manifests<Applied>,
    },
    /// The spec cannot be acted on.
    Rejected(&'a SpecError),
}

/// Why telling failed.
#[derive(Debug, Error)]
pub(crate) enum ReportError {
    /// The API server refused the status.
    #[error("writing the status: {0}")]
    Status(#[source] kube::Error),
    /// The fleet is not what the status was made from any more.
    #[error("writing the status: the fleet was changed meanwhile")]
    Outdated,
    /// It dropped a part of it.
    #[error(
        "writing the status: the API server does not keep all of status.regions and status.traffic; apply the CRD of this \
         release"
    )]
    NotKept,
    /// It did not answer.
    #[error("writing the status: no answer from the API server within {TIMEOUT:?}")]
    TimedOut,
}

/// What tells: a client, and a recorder that counts an event that repeats instead of writing it anew.
#[derive(Clone)]
pub(crate) struct Voice {
    client: Client,
    recorder: Recorder,
}

impl Voice {
    /// `instance` is who events say they are from.
    pub(crate) fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: names::REPORTER.to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }
}

/// Writes status and events where there is something new to tell. Gives back the fleet as the API server then has it.
pub(crate) async fn report(
    voice: &Voice,
    dispatcher: &EventDispatcher,
    told: &Told<'_>,
    now: Timestamp,
) -> Result<Option<EventDispatcher>, ReportError> {
    let old = dispatcher.status.clone().unwrap_or_default();
    let new = status::status(told, &old, dispatcher.metadata.generation, now);
    if new == old {
        return Ok(None);
    }
    // The status first: an event about what then fails to be written would be told again with the next try.
    let written = write_status(&voice.client, dispatcher, &new).await?;
    if !routing::is_kept(&new, written.status.as_ref()) {
        return Err(ReportError::NotKept);
    }
    for event in events::events(dispatcher, &old, &new) {
        publish(voice, &event, &dispatcher.object_ref(&())).await;
    }
    Ok(Some(written))
}

/// Tells what stays of a fleet that is gone: its volumes, which may hold events.
pub(crate) async fn farewell(voice: &Voice, fleet: &ObjectReference, claims: &[String]) {
    let name = fleet.name.as_deref().unwrap_or_default();
    tracing::info!(namespace = fleet.namespace, fleet = name, ?claims, "the fleet is gone; its volumes are kept");
    if !claims.is_empty() {
        publish(voice, &events::farewell(name, claims), fleet).await;
    }
}

/// An event is a courtesy: what it says is in the status or the log too.
async fn publish(voice: &Voice, event: &Event, about: &ObjectReference) {
    let published = tokio::time::timeout(TIMEOUT, voice.recorder.publish(event, about)).await;
    if let Ok(Err(error)) = published {
        tracing::warn!(%error, reason = event.reason, "could not publish an event");
    }
}

async fn write_status(
    client: &Client,
    dispatcher: &EventDispatcher,
    status: &EventDispatcherStatus,
) -> Result<EventDispatcher, ReportError> {
    let name = dispatcher.name_any();
    let api: Api<EventDispatcher> = Api::namespaced(client.clone(), &dispatcher.namespace().unwrap_or_default());
    let body = body(dispatcher, status);
    let params = PatchParams::apply(names::STATUS_MANAGER).force();
    match tokio::time::timeout(TIMEOUT, api.patch_status(&name, &params, &Patch::Apply(&body))).await {
        Ok(Ok(written)) => Ok(written),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() => Err(ReportError::Outdated),
        Ok(Err(error)) => Err(ReportError::Status(error)),
        Err(_) => Err(ReportError::TimedOut),
    }
}

fn body(dispatcher: &EventDispatcher, status: &EventDispatcherStatus) -> serde_json::Value {
    let metadata = &dispatcher.metadata;
    serde_json::json!({
        "apiVersion": EventDispatcher::api_version(&()),
        "kind": EventDispatcher::kind(&()),
        // The uid makes this fail, rather than speak of another object, if the name was given away. The version makes it
        // fail if another operator wrote a status meanwhile: no two ever give out one epoch.
        "metadata": { "name": metadata.name, "uid": metadata.uid, "resourceVersion": metadata.resource_version },
        "status": status,
    })
}
