//! A region whose network fails: whole, one way, in part, or one node of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::ResourceExt as _;
use serde_json::json;
use signalbox::api::BreakerStatus;
use signalbox_cluster::{Fault, Injected};
use signalbox_e2e::{Pair, breaker, last_connection};

use super::{LIMIT, RATE, all_arrive, note, pair, quick, serve, since};
use crate::theatre::Act;

pub(crate) async fn cut_off(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 60).await?;
    let tap = two.tap(&load).await?;
    let fault = two.cut().await?;
    let last = last_connection(&tap, fault.began(), LIMIT).await?;
    note(&format!(
        "cut off within {:?}; the last connection was sent there {:.1} s after that",
        fault.took(),
        last.as_secs_f64()
    ));
    ensure!(last < Duration::from_secs(30), "new traffic was sent there for {last:?}");
    let status = two.fleet.status_where("it is Tripped", LIMIT, |status| tripped(status, &two.fails)).await?;
    ensure!(breaker(&status, &two.fails)?.cause.as_deref() == Some("Unreachable"), "{:?}", status.regions);
    let told = two.fleet.status_where("what is not known is told as that", LIMIT, |status| {
        let told = status.regions.iter().find(|region| region.name == two.fails);
        ensure!(told.is_some_and(|region| region.share_percent == 0 && region.backlog == "unknown"), "{told:?}");
        Ok(())
    });
    told.await?;

    fault.mend().await?;
    back(&two).await?;
    // Requests that were under way when the region went are answered by nobody: they are sent again after 5 s.
    all_arrive(&two, &load, 1).await.map(drop)
}

pub(crate) async fn one_way(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 75).await?;
    for fault in [Fault::Mute { region: &two.fails }, Fault::Deaf { region: &two.fails }] {
        let injected = two.cluster.inject(fault).await?;
        trips(&two, &injected, fault).await?;
        injected.mend().await?;
        back(&two).await?;
    }
    all_arrive(&two, &load, 1).await.map(drop)
}

/// A network that loses every twentieth packet is slow, and nobody's reason to leave.
pub(crate) async fn lossy(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 25).await?;
    let fault = two.cluster.inject(Fault::Lossy { region: &two.fails, percent: 5 }).await?;
    serve(&two, &[&two.fails], Duration::from_secs(20)).await?;
    fault.mend().await?;
    all_arrive(&two, &load, 1).await.map(drop)
}

/// A region that is far away from all others, from the operator and from the API server.
pub(crate) async fn slow(act: Act) -> Result<()> {
    let two = pair(act, 1, quick()).await?;
    let load = two.load(RATE, 25).await?;
    let fault = two.cluster.inject(Fault::Slow { region: &two.fails, delay: Duration::from_millis(150) }).await?;
    serve(&two, &[&two.fails], Duration::from_secs(20)).await?;
    fault.mend().await?;
    let sent = all_arrive(&two, &load, 0).await?;
    ensure!(sent.rejected.is_empty(), "somebody was turned away: {sent:?}");
    // Connections are begun anew all the while, so that these waits are those of the network.
    ensure!(sent.latency_ms.p99 >= 300.0, "nothing was slow: {sent:?}");
    Ok(())
}

