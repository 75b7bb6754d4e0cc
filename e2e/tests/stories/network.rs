//! A region leaves the network and comes back: late, never lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use signalbox_e2e::{Fleet, FleetSpec, Sinks, every_region_accepts};

use crate::theatre::Act;

/// Reports stand for ten seconds, and the region comes back step by step.
const LIMIT: Duration = Duration::from_mins(3);

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    cluster.supports_faults().map_err(anyhow::Error::msg)?;
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    let mut spec = FleetSpec::new("orders", &regions, 1, &sinks);
    spec.more = vec![("breaker".to_owned(), crate::regions::quick())];
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;

    // Events wait in both regions for sinks that refuse them, when one region is cut off.
    sinks.behave(r#"{"status": 503, "failRatio": 1}"#).await?;
    let loads = every_region_accepts(&scene, "orders", &regions, 150).await?;
    cluster.cut_off(&regions[1]).await?;
    let played = async {
        // By an operator that stays, the last report stands for a while; one that takes over never had any.
        fleet
            .status_where("the region gets nothing, and nobody knows what waits there", LIMIT, |status| {
                let told: Vec<_> = status.regions.iter().map(|it| (it.share_percent, it.backlog.as_str())).collect();
                ensure!(told[0].0 == 100 && told[1] == (0, "unknown"), "{told:?}");
                Ok(())
            })
            .await
            .map(drop)
    };
    let played = played.await;
    cluster.bring_back(&regions[1]).await?;
    played?;

    fleet.ready().await?;
    sinks.behave("{}").await?;
    for load in &loads {
        sinks.all_arrive(&load.source, 150, LIMIT).await?;
    }
    Ok(())
}
