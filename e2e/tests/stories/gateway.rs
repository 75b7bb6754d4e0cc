//! Producers that come through a Gateway: the weights of the route follow the regions' breakers.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use signalbox_e2e::{Fleet, FleetSpec, GATEWAY, Gateway, Load, Scene, Sinks, eventually};

use crate::regions::{LIMIT, RATE, note, quick};
use crate::theatre::Act;

const EVENTS: u64 = RATE * 60;

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let gateway = Gateway::start(&scene, &cluster).await?;
    let played = play(&scene, &gateway, &regions).await;
    gateway.remove(&cluster).await?;
    played
}

async fn play(scene: &Scene, gateway: &Gateway, regions: &[String]) -> Result<()> {
    let (stays, fails) = (&regions[0], &regions[1]);
    let sinks = Sinks::start(scene, "fulfilment", regions).await?;
    let mut spec = FleetSpec::new("orders", regions, 1, &sinks);
    spec.more = vec![
        ("breaker".to_owned(), quick()),
        ("traffic".to_owned(), json!({"mode": "Gateway", "gateway": {"parentRefs": [{"name": GATEWAY}]}})),
    ];
    let fleet = Fleet::apply(scene, &spec).await?;
    fleet.ready().await?;
    weighs(gateway, regions, |weights| weights[0] == weights[1] && weights[0] > 0).await?;
    let load = Load::start(scene, GATEWAY, RATE, EVENTS).await?;
    load.sends().await?;
    eventually("both regions get events", LIMIT, async || {
        let both = sinks.tally(stays).await?.received > 100 && sinks.tally(fails).await?.received > 100;
        Ok(both.then_some(()))
    })
    .await?;

    sinks.behave_in(fails, r#"{"status": 500, "failRatio": 1}"#).await?;
    fleet.breaker(fails, "Tripped", LIMIT).await?;
    weighs(gateway, regions, |weights| weights[0] > 0 && weights[1] == 0).await?;
    sinks.behave_in(fails, "{}").await?;
    weighs(gateway, regions, |weights| weights[1] > 0 && weights[1] < weights[0]).await?;
    fleet.breaker(fails, "Serving", LIMIT).await?;
    weighs(gateway, regions, |weights| weights[0] == weights[1]).await?;

    let sent = load.finish().await?;
    note(&format!("through the Gateway: {} of {} accepted, {:?}", sent.accepted, sent.sent, sent.latency_ms));
    ensure!(sent.accepted == EVENTS && sent.is_undisturbed(), "somebody was turned away: {sent:?}");
    sinks.all_arrive(&load.source, EVENTS, LIMIT).await.map(drop)
}

/// Waits until the route's weights, in the order of the regions, are as they should be.
async fn weighs(gateway: &Gateway, regions: &[String], are: impl Fn(&[i64]) -> bool) -> Result<()> {
    eventually("the route's weights follow", Duration::from_mins(1), async || {
        let weights = gateway.weights("orders").await?;
        let of = |region: &String| weights.iter().find(|(name, _)| *name == format!("orders-{region}"));
        let found: Vec<i64> = regions.iter().filter_map(|region| Some(of(region)?.1)).collect();
        ensure!(found.len() == regions.len() && are(&found), "{weights:?}");
        Ok(Some(()))
    })
    .await
}
