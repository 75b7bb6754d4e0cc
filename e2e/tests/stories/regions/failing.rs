//! Sinks that fail from one region or from all, and shards that do not come up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use serde_json::json;
use signalbox_e2e::{Fleet, FleetSpec, SinkSpec, Sinks, breaker, condition, eventually};

use super::{LIMIT, RATE, all_arrive, note, pair, quick, since, usual};
use crate::theatre::Act;

/// How a sink answers that fails.
const FAILS: &str = r#"{"status": 500, "failRatio": 1}"#;

/// A blip trips nothing; a sink that goes on failing from one region does; nobody who sends notices any of it.
pub(crate) async fn one_sink(act: Act) -> Result<()> {
    let two = pair(act, 1, usual()).await?;
    let load = two.load(RATE, 80).await?;

    two.sinks.behave_in(&two.fails, FAILS).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    two.sinks.behave_in(&two.fails, "{}").await?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(12) {
        serving(&two.fleet, &two.fails).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    let begin = Instant::now();
    two.sinks.behave_in(&two.fails, FAILS).await?;
    two.fleet.breaker(&two.fails, "Tripped", LIMIT).await?;
    let took = begin.elapsed();
    note(&format!("a sink that fails in one region: Tripped after {:.1} s", took.as_secs_f64()));
    // 10 s, and as much again because other stories share the machine.
    ensure!(took < Duration::from_secs(20), "Tripped after {took:?} only");
    let status = two.fleet.status_where("it says why", LIMIT, |status| {
        let cause = &breaker(status, &two.fails)?.cause;
        ensure!(cause.as_deref() == Some("SinkFailing"), "{cause:?}");
        Ok(())
    });
    status.await?;
    two.fleet.says("RegionsHealthy", "False", "SinkFailing", &[&two.fails]).await?;
    serving(&two.fleet, &two.stays).await?;

    two.sinks.behave_in(&two.fails, "{}").await?;
    let begin = Instant::now();
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;
    note(&format!("Serving {} after the sink was well", since(begin)));
    let sent = all_arrive(&two, &load, 0).await?;
    ensure!(sent.is_undisturbed(), "producers noticed: {sent:?}");
    Ok(())
}

/// No region is at fault, and none loses its traffic.
pub(crate) async fn sink_everywhere(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 25).await?;
    two.sinks.behave(FAILS).await?;
    two.fleet.says("SinksHealthy", "False", "SinkFailing", &["fulfilment"]).await?;
    let begin = Instant::now();
    let mut named = false;
    while begin.elapsed() < Duration::from_secs(20) {
        let status = serving(&two.fleet, &two.fails).await?;
        serving(&two.fleet, &two.stays).await?;
        let said = breaker(&status, &two.fails)?;
        named |= said.reason == "SinkFailsEverywhere" && said.message.contains("fulfilment");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(named, "nobody said that the sink fails everywhere");
    two.sinks.behave("{}").await?;
    all_arrive(&two, &load, 0).await.map(drop)
}

/// Each region has a fault of its own: one is left, and it keeps its traffic.
pub(crate) async fn every_region(act: Act) -> Result<()> {
    let crate::theatre::Act { scene, regions, .. } = act;
    let (first, second) = (&regions[0], &regions[1]);
    let (one, other) = (Sinks::start(&scene, "one", &regions).await?, Sinks::start(&scene, "other", &regions).await?);
    let mut spec = FleetSpec::new("orders", &regions, 1, &one);
    spec.sinks = vec![SinkSpec::new("one", one.uri()), SinkSpec::new("other", other.uri())];
    // The first is out for as long as the second is looked at.
    let slow = json!({"window": "5s", "minimumAttempts": 10, "baseTripTime": "2m", "maxTripTime": "2m"});
    spec.more = vec![("breaker".to_owned(), slow)];
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;
    let load = signalbox_e2e::Load::start(&scene, "orders", super::RATE, super::RATE * 40).await?;
    load.sends().await?;

    one.behave_in(first, FAILS).await?;
    fleet.breaker(first, "Tripped", LIMIT).await?;
    other.behave_in(second, FAILS).await?;
    let said = fleet.status_where("the region that is left is kept", LIMIT, |status| {
        let found = breaker(status, second)?;
        ensure!(found.phase == "Serving" && found.message.contains("other"), "{} {}", found.reason, found.message);
        Ok(())
    });
    let status = said.await?;
    let shares: i32 = status.regions.iter().map(|region| region.share_percent).sum();
    ensure!(shares == 100, "new events go nowhere: {:?}", status.regions);
    one.behave("{}").await?;
    other.behave("{}").await?;
    ensure!(load.finish().await?.accepted == super::RATE * 40, "somebody was turned away");
    one.all_arrive(&load.source, super::RATE * 40, LIMIT).await?;
    other.all_arrive(&load.source, super::RATE * 40, LIMIT).await.map(drop)
}

/// Shards that end as soon as they are up, in one region.
pub(crate) async fn crash_loop(act: Act) -> Result<()> {
    act.cluster.supports_faults().map_err(anyhow::Error::msg)?;
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 60).await?;
    let pod = two.scene.pods(&format!("signalbox.dev/region={}", two.fails)).await?.remove(0).name_any();
    let begin = Instant::now();
    eventually("the region is Tripped", LIMIT, async || {
        // Kubernetes waits longer each time before it starts it again.
        let _ = two.cluster.kill(&two.scene.namespace, &pod, "dispatcher").await;
        let status = two.fleet.status_where("there is a status", LIMIT, |_| Ok(())).await?;
        let found = breaker(&status, &two.fails)?;
        ensure!(found.phase == "Tripped", "{} {}", found.phase, found.message);
        Ok(Some(()))
    })
    .await?;
    note(&format!("shards that crash: Tripped after {}", since(begin)));
    serving(&two.fleet, &two.stays).await?;
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;
    // A shard that ends refuses connections at once, until its region is out: who tries again at once may find it again.
    all_arrive(&two, &load, 20).await.map(drop)
}

