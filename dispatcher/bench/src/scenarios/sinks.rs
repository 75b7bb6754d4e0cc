//! Sinks that do not do their part.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::figure::Figure;
use crate::lab::{Lab, each, shard_config, sink_config};

/// Events of each run of [`isolation`], for each second that it is to take.
const EVENTS_A_SECOND: u64 = 1000;

/// Events per second that are offered while every attempt fails.
const OFFERED: &str = "500";

/// What nine sinks get at full speed while the tenth never answers, and while it is well: before and after, since
/// whatever else the machine does changes meanwhile.
pub(super) async fn isolation(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "isolation";
    let before = nine_sinks(lab, &[]).await?;
    let hole = nine_sinks(lab, &["--hang"]).await?;
    let after = nine_sinks(lab, &[]).await?;
    let well = f64::midpoint(before.rate, after.rate);
    Ok(vec![
        Figure::new(
            SCENARIO,
            "throughput that nine sinks keep while the tenth never answers",
            hole.rate / well * 100.0,
            "%",
        )
        .at_least(98.0),
        Figure::new(SCENARIO, "deliveries at nine sinks while the tenth never answers", hole.rate, "/s")
            .beside("the tenth is well, before", before.rate)
            .beside("after", after.rate),
        Figure::new(SCENARIO, "shard, CPU per event while the tenth never answers", hole.cpu_us, "us")
            .beside("the tenth is well, before", before.cpu_us)
            .beside("after", after.cpu_us),
    ])
}

/// What nine of ten sinks got.
struct Nine {
    /// Deliveries per second, from the first request to the last delivery.
    rate: f64,
    cpu_us: f64,
}

async fn nine_sinks(lab: &Lab, tenth: &[&str]) -> Result<Nine> {
    let (well, other) = (lab.sink(&[]).await?, lab.sink(tenth).await?);
    let names: Vec<String> = (1..=9).map(|number| format!("well-{number}")).collect();
    let mut sinks: Vec<Value> = names.iter().map(|name| sink_config(name, &format!("{}{name}", well.uri()))).collect();
    sinks.push(sink_config("tenth", &other.uri()));
    let shard = lab.shard(&shard_config(&sinks)).await?;
    let events = EVENTS_A_SECOND * lab.seconds;
    let (count, connections) = (events.to_string(), lab.connections.to_string());
    let flags = ["--rate", "0", "--count", &count, "--keys", "10000", "--connections", &connections];
    let (start, cpu) = (Instant::now(), shard.process.cpu()?);
    let loaded = lab.load(&shard.listen, &flags).await?;
    loaded.whole(lab)?;
    shard.drained(&names).await?;
    let rate = f64::from(u32::try_from(events * 9)?) / start.elapsed().as_secs_f64();
    Ok(Nine { rate, cpu_us: each(shard.process.cpu_since(cpu)?, events) })
}

/// Attempts while every one of them is answered 500.
pub(super) async fn retry_storm(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "retry-storm";
    let sink = lab.sink(&["--fail-ratio", "1", "--status", "500"]).await?;
    let sinks: Vec<Value> =
        (1..=3).map(|number| sink_config(&format!("failing-{number}"), &format!("{}{number}", sink.uri()))).collect();
    let shard = lab.shard(&shard_config(&sinks)).await?;
    // Longer than other scenarios: a storm is what comes of repeating.
    let seconds = lab.seconds * 2;
    let duration = format!("{seconds}s");
    let cpu = shard.process.cpu()?;
    let flags = ["--rate", OFFERED, "--duration", &duration, "--keys", "10000"];
    let loaded = lab.load(&shard.listen, &flags).await?;
    loaded.whole(lab)?;
    let attempts = shard.metrics().await?.sum("signalbox_dispatcher_attempts_total", "");
    let offered = f64::from(u32::try_from(loaded.accepted * 3)?);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = shard.metrics().await?.sum("signalbox_dispatcher_attempts_total", "") - attempts;
    let cpu = shard.process.cpu_since(cpu)?;
    Ok(vec![
        Figure::new(SCENARIO, "attempts for each event and sink, all answered 500", attempts / offered, "")
            .at_most(1.2),
        Figure::new(SCENARIO, "attempts a second once nothing is offered any more", after / 2.0, "/s"),
        Figure::new(SCENARIO, "shard, CPU per event", each(cpu, loaded.accepted), "us"),
    ])
}
