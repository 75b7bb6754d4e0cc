//! A fleet that is sent spikes, and the time until there are more replicas.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use signalbox_contract::{ADMIN_PORT, METRICS_PATH};
use signalbox_e2e::bench::note;
use signalbox_e2e::{Fleet, FleetSpec, Scene, SinkSpec, Sinks, eventually};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::page::Measured;

/// Events of one spike. Each delivery takes 40 ms, eight are made at once, so a shard settles 200 a second: it would take
/// 20 s alone. Less than the 15 s that an autoscaler may let pass between two looks, and it would miss some of them.
const EVENTS: u32 = 4_000;
/// How the sinks answer: the same all the time, or what was seen of the shards would say nothing of them now.
const BEHAVIOUR: &str = r#"{"delayMs": 40}"#;
/// Longest wait for more replicas.
const PATIENCE: Duration = Duration::from_mins(2);

/// A fleet with one region, one shard to begin with, and at most four.
pub(crate) struct Subject {
    scene: Scene,
    fleet: Fleet,
    region: String,
    replicas: watch::Receiver<Option<(i32, Instant)>>,
    watcher: AbortHandle,
}

impl Subject {
    /// Starts a fleet that is scaled in this mode, and a watch of its StatefulSet.
    pub(crate) async fn start(scene: &Scene, name: &str, region: &str, mode: &str) -> Result<Self> {
        let regions = [region.to_owned()];
        let sinks = Sinks::start(scene, &format!("{name}-sink"), &regions).await?;
        sinks.behave(BEHAVIOUR).await?;
        let mut spec = FleetSpec::new(name, &regions, 1, &sinks);
        spec.sinks = vec![SinkSpec::new("fulfilment", sinks.uri()).with("maxConcurrency", json!(8))];
        let shards = if mode == "Internal" { json!({"min": 1, "max": 4}) } else { json!({"min": 1}) };
        spec.more = vec![
            ("regions".to_owned(), json!([{"name": region, "weight": 1, "shards": shards}])),
            ("autoscaling".to_owned(), json!({"mode": mode, "targetDrainTime": "5s", "scaleDownStabilization": "0s"})),
        ];
        let fleet = Fleet::apply(scene, &spec).await?;
        fleet.ready().await?;
        let (sender, replicas) = watch::channel(None);
        let watching = watch_replicas(scene.clone(), format!("{name}-{region}"), sender);
        let watcher = tokio::spawn(watching).abort_handle();
        Ok(Self { scene: scene.clone(), fleet, region: region.to_owned(), replicas, watcher })
    }

    /// The StatefulSet that is scaled.
    pub(crate) fn stateful_set(&self) -> String {
        format!("{}-{}", self.fleet.name, self.region)
    }

    /// So many spikes. With `by_itself` the fleet shrinks on its own between them; otherwise it is made small again.
    pub(crate) async fn measure(&self, what: &str, spikes: u32, by_itself: bool) -> Result<Measured> {
        let mut seconds = Vec::new();
        for spike in 1..=spikes {
            self.settle(by_itself).await.with_context(|| format!("before spike {spike}"))?;
            // At any moment of whoever looks now and then: by default every 15 s, the operator at least every 2 s.
            tokio::time::sleep(lull(if by_itself { 2_000 } else { 15_000 })).await;
            let took = self.spike(what, spike).await.with_context(|| format!("spike {spike}"))?;
            note(&format!("{what}: spike {spike} of {spikes}: {:.2} s", took.as_secs_f64()));
            seconds.push(took.as_secs_f64());
        }
        Ok(Measured { what: what.to_owned(), seconds })
    }

