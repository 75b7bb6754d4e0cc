//! Shards follow the load: added by what is observed, drained before they go, and left to others where those decide.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use signalbox_e2e::{Fleet, FleetSpec, Load, Scene, SinkSpec, Sinks, eventually};

use crate::theatre::Act;

const LIMIT: Duration = Duration::from_mins(2);

/// Events that make a backlog which one shard could not deliver in time.
const EVENTS: u64 = 3_000;

pub(crate) async fn follows_the_backlog(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[0];
    let sinks = Sinks::start(&scene, "fulfilment", &regions[..1]).await?;
    let fleet = Fleet::apply(&scene, &spec(here, &sinks, "Internal", &json!({"min": 1, "max": 3}))).await?;
    fleet.ready().await?;

    // Each delivery takes a while, so the backlog stays until it is told otherwise.
    sinks.behave(r#"{"delayMs": 500}"#).await?;
    let load = Load::start(&scene, "orders", 1_000, EVENTS).await?;
    fleet
        .status_where("there are more shards", LIMIT, |status| {
            let shards = &status.regions[0].shards;
            ensure!(shards.desired > 1 && shards.ready > 1, "{:?}", status.regions);
            let grown = status.decisions.iter().find(|decision| decision.to > decision.from);
            let grown = grown.with_context(|| format!("no decision tells of it: {:?}", status.decisions))?;
            ensure!(grown.region == *here && grown.reason == "LoadHigher" && !grown.numbers.is_empty(), "{grown:?}");
            Ok(())
        })
        .await?;
    ensure!(load.finish().await?.accepted == EVENTS, "not every event was accepted");

    sinks.behave("{}").await?;
    let receipts = sinks.all_arrive(&load.source, EVENTS, LIMIT).await?;
    ensure!(receipts.lost == 0, "{receipts:?}");
    fleet
        .status_where("what is needed no more has gone", LIMIT, |status| {
            ensure!(status.regions[0].shards.desired == 1, "{:?}", status.regions);
            ensure!(status.decisions.iter().any(|decision| decision.to < decision.from), "{:?}", status.decisions);
            Ok(())
        })
        .await?;
    ensure!(replicas(&scene, here).await? == 1, "the shards stayed");
    Ok(())
}

pub(crate) async fn leaves_it_to_others(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[0];
    let sinks = Sinks::start(&scene, "fulfilment", &regions[..1]).await?;
    let fleet = Fleet::apply(&scene, &spec(here, &sinks, "External", &json!({"min": 1}))).await?;
    fleet.ready().await?;

    scale(&scene, here, 2).await?;
    fleet
        .status_where("both shards are ready", LIMIT, |status| {
            ensure!(status.regions[0].shards.ready == 2, "{:?}", status.regions);
            Ok(())
        })
        .await?;
    sinks.behave(r#"{"delayMs": 500}"#).await?;
    let load = Load::start(&scene, "orders", 500, EVENTS).await?;
    ensure!(load.finish().await?.accepted == EVENTS, "not every event was accepted");
    ensure!(replicas(&scene, here).await? == 2, "replicas were written, though they are somebody else's");

    // Whoever scales down takes a shard away: it hands over what it holds before it ends.
    scale(&scene, here, 1).await?;
    eventually("the second shard is gone", LIMIT, async || {
        let pods = scene.pods("signalbox.dev/fleet=orders").await?;
        Ok((pods.len() == 1).then_some(()))
    })
    .await?;
    ensure!(replicas(&scene, here).await? == 1, "replicas were written, though they are somebody else's");
    sinks.behave("{}").await?;
    sinks.all_arrive(&load.source, EVENTS, LIMIT).await.map(drop)
}

fn spec(region: &str, sinks: &Sinks, mode: &str, shards: &Value) -> FleetSpec {
    let mut spec = FleetSpec::new("orders", &[region.to_owned()], 1, sinks);
    spec.sinks = vec![SinkSpec::new("fulfilment", sinks.uri()).with("maxConcurrency", json!(8))];
    spec.more = vec![
        ("regions".to_owned(), json!([{"name": region, "weight": 1, "shards": shards}])),
        ("autoscaling".to_owned(), json!({"mode": mode, "targetDrainTime": "10s", "scaleDownStabilization": "5s"})),
    ];
    spec
}

async fn scale(scene: &Scene, region: &str, replicas: u32) -> Result<()> {
    let patch = json!({"spec": {"replicas": replicas}});
    let api = scene.api::<StatefulSet>();
    api.patch_scale(&format!("orders-{region}"), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

async fn replicas(scene: &Scene, region: &str) -> Result<i32> {
    let set = scene.api::<StatefulSet>().get(&format!("orders-{region}")).await?;
    set.spec.and_then(|spec| spec.replicas).context("the StatefulSet has no replicas")
}
