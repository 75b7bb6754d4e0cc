//! The faults themselves: each can be seen while it lasts, and not any more when it is over.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use signalbox_cluster::{Cluster, Fault};
use signalbox_e2e::{Load, LoadSpec, Scene, Sinks, eventually};

use crate::regions::note;
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

    slow(&cluster, &sinks, far).await?;
    no_name_server(&scene, &cluster, far).await?;

    let injected = cluster.inject(Fault::ApiServerStopped).await?;
    let version = tokio::time::timeout(PATIENCE, scene.stage.client.apiserver_version()).await;
    injected.mend().await?;
    ensure!(version.is_err(), "a stopped API server answered: {version:?}");
    scene.stage.client.apiserver_version().await?;

    connections(&scene, &cluster, near, far).await
}

/// There and back takes what it takes, and twice the delay more while it lasts.
async fn slow(cluster: &Cluster, sinks: &Sinks, region: &str) -> Result<()> {
    const DELAY: Duration = Duration::from_millis(100);
    let before = round_trip(sinks, region).await?;
    let injected = cluster.inject(Fault::Slow { region, delay: DELAY }).await?;
    let during = round_trip(sinks, region).await;
    injected.mend().await?;
    let (during, after) = (during?, round_trip(sinks, region).await?);
    note(&format!("there and back: {before:?}, through a slow network {during:?}, then {after:?}"));
    ensure!(during >= DELAY * 2, "there and back took {before:?}, then {during:?}");
    ensure!(before < DELAY && after < DELAY, "there and back took {before:?}, and afterwards {after:?}");
    Ok(())
}

/// The shortest of several: what else goes on here must not count.
async fn round_trip(sinks: &Sinks, region: &str) -> Result<Duration> {
    let mut shortest = PATIENCE;
    for _ in 0..5 {
        let begin = Instant::now();
        sinks.tally(region).await?;
        shortest = shortest.min(begin.elapsed());
    }
    Ok(shortest)
}

/// Who comes anew finds nothing by its name until it is over.
async fn no_name_server(scene: &Scene, cluster: &Cluster, region: &str) -> Result<()> {
    let spec = LoadSpec::new(&format!("seen-{region}"), 10, 10).trying(Duration::from_secs(1), 0);
    let load = async || Load::start_with(scene, &spec).await?.finish().await;
    let injected = cluster.inject(Fault::NameServersStopped).await?;
    let during = load().await;
    injected.mend().await?;
    let errors = during?.errors;
    ensure!(
        errors.len() == 1 && errors.get("timeout in lookup") == Some(&spec.count),
        "without a name server {} were sent, and came to this: {errors:?}",
        spec.count
    );
    eventually("names are found again", LIMIT, async || Ok(load().await?.errors.is_empty().then_some(()))).await
}

async fn answers(sinks: &Sinks, region: &str) -> bool {
    matches!(tokio::time::timeout(PATIENCE, sinks.tally(region)).await, Ok(Ok(_)))
}

/// A tap counts the connections to a region, and not those to another.
async fn connections(scene: &Scene, cluster: &Cluster, near: &str, far: &str) -> Result<()> {
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