    /// Empties it, and waits until it is small.
    async fn settle(&self, by_itself: bool) -> Result<()> {
        eventually("the backlog is delivered", PATIENCE, async || {
            Ok((backlog(&self.scene, &self.fleet.name).await? == 0).then_some(()))
        })
        .await?;
        if !by_itself {
            let patch = json!({"spec": {"replicas": 1}});
            let api = self.scene.api::<StatefulSet>();
            api.patch_scale(&self.stateful_set(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        let mut replicas = self.replicas.clone();
        let small = replicas.wait_for(|seen| seen.is_some_and(|(replicas, _)| replicas == 1));
        tokio::time::timeout(PATIENCE, small).await.context("it does not become small again")??;
        self.fleet.ready().await.map(drop)
    }

    async fn spike(&self, what: &str, number: u32) -> Result<Duration> {
        // Or they would be taken for the events of the spike before, sent again.
        let what: String = what.chars().filter(char::is_ascii_alphanumeric).collect();
        let source = format!("/spike/{what}/{number}");
        let events: Vec<Value> = (0..EVENTS)
            .map(|number| {
                json!({"specversion": "1.0", "id": number.to_string(), "source": source, "type": "spike",
                    "partitionkey": number.to_string()})
            })
            .collect();
        let pod = format!("{}-0", self.stateful_set());
        let before = *self.replicas.borrow();
        ensure!(before.is_some_and(|(replicas, _)| replicas == 1), "it grew before the spike: {before:?}");
        let start = Instant::now();
        self.scene.send_batch_to_pod(&pod, &Value::Array(events)).await?;
        let mut replicas = self.replicas.clone();
        let grown = replicas.wait_for(|seen| seen.is_some_and(|(replicas, _)| replicas > 1));
        let seen = *tokio::time::timeout(PATIENCE, grown).await.context("no replicas were added")??;
        let (_, at) = seen.context("the watch has ended")?;
        Ok(at.saturating_duration_since(start))
    }

    /// Deletes the fleet.
    pub(crate) async fn end(self) -> Result<()> {
        self.watcher.abort();
        self.fleet.delete().await
    }
}

/// Tells `replicas` of a StatefulSet as it changes, and when that was seen. A watch that breaks is begun anew.
async fn watch_replicas(scene: Scene, name: String, sender: watch::Sender<Option<(i32, Instant)>>) {
    loop {
        if let Err(error) = watch_once(&scene, &name, &sender).await {
            note(&format!("the watch is begun anew: {error:#}"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn watch_once(scene: &Scene, name: &str, sender: &watch::Sender<Option<(i32, Instant)>>) -> Result<()> {
    let api = scene.api::<StatefulSet>();
    let set = api.get(name).await?;
    tell(sender, &set);
    let since = set.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(api.watch(&params, &since).await?);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(set) | WatchEvent::Modified(set) => tell(sender, &set),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

fn tell(sender: &watch::Sender<Option<(i32, Instant)>>, set: &StatefulSet) {
    let Some(replicas) = set.spec.as_ref().and_then(|spec| spec.replicas) else { return };
    sender.send_if_modified(|seen| {
        let is_news = seen.is_none_or(|(before, _)| before != replicas);
        if is_news {
            *seen = Some((replicas, Instant::now()));
        }
        is_news
    });
}

/// What the shards of a fleet hold together, asked for now.
pub(crate) async fn backlog(scene: &Scene, fleet: &str) -> Result<u64> {
    let mut sum = 0;
    for pod in scene.pods(&format!("signalbox.dev/fleet={fleet}")).await? {
        let name = pod.metadata.name.unwrap_or_default();
        let Ok(metrics) = scene.get_from_pod(&name, ADMIN_PORT, METRICS_PATH).await else { continue };
        let line = metrics.lines().find_map(|line| line.strip_prefix("signalbox_dispatcher_backlog_events "));
        sum += line.context("a shard has no backlog in its metrics")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}

/// A random time below so many milliseconds.
fn lull(most: u64) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    Duration::from_millis(RandomState::new().hash_one(0) % most)
}

/// The quantile of sorted times.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Result<f64> {
    ensure!(!sorted.is_empty(), "nothing was measured");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1;
    Ok(sorted[at])
}
