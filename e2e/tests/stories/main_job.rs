//! The whole of it: apply, wait, send, kill a shard, change the spec, delete.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::ListParams;
use signalbox_e2e::{Fleet, FleetSpec, Load, SinkSpec, Sinks, eventually, restarts};

use crate::theatre::Act;

const OF_FLEET: &str = "signalbox.dev/fleet=orders";
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    let mut spec = FleetSpec::new("orders", &regions, 2, &sinks);
    let fleet = Fleet::apply(&scene, &spec).await?;
    let status = fleet.ready().await?;
    ensure!(status.regions.iter().all(|region| region.share_percent == 50), "{:?}", status.regions);

    // Events through the Service, and a shard killed while they come.
    let load = Load::start(&scene, "orders", 200, 2_000).await?;
    load.sends().await?;
    if cluster.supports_faults().is_ok() {
        let victim = format!("orders-{}-0", regions[0]);
        eventually("the shard to be killed holds events", LIMIT, async || {
            let tally = sinks.tally(&regions[0]).await?;
            Ok((tally.received > 100).then_some(()))
        })
        .await?;
        cluster.kill(&scene.namespace, &victim, "dispatcher").await?;
        eventually("the killed shard is started again", LIMIT, async || {
            let pods = scene.pods(OF_FLEET).await?;
            let restarted = pods.iter().any(|pod| pod.name_any() == victim && restarts(pod) > 0);
            Ok(restarted.then_some(()))
        })
        .await?;
    }
    let sent = load.finish().await?;
    ensure!(sent.accepted == 2_000, "not every event was accepted: {sent:?}");
    sinks.all_arrive(&load.source, 2_000, LIMIT).await?;

    // Another sink, another shard: the fleet follows.
    let audit = Sinks::start(&scene, "audit", &regions).await?;
    spec.sinks.push(SinkSpec::new("audit", audit.uri()));
    spec.regions[1].2 = 3;
    Fleet::apply(&scene, &spec).await?;
    let status = fleet.ready().await?;
    ensure!(status.summary.clone().is_some_and(|summary| summary.shards == "5/5"), "{:?}", status.summary);
    let load = Load::start(&scene, "orders", 200, 600).await?;
    ensure!(load.finish().await?.accepted == 600, "not every event was accepted");
    for sinks in [&sinks, &audit] {
        sinks.all_arrive(&load.source, 600, LIMIT).await?;
    }

    // Deleted: nothing is left but the volumes.
    let claims = scene.names::<PersistentVolumeClaim>(OF_FLEET).await?;
    ensure!(claims.len() == 5, "{claims:?}");
    fleet.delete().await?;
    eventually("nothing is left but the volumes", LIMIT, async || {
        let mut left = scene.names::<StatefulSet>(OF_FLEET).await?;
        left.extend(scene.names::<Pod>(OF_FLEET).await?);
        left.extend(scene.names::<Service>(OF_FLEET).await?);
        left.extend(scene.names::<ConfigMap>(OF_FLEET).await?);
        left.extend(scene.names::<EndpointSlice>(OF_FLEET).await?);
        left.extend(scene.names::<PodDisruptionBudget>(OF_FLEET).await?);
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await?;
    eventually("what is kept is told", LIMIT, async || {
        let events = scene.api::<Event>().list(&ListParams::default()).await?;
        let told = events.iter().find(|event| event.reason.as_deref() == Some("VolumesKept"));
        Ok(told.and_then(|event| event.note.clone()).filter(|note| claims.iter().all(|claim| note.contains(claim))))
    })
    .await?;
    let kept: BTreeSet<_> = scene.names::<PersistentVolumeClaim>(OF_FLEET).await?.into_iter().collect();
    ensure!(kept == claims.into_iter().collect(), "{kept:?}");
    Ok(())
}
