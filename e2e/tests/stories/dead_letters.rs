//! Events that a sink refuses for good: given up on, told, and replayed once the sink is mended.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use signalbox_e2e::{Fleet, FleetSpec, Load, SinkSpec, Sinks, eventually};

use crate::theatre::Act;

const LIMIT: Duration = Duration::from_secs(30);

/// Events of each of the hundred keys.
const ROUNDS: u64 = 3;
const EVENTS: u64 = 100 * ROUNDS;

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let here = &regions[..1];
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    sinks.behave(r#"{"failRatio": 1.0, "status": 400, "match": {"key": "key-7"}}"#).await?;
    let mut spec = FleetSpec::new("orders", here, 1, &sinks);
    let retry = json!({"maxAttempts": 2, "initialBackoff": "50ms", "maxBackoff": "1s"});
    spec.sinks = vec![SinkSpec::new("fulfilment", sinks.uri()).with("retry", retry)];
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;

    let load = Load::start(&scene, "orders", 100, EVENTS).await?;
    ensure!(load.finish().await?.accepted == EVENTS, "not every event was accepted");
    eventually("all but the refused arrive", LIMIT, async || {
        let receipts = sinks.receipts(&load.source, EVENTS).await?;
        ensure!(receipts.lost == ROUNDS, "{receipts:?}");
        Ok(Some(()))
    })
    .await?;
    fleet
        .status_where("what was given up is counted, and waits no more", LIMIT, |status| {
            let told = &status.sinks[0];
            ensure!(told.dead_letters == Some(ROUNDS.to_string()) && told.backlog == "0", "{told:?}");
            ensure!(told.phase == "Serving", "one key is no fault of the sink: {told:?}");
            Ok(())
        })
        .await?;
    fleet
        .says("SinksHealthy", "False", "DeadLetters", &["sink fulfilment: dead letters: 3", "dead-letters list"])
        .await?;
    fleet.says("Ready", "True", "AllRegionsServing", &[]).await?;

    sinks.behave("{}").await?;
    // As the status says: within the pod, where no keys are needed.
    let (namespace, pod) = (&scene.namespace, format!("orders-{}-0", here[0]));
    let exec = ["exec", "--namespace", namespace, &pod, "--", "/dispatcher", "dead-letters", "replay"];
    cluster.kubectl(&[exec.as_slice(), &["--sink", "fulfilment"]].concat()).await?;
    sinks.all_arrive(&load.source, EVENTS, LIMIT).await?;
    fleet
        .status_where("there are none left", LIMIT, |status| {
            ensure!(status.sinks[0].dead_letters.is_none(), "{:?}", status.sinks[0]);
            Ok(())
        })
        .await?;
    fleet.says("SinksHealthy", "True", "AllSinksAnswer", &[]).await.map(drop)
}
