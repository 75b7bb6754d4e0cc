//! One object of any kind: who owns it, sending it, deleting it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::compare;
use crate::api::EventDispatcher;
use crate::fleet::names;
use crate::manifests::ApplyFailure;

/// Longest wait for one answer of the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What sending came to.
pub(super) enum Outcome {
    /// Nothing was sent.
    AsItWas,
    Changed,
    Failed(ApplyFailure),
}

/// What sending several came to.
#[derive(Default)]
pub(super) struct Outcomes {
    /// The names of those that were sent.
    pub(super) changed: Vec<String>,
    pub(super) failures: Vec<ApplyFailure>,
}

/// The objects of one fleet.
pub(super) struct Objects<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    pub(super) owner_name: &'a str,
    pub(super) owner_uid: &'a str,
}

/// Whose an object is.
enum Owner {
    Us,
    /// A fleet of the same name that was deleted: Kubernetes is about to delete the object too.
    OurPast,
    Other(String),
}

/// How messages name an object: `Service orders`.
pub(super) fn label<K: Resource<DynamicType = ()>>(name: &str) -> String {
    format!("{} {name}", K::kind(&()))
}

impl Objects<'_> {
    /// Sends those that differ from what is there.
    pub(super) async fn apply<K>(&self, live: &[Arc<K>], rendered: &[K]) -> Outcomes
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let mut outcomes = Outcomes::default();
        for object in rendered {
            match self.apply_one(live, object).await {
                Outcome::AsItWas => {}
                Outcome::Changed => outcomes.changed.push(object.name_any()),
                Outcome::Failed(failure) => outcomes.failures.push(failure),
            }
        }
        outcomes
    }

    async fn apply_one<K>(&self, live: &[Arc<K>], rendered: &K) -> Outcome
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let name = rendered.name_any();
        let owner = match live.iter().find(|object| object.meta().name == rendered.meta().name) {
            Some(object) => {
                if compare::is_as_rendered(object.as_ref(), rendered) {
                    return Outcome::AsItWas;
                }
                Some(self.owner(object.meta()))
            }
            // Not seen by the watch: either it does not exist, or it is not labelled as ours.
            None => match self.api::<K>().get_metadata_opt(&name).within(TIMEOUT).await {
                Ok(found) => found.map(|object| self.owner(&object.metadata)),
                Err(error) => return Outcome::Failed(error.of::<K>(&name)),
            },
        };
        self.send(owner, rendered).await
    }

    /// Sends one of a kind that no watch shows, if it differs from what is there.
    pub(super) async fn apply_unwatched<K>(&self, rendered: &K) -> Outcome
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let name = rendered.name_any();
        match self.api::<K>().get_opt(&name).within(TIMEOUT).await {
            Ok(Some(live)) if compare::is_as_rendered(&live, rendered) => Outcome::AsItWas,
            Ok(live) => self.send(live.map(|live| self.owner(live.meta())), rendered).await,
            Err(error) => Outcome::Failed(error.of::<K>(&name)),
        }
    }

    /// Deletes one of a kind that no watch shows, if it is there and the fleet's own.
    pub(super) async fn delete_unwatched<K>(&self, name: &str) -> Result<(), ApplyFailure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let found =
            self.api::<K>().get_metadata_opt(name).within(TIMEOUT).await.map_err(|error| error.of::<K>(name))?;
        match found {
            Some(live) if matches!(self.owner(&live.metadata), Owner::Us) => self.delete::<K>(&live.metadata).await,
            _ => Ok(()),
        }
    }

    /// Sends an object, unless it is somebody else's.
    async fn send<K>(&self, owner: Option<Owner>, rendered: &K) -> Outcome
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let name = rendered.name_any();
        match owner {
            None | Some(Owner::Us) => self.patch::<K>(&name, names::MANAGER, rendered).await,
            Some(Owner::OurPast) => Outcome::Failed(ApplyFailure {
                object: label::<K>(&name),
                message: "it belongs to a deleted EventDispatcher of this name; waiting for Kubernetes to delete it"
                    .to_owned(),
                needs_a_hand: false,
            }),
            Some(Owner::Other(other)) => Outcome::Failed(ApplyFailure {
                object: label::<K>(&name),
                message: format!(
                    "it exists and belongs to {other}; delete it, or give the EventDispatcher or its region another name"
                ),
                needs_a_hand: true,
            }),
        }
    }

    /// Server-side apply: creates what is not there.
    pub(super) async fn patch<K>(&self, name: &str, manager: &str, body: &(impl Serialize + Debug)) -> Outcome
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let params = PatchParams::apply(manager).force();
        match self.api::<K>().patch(name, &params, &Patch::Apply(body)).within(TIMEOUT).await {
            Ok(_) => {
                tracing::info!(namespace = self.namespace, object = label::<K>(name), manager, "applied");
                Outcome::Changed
            }
            Err(error) => Outcome::Failed(error.of::<K>(name)),
        }
    }

    /// Deletes what the fleet owns and is not rendered, but for the regions that are `untouched`.
    pub(super) async fn prune<K>(
        &self,
        live: &[Arc<K>],
        rendered: &[K],
        untouched: impl Fn(Option<&String>) -> bool,
    ) -> Vec<ApplyFailure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let mut failures = Vec::new();
        for object in live {
            let meta = object.meta();
            let wanted = rendered.iter().any(|rendered| rendered.meta().name == meta.name);
            let ours = matches!(self.owner(meta), Owner::Us) && meta.deletion_timestamp.is_none();
            if wanted || !ours || untouched(object.labels().get(names::REGION_LABEL)) {
                continue;
            }
            if let Err(error) = self.delete::<K>(meta).await {
                failures.push(error);
            }
        }
        failures
    }

    async fn delete<K>(&self, meta: &ObjectMeta) -> Result<(), ApplyFailure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let name = meta.name.as_deref().unwrap_or_default();
        let same = Preconditions { uid: meta.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::background() };
        match self.api::<K>().delete(name, &params).within(TIMEOUT).await {
            Ok(_) => {
                tracing::info!(namespace = self.namespace, object = label::<K>(name), "deleted");
                Ok(())
            }
            Err(CallError::Refused(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
            Err(error) => Err(error.of::<K>(name)),
        }
    }

    fn owner(&self, meta: &ObjectMeta) -> Owner {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        match owners.iter().find(|owner| owner.controller == Some(true)) {
            Some(owner) if owner.uid == self.owner_uid => Owner::Us,
            Some(owner) if owner.kind == EventDispatcher::kind(&()) && owner.name == self.owner_name => Owner::OurPast,
            Some(owner) => Owner::Other(format!("{} {}", owner.kind, owner.name)),
            None => Owner::Other("nobody that says so".to_owned()),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }
}

/// What a call came to that did not succeed.
enum CallError {
    Refused(kube::Error),
    TimedOut,
}

impl CallError {
    fn of<K: Resource<DynamicType = ()>>(self, name: &str) -> ApplyFailure {
        let (message, needs_a_hand) = match self {
            Self::TimedOut => (format!("no answer from the API server within {TIMEOUT:?}; trying again"), false),
            Self::Refused(kube::Error::Api(status)) => {
                // Forbidden, or not a valid object: the same request will be refused again.
                match missing_kind::<K>() {
                    // The only 404 that sending an object can get.
                    Some(instead) if status.code == 404 => (instead.to_owned(), true),
                    _ => (status.message.clone(), matches!(status.code, 403 | 422)),
                }
            }
            Self::Refused(error) => (error.to_string(), false),
        };
        ApplyFailure { object: label::<K>(name), message, needs_a_hand }
    }
}

/// What to do about a kind that the cluster does not have; `None` of those that every cluster has.
fn missing_kind<K: Resource<DynamicType = ()>>() -> Option<&'static str> {
    (K::group(&()) == "gateway.networking.k8s.io").then_some(
        "the cluster has no HTTPRoute of gateway.networking.k8s.io/v1; install the CRDs of the Gateway API and an \
         implementation of it (https://gateway-api.sigs.k8s.io/guides), or set traffic.mode to EndpointSlice; until then \
         producers reach the fleet by its Service only",
    )
}

