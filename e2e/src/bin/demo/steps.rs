//! The acts of the demo, in order, each with the time it took.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use signalbox_cluster::Cluster;
use signalbox_e2e::{Fleet, FleetSpec, Load, LoadResult, Receipts, Scene, Sinks, Stage};
use signalbox_images::Images;

use crate::Arguments;
use crate::loss::{self, Loss};

/// The namespace of the demo.
const NAMESPACE: &str = "signalbox-demo";
/// The fleet.
pub(crate) const FLEET: &str = "orders";

/// What was done so far.
pub(crate) struct Steps {
    since: Instant,
    /// What, how it went, how long it took.
    pub(crate) done: Vec<(&'static str, String, Duration)>,
}

/// What came of it.
pub(crate) struct Played {
    pub(crate) load: LoadResult,
    pub(crate) receipts: Receipts,
    /// Events accepted by each shard.
    pub(crate) shards: Vec<(String, u64)>,
    /// What kubectl shows.
    pub(crate) shown: Vec<(String, String)>,
    /// The last act; not on a cluster that is not ours to break.
    pub(crate) loss: Option<Loss>,
}

impl Played {
    /// Every event was accepted and has arrived.
    pub(crate) fn passed(&self) -> bool {
        let kept = self.loss.as_ref().is_none_or(|loss| loss.lost == 0 && loss.load.accepted == loss.load.sent);
        self.load.accepted == self.load.sent && self.receipts.lost == 0 && kept
    }
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), done: Vec::new() }
    }

    /// Ends a step, and says so at once: the page comes only at the end.
    pub(crate) fn done(&mut self, what: &'static str, how: String) {
        let took = self.since.elapsed();
        let _ = writeln!(std::io::stderr(), "{what}: {how} ({:.1} s)", took.as_secs_f64());
        self.done.push((what, how, took));
        self.since = Instant::now();
    }

    pub(crate) fn run(&mut self, what: &'static str, work: impl FnOnce() -> Result<Images>) -> Result<Images> {
        let images = work().context("cannot make the images")?;
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let megabytes = (size(&images.operator) + size(&images.dispatcher)) / 100_000;
        self.done(what, format!("operator and dispatcher, {}.{} MB together", megabytes / 10, megabytes % 10));
        Ok(images)
    }
}

/// Everything between the cluster and the page.
pub(crate) async fn play(
    steps: &mut Steps,
    cluster: &Cluster,
    images: &Images,
    arguments: &Arguments,
) -> Result<Played> {
    let regions: Vec<_> = cluster.regions().into_iter().take(2).collect();
    ensure!(regions.len() == 2, "the cluster has nodes in {} region, and the demo needs two", regions.len());
    let stage = Stage::set(cluster, images).await?;
    steps.done("operator", "2 replicas, installed through the chart".to_owned());

    let scene = Scene::open(&stage, NAMESPACE).await?;
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    steps.done("sinks", format!("one in each region: {}", regions.join(", ")));

    let mut spec = FleetSpec::new(FLEET, &regions, 2, &sinks);
    spec.more = vec![("breaker".to_owned(), loss::breaker_spec())];
    let fleet = Fleet::apply(&scene, &spec).await?;
    let status = fleet.ready().await?;
    let summary = status.summary.context("the status has no summary")?;
    steps.done("fleet", format!("{FLEET}: {} regions, {} shards ready", summary.regions, summary.shards));

    let load = Load::start(&scene, FLEET, arguments.rate, arguments.events).await?;
    let sent = load.finish().await?;
    steps.done("events", format!("{} sent through Service {FLEET}, from a pod, at {}/s", sent.sent, arguments.rate));
    let receipts = sinks.all_arrive(&load.source, arguments.events, Duration::from_mins(1)).await;
    let receipts = match receipts {
        Ok(receipts) => receipts,
        Err(_) => sinks.receipts(&load.source, arguments.events).await?,
    };
    steps.done("delivery", format!("{} arrived at the sinks", receipts.unique));

    let shards = accepted_by_shard(&scene).await?;
    let get = cluster.kubectl(&["get", "ed", "--namespace", NAMESPACE]).await?;
    let conditions = cluster.kubectl(&["get", "ed", FLEET, "--namespace", NAMESPACE, "--output", CONDITIONS]).await?;
    let loss = match cluster.supports_faults() {
        Ok(()) => Some(loss::play(steps, cluster, &scene, &fleet, &sinks).await?),
        Err(_) => None,
    };
    Ok(Played {
        load: sent,
        receipts,
        shards,
        loss,
        shown: vec![
            (format!("kubectl get ed --namespace {NAMESPACE}"), get),
            (format!("kubectl get ed {FLEET} --namespace {NAMESPACE} --output jsonpath=…"), conditions),
        ],
    })
}

/// Each region and each condition on a line of its own.
const CONDITIONS: &str = r#"jsonpath={range .status.regions[*]}region {.name}: {.sharePercent}% of new traffic, {.message}, backlog {.backlog}{"\n"}{end}{range .status.conditions[*]}{.type}={.status} {.reason} {.message}{"\n"}{end}"#;

async fn accepted_by_shard(scene: &Scene) -> Result<Vec<(String, u64)>> {
    let mut shards = Vec::new();
    for pod in scene.pods(&format!("signalbox.dev/fleet={FLEET}")).await? {
        let accepted = scene.figure(&pod.name_any(), "signalbox_dispatcher_accepted_total").await?;
        shards.push((pod.name_any(), accepted));
    }
    Ok(shards)
}

/// Removes what the demo made on a cluster that was there before.
pub(crate) async fn clear(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]).await.map(drop)
}
