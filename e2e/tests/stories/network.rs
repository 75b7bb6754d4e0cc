//! A region leaves the network and comes back: late, never lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use signalbox_e2e::{Fleet, FleetSpec, Load, Sinks};

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
    let load = Load::start(&scene, "orders", 100, 300).await?;
    ensure!(load.finish().await?.accepted == 300, "not every event was accepted");
    cluster.cut_off(&regions[1]).await?;
    let played = async {
        let status = fleet
            .status_where("the region is out of the Service", LIMIT, |status| {
                let share = status.regions.iter().map(|region| region.share_percent).collect::<Vec<_>>();
                ensure!(share == [100, 0], "{share:?}");
                Ok(())
            })
            .await?;
        ensure!(
            status.regions[1].backlog == "unknown",
            "what is not known was taken for known: {:?}",
            status.regions[1]
        );
        Ok(())
    };
    let played = played.await;
    cluster.bring_back(&regions[1]).await?;
    played?;

    fleet.ready().await?;
    sinks.behave("{}").await?;
    sinks.all_arrive(&load.source, 300, LIMIT).await.map(drop)
}
