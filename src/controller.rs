//! The only file that knows the order: parse, observe, decide, render, apply, report, push.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::admin::Health;
use crate::api::EventDispatcher;
use crate::apply::apply;
use crate::clock;
use crate::decide::decide;
use crate::error::Error;
use crate::fleet::{FleetHistory, FleetIntent, FleetMemory, Keyring, ShardDefaults};
use crate::keys::keys;
use crate::manifests::Inventory;
use crate::metrics::Metrics;
use crate::observe::{Caches, Reports, Scope, Sources, held_keys, kept_claims, observe};
use crate::push::push;
use crate::record::Recorder;
use crate::render::render;
use crate::report::{Told, Voice, farewell, report};

/// Fleets looked at side by side. Each takes a few requests of milliseconds, and a restart looks at all of them.
const CONCURRENCY: u16 = 16;
/// The first wait after a failed reconcile; doubled with each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest.
const LAST_RETRY: Duration = Duration::from_mins(2);

/// For how long keys that were made are held against a watch that does not show them. Who deletes them wants new ones.
const UNSEEN: Duration = Duration::from_secs(30);

/// What a reconcile has at hand.
struct Context {
    client: Client,
    voice: Voice,
    defaults: ShardDefaults,
    sources: Sources,
    metrics: Metrics,
    health: Health,
    memory: Mutex<Memory>,
    recorder: Recorder,
}

/// What is kept between reconciles, and can be lost without harm.
#[derive(Default)]
struct Memory {
    /// Failures in a row.
    failures: BTreeMap<Key, u32>,
    /// The latest status we wrote, for the moment until the watch shows it.
    written: BTreeMap<Key, EventDispatcher>,
    /// The keys that were made last, for the moment until the watch shows them.
    keyrings: BTreeMap<Key, (Keyring, jiff::Timestamp)>,
    /// What was seen of each fleet over time.
    histories: BTreeMap<Key, FleetHistory>,
    /// The fleets that were looked at, to be able to speak of one that is gone.
    known: BTreeMap<Key, ObjectReference>,
}

/// Namespace and name.
type Key = (String, String);

/// Runs the operator for the fleets in `scope`, for as long as the process lives.
pub(crate) async fn run(
    client: Client,
    scope: Scope,
    instance: String,
    defaults: ShardDefaults,
    metrics: Metrics,
    health: Health,
    recorder: Recorder,
) {
    let mut tasks = JoinSet::new();
    let (pokes, mut requests) = mpsc::unbounded_channel();
    let caches = Caches::start(&client, &scope, &pokes, &metrics, &mut tasks).await;
    let reports = Reports::default();
    let (all_asked, asked) = oneshot::channel();
    tasks.spawn(reports.clone().read(caches.clone(), pokes, metrics.clone(), all_asked));
    // Before the first look at a fleet: what has not been asked for must not be told as unknown.
    let _ = asked.await;
    health.synced(&scope);

    let dispatchers = caches.dispatchers.clone();
    let everything = dispatchers.clone();
    let queue = stream::poll_fn(move |context| requests.poll_recv(context)).flat_map(move |poke| {
        let fleets = match poke {
            Some(fleet) => vec![fleet],
            None => everything.state().iter().map(|fleet| ObjectRef::from_obj(fleet.as_ref())).collect(),
        };
        stream::iter(fleets.into_iter().map(Ok::<_, Infallible>))
    });
    let context = Arc::new(Context {
        voice: Voice::new(client.clone(), instance),
        client,
        defaults,
        sources: Sources { caches, reports },
        metrics,
        health,
        memory: Mutex::default(),
        recorder,
    });
    let reconciled = |dispatcher, context| Box::pin(reconcile(dispatcher, context));
    let config = Config::default().concurrency(CONCURRENCY);
    applier(reconciled, error_policy, context.clone(), dispatchers, queue, config)
        .for_each(async |done| {
            if let Err(kube::runtime::controller::Error::ObjectNotFound(fleet)) = done {
                context.take_leave(&(fleet.namespace.unwrap_or_default(), fleet.name)).await;
            }
        })
        .await;
}