/// A bound on a call to the API server.
trait Within: Future {
    async fn within(self, limit: Duration) -> Result<<Self as Within>::Answer, CallError>;
    type Answer;
}

impl<T, F: Future<Output = kube::Result<T>>> Within for F {
    type Answer = T;

    async fn within(self, limit: Duration) -> Result<T, CallError> {
        match tokio::time::timeout(limit, self).await {
            Ok(answer) => answer.map_err(CallError::Refused),
            Err(_) => Err(CallError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::core::Status;

    use super::*;
    use crate::manifests::HTTPRoute;

    fn failure<K: Resource<DynamicType = ()>>(code: u16) -> ApplyFailure {
        let status = Status::failure("404 page not found", "NotFound").with_code(code);
        CallError::Refused(kube::Error::Api(status.boxed())).of::<K>("orders")
    }

    #[test]
    fn a_cluster_without_the_gateway_api_is_told_what_to_install() {
        let told = failure::<HTTPRoute>(404);
        assert_eq!((told.object.as_str(), told.needs_a_hand), ("HTTPRoute orders", true));
        assert!(told.message.contains("install the CRDs of the Gateway API"), "{}", told.message);
    }

    #[test]
    fn what_may_pass_needs_no_hand() {
        let told = failure::<Service>(404);
        assert_eq!((told.message.as_str(), told.needs_a_hand), ("404 page not found", false));
        assert!(!failure::<HTTPRoute>(500).needs_a_hand);
        assert!(failure::<Service>(403).needs_a_hand);
    }
}