async fn serving(fleet: &Fleet, region: &str) -> Result<signalbox::api::EventDispatcherStatus> {
    let status = fleet.status_where("there is a status", LIMIT, |_| Ok(())).await?;
    let found = breaker(&status, region)?;
    ensure!(found.phase == "Serving", "{region}: {} {} {}", found.phase, found.reason, found.message);
    Ok(status)
}

/// What a region that came back has, and what it had when it failed again.
pub(crate) async fn relapse(act: Act) -> Result<()> {
    let two = pair(act, 1, json!({
        "window": "5s", "minimumAttempts": 10, "baseTripTime": "3s", "maxTripTime": "6s", "rampPercents": [10, 20, 100],
    }))
    .await?;
    let load = two.load(RATE, 70).await?;
    two.sinks.behave_in(&two.fails, FAILS).await?;
    two.fleet.breaker(&two.fails, "Tripped", LIMIT).await?;
    two.sinks.behave_in(&two.fails, "{}").await?;
    let probed = two.fleet.status_where("the second step is reached", LIMIT, |status| {
        let found = breaker(status, &two.fails)?;
        ensure!(found.phase == "Probing" && found.percent == Some(20), "{found:?}");
        Ok(())
    });
    probed.await?;
    let (received, begin) = (two.sinks.tally(&two.fails).await?.received, Instant::now());
    two.sinks.behave_in(&two.fails, FAILS).await?;
    two.fleet.breaker(&two.fails, "Tripped", LIMIT).await?;
    let status = two.fleet.status_where("it is counted", LIMIT, |status| {
        let found = breaker(status, &two.fails)?;
        ensure!(found.trips >= 2, "{found:?}");
        Ok(())
    });
    status.await?;
    note(&format!("a relapse at 20 %: Tripped again after {}; {received} had arrived", since(begin)));
    two.sinks.behave_in(&two.fails, "{}").await?;
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;
    let status = two.fleet.status_where("all is well", LIMIT, |status| {
        ensure!(condition(status, "RegionsHealthy")?.status == "True", "{:?}", status.regions);
        Ok(())
    });
    status.await?;
    all_arrive(&two, &load, 0).await.map(drop)
}