/// A region that is gone for 20 s and back for 20 s, again and again: each trip is longer than the one before, and none
/// ends before its time.
pub(crate) async fn flapping(act: Act) -> Result<()> {
    const TIMES: usize = 3;
    const SPAN: Duration = Duration::from_secs(20);
    let (base, longest) = (8, 30);
    let two = pair(
        act,
        1,
        json!({
            "window": "5s", "minimumAttempts": 10, "baseTripTime": format!("{base}s"),
            "maxTripTime": format!("{longest}s"), "rampPercents": [50, 100],
        }),
    )
    .await?;
    // Ports come again after some 2,500 connections, and a node sends a connection to where the last one from the same port
    // was never answered, for two minutes: so many are not made here.
    let load = two.load(30, 110).await?;
    let mut seen: Vec<BreakerStatus> = Vec::new();
    for _ in 0..TIMES {
        let fault = two.cut().await?;
        watch(&two, SPAN, &mut seen).await?;
        fault.mend().await?;
        watch(&two, SPAN, &mut seen).await?;
    }
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;

    let mut trips = 0;
    for (found, next) in seen.iter().zip(seen.iter().skip(1)) {
        let into = next.phase == "Tripped" && found.phase != "Tripped";
        trips += i32::from(into);
        ensure!(!into || next.trips == trips, "{trips} trips were seen, and {next:?}");
        if let Some(until) = next.until.as_ref().filter(|_| into) {
            let (half, drawn) = (longest.min(base << (trips - 1)) / 2, until.0.as_second() - next.since.0.as_second());
            ensure!(drawn >= half, "trip {trips} is over after {drawn} s: {next:?}");
            note(&format!("trip {trips} was to last for {drawn} s"));
        }
        if let Some(until) = found.until.as_ref().filter(|_| found.phase == "Tripped" && next.phase != "Tripped") {
            ensure!(next.since.0 >= until.0, "it came back before its time: {found:?}, then {next:?}");
        }
    }
    ensure!((2..=TIMES).contains(&usize::try_from(trips)?), "{trips} trips in {TIMES} times: {seen:?}");
    all_arrive(&two, &load, 1).await.map(drop)
}

/// What is said of the breaker of the region that fails, whenever that changes, for so long.
async fn watch(two: &Pair, long: Duration, seen: &mut Vec<BreakerStatus>) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < long {
        let status = two.fleet.status_where("there is a status", LIMIT, |_| Ok(())).await?;
        let found = breaker(&status, &two.fails)?;
        if seen.last().is_none_or(|last| (&last.phase, &last.since) != (&found.phase, &found.since)) {
            seen.push(found.clone());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// One of two nodes: the region still has shards that answer, and stays.
pub(crate) async fn one_node(act: Act) -> Result<()> {
    let two = pair(act, 2, quick()).await?;
    let shards = two.scene.pods(&format!("signalbox.dev/region={}", two.fails)).await?;
    let nodes: Vec<_> =
        shards.iter().filter_map(|pod| Some((pod.name_any(), pod.spec.as_ref()?.node_name.clone()?))).collect();
    ensure!(nodes.len() == 2 && nodes[0].1 != nodes[1].1, "the shards share a node: {nodes:?}");
    // The sink's node stays.
    let sink = two.scene.pods(&format!("sink=fulfilment-{}", two.fails)).await?.remove(0);
    let kept = sink.spec.and_then(|spec| spec.node_name).unwrap_or_default();
    let node = &nodes.iter().find(|(_, node)| *node != kept).unwrap_or(&nodes[0]).1;
    let load = two.load(RATE, 30).await?;
    let fault = two.cluster.inject(Fault::NodeGone { node }).await?;
    serve(&two, &[&two.fails], Duration::from_secs(15)).await?;
    fault.mend().await?;
    // Kubernetes lists a shard on a lost node for most of a minute: producers try elsewhere meanwhile.
    all_arrive(&two, &load, 100).await?;
    two.fleet.ready().await.map(drop)
}

/// The region is Tripped, for the one reason that the network can be.
async fn trips(two: &Pair, injected: &Injected, fault: Fault<'_>) -> Result<()> {
    two.fleet.breaker(&two.fails, "Tripped", Duration::from_secs(30)).await?;
    note(&format!("{fault:?}: Tripped after {}", since(injected.began())));
    let status = two.fleet.status_where("it says why", LIMIT, |status| tripped(status, &two.fails)).await?;
    let cause = breaker(&status, &two.fails)?.cause.clone();
    ensure!(cause.as_deref() == Some("Unreachable"), "{fault:?}: {cause:?}");
    Ok(())
}

/// It comes back step by step, and then serves.
async fn back(two: &Pair) -> Result<()> {
    let begin = Instant::now();
    two.fleet.breaker(&two.fails, "Probing", LIMIT).await?;
    two.fleet.breaker(&two.fails, "Serving", LIMIT).await?;
    note(&format!("Serving {} after the network was back", since(begin)));
    Ok(())
}

fn tripped(status: &signalbox::api::EventDispatcherStatus, region: &str) -> Result<()> {
    let found = breaker(status, region)?;
    ensure!(found.phase == "Tripped", "{}: {}", found.phase, found.message);
    Ok(())
}
