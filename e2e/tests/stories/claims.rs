//! Slots change hands while events come: nothing is lost or out of order, and nobody is turned away.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use signalbox::api::EventDispatcherStatus;
use signalbox_e2e::{Fleet, FleetSpec, Latency, Load, LoadResult, Scene, Sinks, eventually, known_everywhere};

use crate::operator::kill_operators;
use crate::theatre::Act;

const LIMIT: Duration = Duration::from_mins(3);

/// Events a second, unless `SIGNALBOX_STORY_RATE` says otherwise: little, because all the other stories share the machine.
const RATE: u64 = 200;

pub(crate) async fn scales_under_load(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[..1];
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    let mut spec = FleetSpec::new("orders", here, 2, &sinks);
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;
    known_everywhere(&scene, "orders").await?;
    let events = 90 * rate()?;
    let load = Load::start(&scene, "orders", rate()?, events).await?;
    load.sends().await?;

    for shards in [8, 2] {
        spec.regions[0].2 = shards;
        Fleet::apply(&scene, &spec).await?;
        fleet.status_where(&format!("{shards} shards own the slots"), LIMIT, |status| owned_by(status, shards)).await?;
        eventually(&format!("there are {shards} shards"), LIMIT, async || {
            Ok((scene.pods("signalbox.dev/fleet=orders").await?.len() == shards as usize).then_some(()))
        })
        .await?;
    }
    nobody_noticed(&load, events, &sinks, &here[0]).await
}

/// The operator dies as soon as it has begun to change the owners, each time; so does a shard, once.
pub(crate) async fn killed_in_the_middle(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let here = &regions[..1];
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    let mut spec = FleetSpec::new("orders", here, 2, &sinks);
    let fleet = Fleet::apply(&scene, &spec).await?;
    let mut epoch = epoch_of(&fleet.ready().await?)?;
    let events = 60 * rate()?;
    let load = Load::start(&scene, "orders", rate()?, events).await?;
    load.sends().await?;

    for shards in [4, 2] {
        spec.regions[0].2 = shards;
        Fleet::apply(&scene, &spec).await?;
        let begun = fleet
            .status_where("the owners begin to change", LIMIT, |status| {
                ensure!(epoch_of(status)? > epoch, "{:?}", status.regions[0].routing);
                Ok(())
            })
            .await?;
        epoch = epoch_of(&begun)?;
        kill_operators(&scene.stage.client).await?;
        if shards == 2 && cluster.supports_faults().is_ok() {
            cluster.kill(&scene.namespace, &format!("orders-{}-1", here[0]), "dispatcher").await?;
        }
        fleet.status_where(&format!("{shards} shards own the slots"), LIMIT, |status| owned_by(status, shards)).await?;
    }
    all_arrived(&load, events, &sinks, &here[0]).await?;
    fleet.ready().await.map(drop)
}

pub(crate) async fn restarts_under_load(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[..1];
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    let fleet = Fleet::apply(&scene, &FleetSpec::new("orders", here, 3, &sinks)).await?;
    fleet.ready().await?;
    known_everywhere(&scene, "orders").await?;
    let events = 60 * rate()?;
    let load = Load::start(&scene, "orders", rate()?, events).await?;
    load.sends().await?;

    // As `kubectl rollout restart` does it.
    let api = scene.api::<StatefulSet>();
    let name = format!("orders-{}", here[0]);
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&restart)).await?;
    eventually("every shard was restarted", LIMIT, async || rolled_out(&scene, &name).await).await?;
    nobody_noticed(&load, events, &sinks, &here[0]).await?;
    fleet.ready().await.map(drop)
}

fn epoch_of(status: &EventDispatcherStatus) -> Result<i64> {
    Ok(status.regions[0].routing.as_ref().context("the region has no routing table")?.epoch)
}

fn rate() -> Result<u64> {
    match std::env::var("SIGNALBOX_STORY_RATE") {
        Ok(rate) => rate.parse().context("SIGNALBOX_STORY_RATE is no number of events a second"),
        Err(_) => Ok(RATE),
    }
}

/// The region's slots are owned by so many shards, and each is delivered by its owner.
fn owned_by(status: &EventDispatcherStatus, shards: u32) -> Result<()> {
    let region = &status.regions[0];
    let routing = region.routing.as_ref().context("the region has no routing table")?;
    ensure!(routing.shards == i32::try_from(shards)? && routing.claiming == 0, "{routing:?}, {}", region.message);
    Ok(())
}

async fn rolled_out(scene: &Scene, name: &str) -> Result<Option<()>> {
    let set = scene.api::<StatefulSet>().get(name).await?;
    let status = set.status.context("the StatefulSet has no status")?;
    let current = status.observed_generation == set.metadata.generation
        && status.current_revision == status.update_revision
        && status.ready_replicas == Some(status.replicas);
    Ok(current.then_some(()))
}

/// Every event was accepted at the first try, and has arrived, in the order of its key.
async fn nobody_noticed(load: &Load, events: u64, sinks: &Sinks, region: &str) -> Result<()> {
    let sent = all_arrived(load, events, sinks, region).await?;
    ensure!(
        sent.retries == 0 && sent.errors.is_empty() && sent.rejected.is_empty(),
        "somebody was turned away: {sent:?}"
    );
    Ok(())
}

/// Every event was accepted, and has arrived, in the order of its key.
async fn all_arrived(load: &Load, events: u64, sinks: &Sinks, region: &str) -> Result<LoadResult> {
    let sent = load.finish().await?;
    ensure!(sent.accepted == events, "not every event was accepted: {sent:?}");
    sinks.all_arrive(&load.source, events, LIMIT).await?;
    let tally = sinks.tally(region).await?;
    ensure!(tally.out_of_order == 0, "out of order: {tally:?}");
    let (Latency { p50, p99, max, .. }, twice) = (&sent.latency_ms, tally.duplicates);
    let _ =
        writeln!(std::io::stderr(), "{events} events: p50 {p50} ms, p99 {p99} ms, max {max} ms; {twice} arrived twice");
    Ok(sent)
}
