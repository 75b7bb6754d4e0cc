//! The operator comes and goes without anybody noticing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt as _};
use signalbox_e2e::{Fleet, FleetSpec, NAMESPACE, Scene, Sinks, Stage, eventually, restarts, writes};

use crate::theatre::Act;

const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn new_leader(act: Act) -> Result<()> {
    undisturbed(act, async |stage| {
        let leader = stage.leader().await?;
        operators(&stage.client).delete(&leader, &DeleteParams::default()).await?;
        another_leads(stage, &leader).await
    })
    .await
}

pub(crate) async fn restart(act: Act) -> Result<()> {
    undisturbed(act, async |stage| {
        let leader = stage.leader().await?;
        kill_operators(&stage.client).await?;
        another_leads(stage, &leader).await
    })
    .await
}

/// Kills all replicas of the operator at once, without a chance to give the Lease up.
pub(crate) async fn kill_operators(client: &Client) -> Result<()> {
    let operators = operators(client);
    for pod in operators.list(&ListParams::default().labels("app.kubernetes.io/component=operator")).await? {
        operators.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    }
    Ok(())
}

/// Plays `disturb` on a settled fleet, and looks at what the operator asked and at the pods.
async fn undisturbed(act: Act, disturb: impl AsyncFnOnce(&Stage) -> Result<()>) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let log = cluster.audit_log().context("this cluster keeps no audit log that can be read")?;
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    let fleet = Fleet::apply(&scene, &FleetSpec::new("orders", &regions, 2, &sinks)).await?;
    fleet.known().await?;
    let before = pods(&scene).await?;

    let since = writes::Since::now(log)?;
    disturb(&scene.stage).await?;
    // A new leader has looked at everything once it watches shards and they had time to answer.
    eventually("the new leader watches", LIMIT, async || {
        let watches = since.requests()?.iter().filter(|request| request.verb == "list").count();
        Ok((watches >= 8).then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(10)).await;

    let written: Vec<_> = since.requests()?.into_iter().filter(writes::Request::is_write).collect();
    let (leases, others): (Vec<_>, Vec<_>) =
        written.into_iter().partition(|request| request.object.contains("leases/"));
    ensure!(!leases.is_empty(), "the audit log shows no write of the Lease, so it would not show others");
    ensure!(others.is_empty(), "{others:#?}");
    ensure!(pods(&scene).await? == before, "pods were restarted");
    Ok(())
}

fn operators(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), NAMESPACE)
}

async fn another_leads(stage: &Stage, before: &str) -> Result<()> {
    eventually("another replica leads", LIMIT, async || Ok((stage.leader().await? != before).then_some(()))).await
}

/// The uid and the restarts of each shard.
async fn pods(scene: &Scene) -> Result<Vec<(Option<String>, i32)>> {
    let pods = scene.pods("signalbox.dev/fleet=orders").await?;
    Ok(pods.iter().map(|pod| (pod.uid(), restarts(pod))).collect())
}
