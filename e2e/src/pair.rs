//! A fleet in two regions, of which one is going to fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use signalbox_cluster::{Cluster, Fault, Injected, Tap};
use signalbox_contract::EVENTS_PORT;

use crate::{Fleet, FleetSpec, Load, LoadResult, LoadSpec, Scene, SinkSpec, Sinks, eventually, known_everywhere};

/// How long a producer waits for an answer before it tries once more, as many clients do by default.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Nothing new for so long, and nothing more is expected.
const QUIET: Duration = Duration::from_secs(5);

/// A fleet in two regions.
pub struct Pair {
    /// Where it is.
    pub scene: Scene,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// A sink in each region.
    pub sinks: Sinks,
    /// The fleet.
    pub fleet: Fleet,
    /// The region that stays, with the leader in it.
    pub stays: String,
    /// The one that fails.
    pub fails: String,
}

impl Pair {
    /// A fleet that is ready, with so many shards in each region, with this `spec.breaker`, and whose sink has this long to
    /// answer.
    pub async fn start(
        scene: Scene,
        cluster: Arc<Cluster>,
        shards: u32,
        breaker: Value,
        timeout: &str,
    ) -> Result<Self> {
        let stays = scene.stage.leader_region(&cluster).await?;
        let fails = cluster.regions().into_iter().find(|region| *region != stays);
        let fails = fails.context("the cluster has one region only")?;
        let regions = [stays.clone(), fails.clone()];
        let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
        let mut spec = FleetSpec::new("orders", &regions, shards, &sinks);
        spec.sinks = vec![SinkSpec::new("fulfilment", sinks.uri()).with("timeout", timeout.into())];
        spec.more = vec![("breaker".to_owned(), breaker)];
        let fleet = Fleet::apply(&scene, &spec).await?;
        fleet.ready().await?;
        known_everywhere(&scene, "orders").await?;
        Ok(Self { scene, cluster, sinks, fleet, stays, fails })
    }

    /// Sends from the region that stays, as producers do that try once more after 5 s.
    pub async fn load(&self, rate: u64, seconds: u64) -> Result<Load> {
        let spec = LoadSpec::new("orders", rate, rate * seconds).from_region(&self.stays).trying(PATIENCE, 1);
        let load = Load::start_with(&self.scene, &spec.of_many()).await?;
        load.sends().await?;
        Ok(load)
    }

    /// Counts the connections that the load begins to the region that fails, once there are some.
    pub async fn tap(&self, load: &Load) -> Result<Tap> {
        let tap = self.cluster.tap(&self.scene.namespace, load.pod(), &self.fails, EVENTS_PORT).await?;
        let begun = async || Ok((tap.connections()? > 0).then_some(()));
        eventually("the region gets traffic", Duration::from_secs(30), begun).await?;
        Ok(tap)
    }

    /// Takes the region that fails off the network.
    pub async fn cut(&self) -> Result<Injected> {
        self.cluster.inject(Fault::CutOff { region: &self.fails }).await
    }

    /// What was sent is with the sinks, but for what was never accepted. What became of it.
    pub async fn all_arrive(&self, load: &Load, limit: Duration) -> Result<LoadResult> {
        accepted_arrives(&self.sinks, load, limit).await
    }
}

/// What was sent is with the sinks, but for what was never accepted. What became of it.
pub async fn accepted_arrives(sinks: &Sinks, load: &Load, limit: Duration) -> Result<LoadResult> {
    let sent = load.finish().await?;
    let refused = sent.sent - sent.accepted;
    eventually("what was accepted arrives", limit, async || {
        let receipts = sinks.receipts(&load.source, sent.sent).await?;
        ensure!(receipts.lost <= refused, "{} are missing, {:?} among them", receipts.lost, receipts.missing);
        Ok(Some(()))
    })
    .await?;
    Ok(sent)
}

/// How long after `begin` the last new connection was begun: known when there was none for five seconds.
pub async fn last_connection(tap: &Tap, begin: Instant, limit: Duration) -> Result<Duration> {
    const LOOK: Duration = Duration::from_millis(20);
    let (mut seen, mut last) = (tap.connections()?, begin);
    while last.elapsed() < QUIET {
        ensure!(begin.elapsed() < limit, "new traffic is still sent there after {limit:?}");
        tokio::time::sleep(LOOK).await;
        let now = tap.connections()?;
        if now > seen {
            (seen, last) = (now, Instant::now());
        }
    }
    Ok(last - begin)
}