async fn reconcile(dispatcher: Arc<EventDispatcher>, context: Arc<Context>) -> Result<Action, Error> {
    let key = key_of(&dispatcher);
    if dispatcher.metadata.deletion_timestamp.is_some() {
        // Kubernetes deletes what we own; making it anew would only be in the way.
        return Ok(Action::await_change());
    }
    let dispatcher = context.latest(&key, dispatcher);
    context.memory().known.insert(key.clone(), dispatcher.object_ref(&()));
    let now = clock::now();
    let intent = match FleetIntent::parse(&dispatcher, &context.defaults) {
        Ok(intent) => intent,
        Err(error) => {
            context.tell(&key, &dispatcher, &Told::Rejected(&error), now).await?;
            return Ok(Action::await_change());
        }
    };
    let (mut snapshot, inventory) = observe(&context.sources, &intent);
    snapshot.history = context.memory().histories.remove(&key).unwrap_or_default();
    let remembered = FleetMemory::of(dispatcher.status.as_ref());
    let plan = decide(&intent, &snapshot, &remembered, now);
    context.memory().histories.insert(key.clone(), plan.history.clone());
    let keyring = context.keyring(&key, &intent, &inventory, now)?;
    let applied = apply(&context.client, &inventory, render(&intent, &plan, &keyring)).await;
    let told = Told::Acted { intent: &intent, snapshot: &snapshot, plan: &plan, applied: &applied };
    context.tell(&key, &dispatcher, &told, now).await?;
    // Only now: what is not in the status may be decided otherwise by the next operator.
    push(&keyring, &intent, &plan, &context.metrics).await;
    context.metrics.fleet_decided(&intent, &snapshot, &plan);
    context.recorder.record(&intent, &plan, now);
    if !applied.stage.failures.is_empty() {
        return Err(Error::Apply(applied.stage.failures.len()));
    }
    context.succeeded(&key);
    Ok(Action::requeue(plan.recheck_after))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the applier's")]
fn error_policy(dispatcher: Arc<EventDispatcher>, error: &Error, context: Arc<Context>) -> Action {
    let key = key_of(&dispatcher);
    context.metrics.reconciled(error.category());
    if error.is_overtaken() {
        // What was written shows in the watch at about now, and that is looked at at once.
        return Action::requeue(FIRST_RETRY);
    }
    let mut memory = context.memory();
    let failures = memory.failures.entry(key).or_default();
    *failures += 1;
    let wait = FIRST_RETRY.saturating_mul(1 << (*failures - 1).min(16)).min(LAST_RETRY);
    tracing::warn!(namespace = dispatcher.namespace(), fleet = dispatcher.name_any(), %error, ?wait, "trying again");
    Action::requeue(wait)
}

fn key_of(dispatcher: &EventDispatcher) -> Key {
    (dispatcher.namespace().unwrap_or_default(), dispatcher.name_any())
}

impl Context {
    /// The fleet with the status that we wrote last, when the watch is still behind it: comparing with an older
    /// one would write and announce the same again.
    fn latest(&self, key: &Key, seen: Arc<EventDispatcher>) -> Arc<EventDispatcher> {
        let version =
            |fleet: &EventDispatcher| fleet.resource_version().and_then(|version| version.parse::<u64>().ok());
        let memory = self.memory();
        match memory.written.get(key) {
            Some(written) if written.uid() == seen.uid() && version(written) > version(&seen) => {
                let mut latest = seen.as_ref().clone();
                latest.status.clone_from(&written.status);
                // The next status is written only over this one.
                latest.metadata.resource_version.clone_from(&written.metadata.resource_version);
                Arc::new(latest)
            }
            _ => seen,
        }
    }

    /// The keys that the fleet is to have now. Those that are there, unless some are due.
    fn keyring(
        &self,
        key: &Key,
        intent: &FleetIntent,
        inventory: &Inventory,
        now: jiff::Timestamp,
    ) -> Result<Keyring, Error> {
        let seen = held_keys(inventory, intent);
        let mut memory = self.memory();
        let made = memory.keyrings.get(key).filter(|(_, made)| now.duration_since(*made).unsigned_abs() < UNSEEN);
        let held = [seen, made.map(|(keyring, _)| keyring.clone())].into_iter().flatten();
        let held = held.max_by_key(|keyring| keyring.generation);
        let keyring = keys(&intent.name, &intent.namespace, held.as_ref(), now, &mut || rcgen::KeyPair::generate())?;
        if held.as_ref() != Some(&keyring) {
            memory.keyrings.insert(key.clone(), (keyring.clone(), now));
        }
        Ok(keyring)
    }

    async fn tell(
        &self,
        key: &Key,
        dispatcher: &EventDispatcher,
        told: &Told<'_>,
        now: jiff::Timestamp,
    ) -> Result<(), Error> {
        if let Some(written) = report(&self.voice, dispatcher, told, now).await? {
            self.memory().written.insert(key.clone(), written);
        }
        Ok(())
    }

    fn succeeded(&self, key: &Key) {
        self.metrics.reconciled("ok");
        self.health.progressed();
        self.memory().failures.remove(key);
    }

    /// A fleet is gone: what is remembered of it goes too, and what stays of it is told.
    async fn take_leave(&self, key: &Key) {
        let known = {
            let mut memory = self.memory();
            memory.failures.remove(key);
            memory.written.remove(key);
            memory.keyrings.remove(key);
            memory.histories.remove(key);
            memory.known.remove(key)
        };
        self.metrics.fleet_gone(&key.0, &key.1);
        if let Some(fleet) = known {
            farewell(&self.voice, &fleet, &kept_claims(&self.sources, &key.0, &key.1)).await;
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves maps of whole entries behind.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
