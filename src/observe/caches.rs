//! The watches: each in a task of its own with its own backoff, so that one that hangs stops no other.
//!
//! What a watch sees is kept in a store, and the fleet that it belongs to is poked.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::api::EventDispatcher;
use crate::fleet::{Keyring, names};
use crate::manifests::Inventory;
use crate::metrics::Metrics;

/// Where fleets are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In every namespace.
    Cluster,
    /// In one.
    Namespace(String),
}

/// Who should be looked at again: one fleet, or all.
pub(crate) type Poke = Option<ObjectRef<EventDispatcher>>;

/// What the watches saw last.
#[derive(Clone)]
pub(crate) struct Caches {
    /// The fleets.
    pub dispatchers: Store<EventDispatcher>,
    secrets: Store<Secret>,
    config_maps: Store<ConfigMap>,
    services: Store<Service>,
    disruption_budgets: Store<PodDisruptionBudget>,
    endpoint_slices: Store<EndpointSlice>,
    stateful_sets: Store<StatefulSet>,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
}

impl Caches {
    /// Starts the watches and waits until each has seen everything there is: an empty cache must not be taken for
    /// an empty cluster. The watches end with `tasks`.
    pub(crate) async fn start(
        client: &Client,
        scope: &Scope,
        pokes: &UnboundedSender<Poke>,
        metrics: &Metrics,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let mut starter = Starter { client, scope, pokes, metrics, tasks };
        let caches = Self {
            dispatchers: starter.watch(watcher::Config::default(), |fleet| Some(ObjectRef::from_obj(fleet))),
            secrets: starter.watch_ours(),
            config_maps: starter.watch_ours(),
            services: starter.watch_ours(),
            disruption_budgets: starter.watch_ours(),
            endpoint_slices: starter.watch_ours(),
            stateful_sets: starter.watch_ours(),
            pods: starter.watch_ours(),
            claims: starter.watch_ours(),
        };
        caches.wait_until_ready().await;
        caches
    }

    async fn wait_until_ready(&self) {
        // A store is ready, or its writer is gone because the process is ending.
        let _ = self.dispatchers.wait_until_ready().await;
        let _ = self.secrets.wait_until_ready().await;
        let _ = self.config_maps.wait_until_ready().await;
        let _ = self.services.wait_until_ready().await;
        let _ = self.disruption_budgets.wait_until_ready().await;
        let _ = self.endpoint_slices.wait_until_ready().await;
        let _ = self.stateful_sets.wait_until_ready().await;
        let _ = self.pods.wait_until_ready().await;
        let _ = self.claims.wait_until_ready().await;
    }

    pub(super) fn inventory(&self, namespace: &str, fleet: &str) -> Inventory {
        Inventory {
            secrets: of_fleet(&self.secrets, namespace, fleet),
            config_maps: of_fleet(&self.config_maps, namespace, fleet),
            services: of_fleet(&self.services, namespace, fleet),
            disruption_budgets: of_fleet(&self.disruption_budgets, namespace, fleet),
            endpoint_slices: of_fleet(&self.endpoint_slices, namespace, fleet),
            stateful_sets: of_fleet(&self.stateful_sets, namespace, fleet),
        }
    }

    pub(super) fn pods(&self, namespace: &str, fleet: &str) -> Vec<Arc<Pod>> {
        of_fleet(&self.pods, namespace, fleet)
    }

    /// The keys of a fleet. `None` if there are none that can be read.
    pub(super) fn keyring(&self, namespace: &str, fleet: &str) -> Option<Keyring> {
        keyring(self.secrets.get(&ObjectRef::new(&names::authority(fleet)).within(namespace))?.as_ref())
    }

    pub(super) fn all_pods(&self) -> Vec<Arc<Pod>> {
        self.pods.state()
    }

    pub(super) fn claims(&self, namespace: &str, fleet: &str) -> Vec<Arc<PersistentVolumeClaim>> {
        of_fleet(&self.claims, namespace, fleet)
    }
}

/// What a Secret keeps of a fleet's keys.
pub(super) fn keyring(secret: &Secret) -> Option<Keyring> {
    serde_json::from_slice(&secret.data.as_ref()?.get(names::KEYRING_FILE)?.0).ok()
}

/// The fleet that an object's labels name.
pub(super) fn fleet_of(object: &impl Resource) -> Option<ObjectRef<EventDispatcher>> {
    let fleet = object.labels().get(names::FLEET_LABEL)?;
    Some(ObjectRef::new(fleet).within(&object.namespace()?))
}

/// In the order of names, so that what is made from them is the same each time.
fn of_fleet<K>(store: &Store<K>, namespace: &str, fleet: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut objects: Vec<_> = store.state_filter(|object| {
        object.meta().namespace.as_deref() == Some(namespace)
            && object.labels().get(names::FLEET_LABEL).is_some_and(|label| label == fleet)
    });
    objects.sort_by_key(|object| object.name_any());
    objects
}

/// What can be watched: any kind of object that lives in a namespace.
trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

struct Starter<'a> {
    client: &'a Client,
    scope: &'a Scope,
    pokes: &'a UnboundedSender<Poke>,
    metrics: &'a Metrics,
    tasks: &'a mut JoinSet<()>,
}

impl Starter<'_> {
    fn watch_ours<K: Watched>(&mut self) -> Store<K> {
        self.watch(watcher::Config::default().labels(&names::managed_selector()), fleet_of)
    }

    fn watch<K: Watched>(&mut self, config: watcher::Config, fleet_of: fn(&K) -> Poke) -> Store<K> {
        let api: Api<K> = match self.scope {
            Scope::Cluster => Api::all(self.client.clone()),
            Scope::Namespace(namespace) => Api::namespaced(self.client.clone(), namespace),
        };
        let writer = Writer::default();
        let store = writer.as_reader();
        let (pokes, metrics) = (self.pokes.clone(), self.metrics.clone());
        self.tasks.spawn(async move {
            // Half of an object's metadata is who wrote which field, and nothing here asks for that.
            let events = watch(api, config).default_backoff().modify(|object| object.managed_fields_mut().clear());
            let events = events.reflect(writer);
            pin_mut!(events);
            let mut failing = false;
            while let Some(event) = events.next().await {
                let poke = match &event {
                    Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => fleet_of(object),
                    // What was deleted while nobody watched shows only now.
                    Ok(Event::InitDone) => None,
                    Ok(Event::Init) => continue,
                    Err(error) => {
                        metrics.watch_failed(&K::kind(&()));
                        if !failing {
                            tracing::warn!(kind = %K::kind(&()), %error, "watch failed; trying again");
                        }
                        failing = true;
                        continue;
                    }
                };
                if failing {
                    tracing::info!(kind = %K::kind(&()), "watch is back");
                    failing = false;
                }
                // A poke that nobody hears comes from a process that is ending.
                let _ = pokes.send(poke);
            }
        });
        store
    }
}
