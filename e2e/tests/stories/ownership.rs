//! The operator keeps its own objects as they should be, and touches no others.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use signalbox_e2e::{Fleet, FleetSpec, Sinks, eventually};

use crate::theatre::Act;

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[..1];
    scene.apply("apiVersion: v1\nkind: Service\nmetadata: {name: orders}\nspec: {ports: [{port: 5432}]}\n").await?;
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    let fleet = Fleet::apply(&scene, &FleetSpec::new("orders", here, 1, &sinks)).await?;
    let words = ["Service orders", "belongs to nobody", "delete it, or give the EventDispatcher"];
    fleet.says("Stalled", "True", "ApplyRefused", &words).await?;
    fleet.says("Ready", "False", "ApplyRefused", &words).await?;
    let theirs = scene.api::<Service>().get("orders").await?;
    let ports = theirs.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).map(|port| port.port);
    ensure!(ports.collect::<Vec<_>>() == [5432] && theirs.owner_references().is_empty(), "{theirs:?}");

    // Out of the way, it is made.
    scene.api::<Service>().delete("orders", &DeleteParams::default()).await?;
    fleet.ready().await.map(drop)
}

pub(crate) async fn drift(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[..1];
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    let fleet = Fleet::apply(&scene, &FleetSpec::new("orders", here, 1, &sinks)).await?;
    fleet.ready().await?;

    let services = scene.api::<Service>();
    let stray = serde_json::json!({"spec": {"selector": {"somebody": "else"}}});
    let by_hand = PatchParams { field_manager: Some("hand".to_owned()), ..PatchParams::default() };
    services
        .patch(
            "orders-any",
            &by_hand,
            &Patch::Merge(&serde_json::json!({"spec": {"selector": {"signalbox.dev/fleet": "x"}}})),
        )
        .await?;
    services.patch("orders", &by_hand, &Patch::Merge(&stray)).await?;
    let budgets = scene.api::<PodDisruptionBudget>();
    let budget = format!("orders-{}", here[0]);
    budgets.delete(&budget, &DeleteParams::default()).await?;

    eventually("what was changed or deleted by hand is put right", LIMIT, async || {
        let selector = services.get("orders-any").await?.spec.and_then(|spec| spec.selector);
        let ours = BTreeMap::from([("signalbox.dev/fleet".to_owned(), "orders".to_owned())]);
        ensure!(selector == Some(ours), "{selector:?}");
        budgets.get(&budget).await?;
        Ok(Some(()))
    })
    .await?;
    fleet.ready().await.map(drop)
}
