//! Several shards of one region: what handing over costs, and what a change of owners does to those who send.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::figure::Figure;
use crate::lab::{Lab, Loaded, Shard, each, sink_config};
use crate::region::Region;

/// Shards of the region of which two thirds of the events are handed over.
const SHARDS: u32 = 3;

/// Longest wait for a change of owners to be complete.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn hand_over(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "hand-over";
    let alone = at_full_speed(lab, 1).await?;
    let together = at_full_speed(lab, SHARDS).await?;
    let share = f64::from(SHARDS - 1) / f64::from(SHARDS);
    Ok(vec![
        Figure::new(SCENARIO, "three shards, CPU per event", together.cpu_us, "us")
            .beside("one shard in a region of its own", alone.cpu_us),
        Figure::new(SCENARIO, "events", together.rate, "/s").beside("one shard in a region of its own", alone.rate),
        Figure::new(SCENARIO, "CPU more for each event handed over", (together.cpu_us - alone.cpu_us) / share, "us"),
        Figure::new(SCENARIO, "request to 202 at full speed, p50", together.p50_ms, "ms")
            .beside("one shard in a region of its own", alone.p50_ms),
    ])
}

/// What shards did with full speed.
struct Sped {
    cpu_us: f64,
    rate: f64,
    p50_ms: f64,
}

/// Full speed into all shards of a new region, after a second to warm up.
async fn at_full_speed(lab: &Lab, shards: u32) -> Result<Sped> {
    let sink = lab.quiet_sink().await?;
    let region = Region::start(lab, shards, shards, &[sink_config("quiet", &sink.uri())]).await?;
    let connections = (lab.connections / u64::from(shards)).max(1).to_string();
    let flags = |seconds: u64| {
        ["--rate", "0", "--keys", "10000", "--connections", &connections, "--duration", &format!("{seconds}s")]
            .map(str::to_owned)
    };
    let targets = addresses(&region.shards);
    load_all(lab, &targets, &flags(1)).await?;
    let before = cpu(&region.shards)?;
    let loads = load_all(lab, &targets, &flags(lab.seconds)).await?;
    let spent = cpu(&region.shards)?.saturating_sub(before);
    let accepted = loads.iter().map(|load| load.accepted).sum();
    for load in &loads {
        load.whole(lab)?;
    }
    Ok(Sped {
        cpu_us: each(spent, accepted),
        rate: loads.iter().map(|load| load.achieved_rate).sum(),
        p50_ms: loads.iter().map(|load| load.latency_ms.p50).fold(0.0, f64::max),
    })
}

pub(super) async fn claims(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "claims";
    let sink = lab.sink(&[]).await?;
    let mut region = Region::start(lab, 4, 2, &[sink_config("sink", &sink.uri())]).await?;
    // To the shards that stay: those that come and go are not listed in a Service all the time.
    let targets = addresses(&region.shards[..2]);
    let flags = |rate: &str, seconds: u64| {
        ["--rate", rate, "--keys", "2500", "--connections", "32", "--duration", &format!("{seconds}s")]
            .map(str::to_owned)
    };
    let fast = load_all(lab, &targets, &flags("0", lab.seconds.div_ceil(2))).await?;
    drained(&region).await?;
    let half = fast.iter().map(|load| load.achieved_rate).sum::<f64>() / 2.0;
    let rate = (half / f64::from(u32::try_from(targets.len())?)).round().to_string();
    let calm = load_all(lab, &targets, &flags(&rate, lab.seconds.div_ceil(2))).await?;
    drained(&region).await?;

    let (seconds, pause) = (lab.seconds.max(4), Duration::from_secs(lab.seconds.max(4) / 4));
    let changes = async {
        tokio::time::sleep(pause).await;
        let grown = change(&mut region, 4).await?;
        tokio::time::sleep(pause).await;
        let shrunk = change(&mut region, 2).await?;
        Ok::<_, anyhow::Error>((grown, shrunk))
    };
    let load_flags = flags(&rate, seconds);
    let (took, loads) = tokio::join!(changes, load_all(lab, &targets, &load_flags));
    let ((grown, shrunk), loads) = (took?, loads?);
    drained(&region).await?;

    let all = || fast.iter().chain(&calm).chain(&loads);
    let sent: u64 = all().map(|load| load.sent).sum();
    let refused = sent - all().map(|load| load.accepted).sum::<u64>();
    let summary = sink.summary().await?;
    let count = |name: &str| summary[name].as_u64().with_context(|| format!("the sink does not tell {name}"));
    let wrong = sent.saturating_sub(refused).saturating_sub(count("unique")?) + count("out_of_order")?;
    let most = |loads: &[Loaded], of: fn(&Loaded) -> f64| loads.iter().map(of).fold(0.0, f64::max);
    let p99: fn(&Loaded) -> f64 = |load| load.latency_ms.p99;
    let max: fn(&Loaded) -> f64 = |load| load.latency_ms.max;
    Ok(vec![
        Figure::new(SCENARIO, "offered, half of the highest rate", half, "/s"),
        Figure::new(SCENARIO, "request to 202 while owners change, p99", most(&loads, p99), "ms")
            .beside("while they do not", most(&calm, p99)),
        // A slot's pause is not longer than the longest that anybody who sent to it has waited.
        Figure::new(SCENARIO, "the longest that anybody waited", most(&loads, max), "ms")
            .at_most(250.0)
            .beside("while they do not", most(&calm, max)),
        Figure::new(SCENARIO, "two to four shards, until all slots are delivered by their owners", grown, "ms"),
        Figure::new(SCENARIO, "four to two shards, until those that leave are empty", shrunk, "ms"),
        Figure::new(SCENARIO, "requests not accepted", f64::from(u32::try_from(refused)?), "").at_most(0.0),
        Figure::new(SCENARIO, "lost or out of order", f64::from(u32::try_from(wrong)?), "").at_most(0.0),
    ])
}

/// Waits until all that was accepted is delivered.
async fn drained(region: &Region) -> Result<()> {
    for shard in &region.shards {
        shard.drained(&["sink".to_owned()]).await?;
    }
    Ok(())
}

/// Gives the region other owners, and says how long it took until all was as the table says, in milliseconds.
async fn change(region: &mut Region, owners: u32) -> Result<f64> {
    let start = Instant::now();
    region.route(owners).await?;
    while !region.settled(owners as usize).await? {
        ensure!(start.elapsed() < PATIENCE, "the claims of {owners} owners are not complete");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn addresses(shards: &[Shard]) -> Vec<String> {
    shards.iter().map(|shard| shard.listen.clone()).collect()
}

/// Sends the same to each of these at once.
async fn load_all(lab: &Lab, targets: &[String], flags: &[String]) -> Result<Vec<Loaded>> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    futures::future::try_join_all(targets.iter().map(|target| lab.load(target, &flags))).await
}

fn cpu(shards: &[Shard]) -> Result<Duration> {
    shards.iter().map(|shard| shard.process.cpu()).sum()
}
