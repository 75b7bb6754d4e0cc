//! Sends rendered objects to the cluster, and removes what is rendered no more. The only room that writes objects.
//!
//! - **Silent when there is nothing to do**: an object is sent only if what we would send differs from what we
//!   sent last (its digest), or if what is there does not say what we would send (somebody changed it).
//! - **Never touches what it did not make**: an object of the same name that our fleet does not own is left alone
//!   and reported.
//! - **One failure does not stop the rest**: each is a value in the result.
//!
//! What is there is known from watches, but for the `HTTPRoute` of a fleet in mode Gateway: that one is asked for with each look
//! at such a fleet, and of no other fleet.

mod compare;
mod object;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Client;

use crate::fleet::names;
use crate::manifests::{Applied, ApplyFailure, HTTPRoute, Inventory, Manifests, Rendered, Replicas, Route};
use object::{Objects, Outcome};

/// Sends what differs, deletes what is too much.
pub(crate) async fn apply(client: &Client, live: &Inventory, manifests: Manifests<Rendered>) -> Manifests<Applied> {
    let mut failures = Vec::new();
    let mut changed_sets = BTreeSet::new();
    let objects = Objects {
        client,
        namespace: &manifests.namespace,
        owner_name: &manifests.owner_name,
        owner_uid: &manifests.owner_uid,
    };
    // Pods mount keys and configuration, and are named by the Services, so those come first. The StatefulSets come after
    // the budgets that protect their pods, and the traffic after the shards that take it.
    failures.extend(objects.apply(&live.secrets, &manifests.secrets).await.failures);
    failures.extend(objects.apply(&live.config_maps, &manifests.config_maps).await.failures);
    failures.extend(objects.apply(&live.services, &manifests.services).await.failures);
    failures.extend(objects.apply(&live.disruption_budgets, &manifests.disruption_budgets).await.failures);
    // Before replicas: a shard that goes is unlisted before it is removed.
    failures.extend(objects.apply(&live.endpoint_slices, &manifests.endpoint_slices).await.failures);
    let (route_left, failure) = route(&objects, &manifests.route).await;
    failures.extend(failure);
    let sets = objects.apply(&live.stateful_sets, &manifests.stateful_sets).await;
    changed_sets.extend(sets.changed);
    for replicas in &manifests.replicas {
        if sets.failures.iter().any(|failure| failure.object == object::label::<StatefulSet>(&replicas.name)) {
            continue;
        }
        match scale(&objects, &live.stateful_sets, replicas).await {
            Outcome::AsItWas => {}
            Outcome::Changed => drop(changed_sets.insert(replicas.name.clone())),
            Outcome::Failed(failure) => failures.push(failure),
        }
    }
    failures.extend(sets.failures);

    let untouched = |region: Option<&String>| region.is_some_and(|region| manifests.untouched_regions.contains(region));
    failures.extend(objects.prune(&live.stateful_sets, &manifests.stateful_sets, untouched).await);
    failures.extend(objects.prune(&live.endpoint_slices, &manifests.endpoint_slices, |_| false).await);
    failures.extend(objects.prune(&live.disruption_budgets, &manifests.disruption_budgets, untouched).await);
    failures.extend(objects.prune(&live.services, &manifests.services, untouched).await);
    failures.extend(objects.prune(&live.config_maps, &manifests.config_maps, untouched).await);
    manifests.applied(Applied { failures, route_left, changed_sets })
}

/// The route, which no watch shows. Whether one that is not wanted may still be there, and what went wrong.
async fn route(objects: &Objects<'_>, route: &Route) -> (bool, Option<ApplyFailure>) {
    let failure = match route {
        Route::None => None,
        Route::Wanted(route) => match objects.apply_unwatched(route.as_ref()).await {
            Outcome::AsItWas | Outcome::Changed => None,
            Outcome::Failed(failure) => Some(failure),
        },
        Route::Unwanted(name) => objects.delete_unwatched::<HTTPRoute>(name).await.err(),
    };
    (matches!(route, Route::Unwanted(_)) && failure.is_some(), failure)
}

async fn scale(objects: &Objects<'_>, live: &[Arc<StatefulSet>], wanted: &Replicas) -> Outcome {
    let current = live.iter().find(|set| set.metadata.name.as_ref() == Some(&wanted.name));
    let replicas = current.and_then(|set| set.spec.as_ref()?.replicas);
    if replicas.is_some_and(|replicas| u32::try_from(replicas) == Ok(wanted.replicas)) {
        return Outcome::AsItWas;
    }
    let body = serde_json::json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": { "name": wanted.name },
        "spec": { "replicas": wanted.replicas },
    });
    objects.patch::<StatefulSet>(&wanted.name, names::SCALE_MANAGER, &body).await
}
