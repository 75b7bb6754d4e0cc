//! What keeps a fleet from starting is said in `Ready`, with the object to look at.

use anyhow::Result;
use serde_json::json;
use signalbox_e2e::{Fleet, FleetSpec, Scene, Sinks};

use crate::theatre::Act;

pub(crate) async fn image(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let sinks = Sinks::start(&scene, "fulfilment", &regions[..1]).await?;
    let mut spec = FleetSpec::new("orders", &regions[..1], 2, &sinks);
    let good = spec.clone();
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;

    spec.more = vec![("image".to_owned(), json!("signalbox.invalid/none:1"))];
    Fleet::apply(&scene, &spec).await?;
    let words = ["signalbox.invalid/none:1", "see Pod orders-", "1 of 2 shards ready"];
    fleet.says("Ready", "False", "ImageUnavailable", &words).await?;

    // Put right, it recovers by itself.
    Fleet::apply(&scene, &good).await?;
    fleet.ready().await.map(drop)
}

pub(crate) async fn storage_class(act: Act) -> Result<()> {
    let queue = json!({"storage": "1Gi", "storageClassName": "fast-as-light"});
    let (fleet, region) = start(&act.scene, &act.regions[0], "queue", queue).await?;
    let claim = format!("see PersistentVolumeClaim log-orders-{region}-0");
    fleet.says("Ready", "False", "VolumeUnavailable", &["fast-as-light", &claim]).await.map(drop)
}

pub(crate) async fn unschedulable(act: Act) -> Result<()> {
    let region = &act.regions[0];
    let regions = json!([{"name": region, "nodeSelector": {"pool": "none"}}]);
    let (fleet, region) = start(&act.scene, region, "regions", regions).await?;
    let pod = format!("see Pod orders-{region}-0");
    fleet.says("Ready", "False", "Unschedulable", &["node", &pod]).await.map(drop)
}

async fn start(scene: &Scene, region: &str, field: &str, value: serde_json::Value) -> Result<(Fleet, String)> {
    let regions = [region.to_owned()];
    let sinks = Sinks::start(scene, "fulfilment", &regions).await?;
    let mut spec = FleetSpec::new("orders", &regions, 1, &sinks);
    spec.more = vec![(field.to_owned(), value)];
    Ok((Fleet::apply(scene, &spec).await?, region.to_owned()))
}
