//! Sinks that do not resolve, refuse, or never answer: named, tried again, and no concern of others.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use signalbox_e2e::{Fleet, FleetSpec, SinkSpec, Sinks, every_region_accepts};

use crate::theatre::Act;

const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let well = Sinks::start(&scene, "well", &regions).await?;
    let mute = Sinks::start(&scene, "mute", &regions).await?;
    mute.behave(r#"{"hang": true}"#).await?;
    let namespace = &scene.namespace;
    let mut spec = FleetSpec::new("orders", &regions, 1, &well);
    spec.sinks.extend([
        SinkSpec::new("nowhere", format!("http://nowhere.{namespace}.svc:8080/")),
        // A port on which nobody listens, of a Service whose pods are there.
        SinkSpec::new("refusing", format!("http://orders-{{region}}-shards.{namespace}.svc:9/")),
        SinkSpec::new("mute", mute.uri()),
    ]);
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;

    let loads = every_region_accepts(&scene, "orders", &regions, 250).await?;
    for load in &loads {
        well.all_arrive(&load.source, 250, LIMIT).await?;
    }

    let status = fleet
        .status_where("all three are named", LIMIT, |status| {
            for (sink, word) in [("nowhere", "resolve"), ("refusing", "refused"), ("mute", "within 1s")] {
                let told = status.sinks.iter().find(|told| told.name == sink).context("a sink is missing")?;
                let said = told.last_failure.clone().unwrap_or_default();
                ensure!(said.contains(word) && told.failing == "2/2", "{told:?}");
                ensure!(told.backlog == "500", "{told:?}");
            }
            Ok(())
        })
        .await?;
    ensure!(status.sinks[0].failing == "0/2" && status.sinks[0].backlog == "0", "{:?}", status.sinks[0]);
    fleet.says("SinksHealthy", "False", "SinkFailing", &["2 of 2 shards fail"]).await?;
    fleet.says("Ready", "True", "AllRegionsServing", &[]).await?;

    // The one that can be well again is, and has missed nothing.
    mute.behave("{}").await?;
    for load in &loads {
        mute.all_arrive(&load.source, 250, LIMIT).await?;
    }
    Ok(())
}
