//! Fewer shards, fewer regions: what goes hands over or delivers first.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt as _;
use signalbox_e2e::{Fleet, FleetSpec, Load, Scene, Sinks, eventually};

use crate::theatre::Act;

const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn fewer_shards(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[..1];
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    let mut spec = FleetSpec::new("orders", here, 2, &sinks);
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;
    let load = backlog(&scene, &sinks, &here[0], 1).await?;

    // The sink refuses everything, and the shard goes all the same: the other one has what it held.
    spec.regions[0].2 = 1;
    Fleet::apply(&scene, &spec).await?;
    fleet
        .status_where("there is one shard", LIMIT, |status| {
            ensure!(status.regions[0].shards.desired == 1, "{:?}", status.regions);
            Ok(())
        })
        .await?;
    eventually("the other shard is gone", LIMIT, async || Ok((replicas(&scene, &here[0]).await? == 1).then_some(())))
        .await?;
    let held = scene.figure(&format!("orders-{}-0", here[0]), "signalbox_dispatcher_backlog_events").await?;
    ensure!(held == EVENTS, "the shard that stays holds {held} of {EVENTS} events");

    sinks.behave("{}").await?;
    sinks.all_arrive(&load.source, EVENTS, LIMIT).await?;
    ensure!(sinks.tally(&here[0]).await?.out_of_order == 0, "out of order: {:?}", sinks.tally(&here[0]).await?);
    fleet.ready().await.map(drop)
}

pub(crate) async fn fewer_regions(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    let mut spec = FleetSpec::new("orders", &regions, 1, &sinks);
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;
    let load = backlog(&scene, &sinks, &regions[1], 0).await?;

    let leaving = spec.regions.remove(1).0;
    Fleet::apply(&scene, &spec).await?;
    let status = fleet
        .status_where("the region is leaving", LIMIT, |status| {
            let region = status.regions.iter().find(|region| region.name == leaving).context("it is gone")?;
            ensure!(region.reason == "Leaving" && region.share_percent == 0, "{region:?}");
            Ok(())
        })
        .await?;
    ensure!(status.regions[0].share_percent == 100, "{:?}", status.regions);
    ensure!(replicas(&scene, &leaving).await? == 1, "the region went with events on it");

    sinks.behave("{}").await?;
    fleet
        .status_where("the region is gone", LIMIT, |status| {
            ensure!(status.regions.len() == 1, "{:?}", status.regions);
            Ok(())
        })
        .await?;
    sinks.all_arrive(&load.source, EVENTS, LIMIT).await?;
    let sets = scene.names::<StatefulSet>("signalbox.dev/fleet=orders").await?;
    ensure!(sets == [format!("orders-{}", regions[0])], "{sets:?}");
    Ok(())
}

/// Events that are sent while the sinks refuse them.
const EVENTS: u64 = 100;

/// Makes sinks refuse, and sends events to one shard, which holds those of its slots then. To that shard by name: which of several a
/// Service chooses is chance, and a node may hear of a new endpoint later than the operator does.
async fn backlog(scene: &Scene, sinks: &Sinks, region: &str, shard: u32) -> Result<Load> {
    sinks.behave(r#"{"status": 503, "failRatio": 1}"#).await?;
    let pod = format!("orders-{region}-{shard}");
    let load = Load::start(scene, &format!("{pod}.orders-{region}-shards"), 100, EVENTS).await?;
    ensure!(load.finish().await?.accepted == EVENTS, "not every event was accepted");
    let held = scene.figure(&pod, "signalbox_dispatcher_backlog_events").await?;
    ensure!(held > 0, "the shard holds none of the events that were sent to it");
    Ok(load)
}

async fn replicas(scene: &Scene, region: &str) -> Result<i32> {
    let set = scene.api::<StatefulSet>().get(&format!("orders-{region}")).await?;
    set.spec.as_ref().and_then(|spec| spec.replicas).with_context(|| set.name_any())
}
