//! The faults themselves: each can be seen while it lasts, and not any more when it is over.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use signalbox_cluster::Fault;
use signalbox_e2e::{Load, LoadSpec, Scene, Sinks, eventually};

use crate::theatre::Act;

/// What takes longer is not answered.
const PATIENCE: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    cluster.supports_faults().map_err(anyhow::Error::msg)?;
    let (near, far) = (&regions[0], &regions[1]);
    let sinks = Sinks::start(&scene, "seen", &regions).await?;
    let pod = scene.pods(&format!("sink=seen-{far}")).await?.remove(0);
    let (name, node) = (pod.name_any(), pod.spec.and_then(|spec| spec.node_name).unwrap_or_default());

    let faults = [
        Fault::CutOff { region: far },
        Fault::NodeGone { node: &node },
        Fault::Mute { region: far },
        Fault::Deaf { region: far },
        Fault::Lossy { region: far, percent: 99 },
        Fault::Stopped { namespace: &scene.namespace, pod: &name, container: "sink" },
    ];
    for fault in faults {
        let injected = cluster.inject(fault).await?;
        let (here, there) = tokio::join!(answers(&sinks, near), answers(&sinks, far));
        let took = injected.took();
        injected.mend().await?;
        ensure!(here && !there, "{fault:?}: {near} answers: {here}; {far} answers: {there}");
        // Two nodes and a packet filter; on kind each is a command in a container.
        ensure!(took < Duration::from_secs(2), "{fault:?} took {took:?} to be there");
        eventually(&format!("{far} answers after {fault:?}"), LIMIT, async || {
            Ok(answers(&sinks, far).await.then_some(()))
        })
        .await?;
    }

    let injected = cluster.inject(Fault::ApiServerStopped).await?;
    let version = tokio::time::timeout(PATIENCE, scene.stage.client.apiserver_version()).await;
    injected.mend().await?;
    ensure!(version.is_err(), "a stopped API server answered: {version:?}");
    scene.stage.client.apiserver_version().await?;

    connections(&scene, &cluster, near, far).await
}

async fn answers(sinks: &Sinks, region: &str) -> bool {
    matches!(tokio::time::timeout(PATIENCE, sinks.tally(region)).await, Ok(Ok(_)))
}

/// A tap counts the connections to a region, and not those to another.
async fn connections(scene: &Scene, cluster: &signalbox_cluster::Cluster, near: &str, far: &str) -> Result<()> {
    // Each connection sends 20 events.
    let load = Load::start_with(scene, &LoadSpec::new(&format!("seen-{far}"), 400, 4_000).from_region(near)).await?;
    load.sends().await?;
    let there = cluster.tap(&scene.namespace, load.pod(), far, 8080).await?;
    let here = cluster.tap(&scene.namespace, load.pod(), near, 8080).await?;
    load.finish().await?;
    let (here, there) = (here.connections()?, there.connections()?);
    ensure!(here == 0 && (50..=240).contains(&there), "{here} connections to {near}, {there} to {far}");
    Ok(())
}
