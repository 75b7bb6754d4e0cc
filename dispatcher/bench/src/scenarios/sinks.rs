//! Sinks that do not do their part.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::figure::Figure;
use crate::lab::{Lab, each, shard_config, sink_config};

/// Events of each run of [`isolation`], for each second that it is to take.
const EVENTS_A_SECOND: u64 = 1000;

/// Events per second that are offered while every attempt fails.
const OFFERED: &str = "500";

/// Deliveries per second at nine sinks, beside no tenth, a tenth that is well, and a tenth that never answers.
pub(super) async fn isolation(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "isolation";
    let nine = nine_sinks(lab, None).await?;
    let ten = nine_sinks(lab, Some(&[])).await?;
    let hole = nine_sinks(lab, Some(&["--hang"])).await?;
    Ok(vec![
        Figure::new(
            SCENARIO,
            "nine sinks while the tenth never answers, share of their throughput",
            hole / ten * 100.0,
            "%",
        )
        .at_least(98.0)
        .beside("of that of nine without a tenth", hole / nine * 100.0),
        Figure::new(SCENARIO, "deliveries at nine sinks while the tenth never answers", hole, "/s")
            .beside("the tenth is well", ten)
            .beside("no tenth", nine),
    ])
}

async fn nine_sinks(lab: &Lab, tenth: Option<&[&str]>) -> Result<f64> {
    let well = lab.sink(&[]).await?;
    let mut sinks: Vec<Value> =
        (1..=9).map(|number| sink_config(&format!("well-{number}"), &format!("{}{number}", well.uri()))).collect();
    let names: Vec<String> = (1..=9).map(|number| format!("well-{number}")).collect();
    let other = lab.sink(tenth.unwrap_or_default()).await?;
    if tenth.is_some() {
        sinks.push(sink_config("tenth", &other.uri()));
    }
    let shard = lab.shard(&shard_config(&sinks)).await?;
    let events = EVENTS_A_SECOND * lab.seconds;
    let (count, connections) = (events.to_string(), lab.connections.to_string());
    let flags = ["--rate", "0", "--count", &count, "--keys", "10000", "--connections", &connections];
    let start = Instant::now();
    let loaded = lab.load(&shard.listen, &flags).await?;
    ensure!(loaded.accepted == events, "not everything was accepted: {loaded:?}");
    shard.drained(&names).await?;
    Ok(f64::from(u32::try_from(events * 9)?) / start.elapsed().as_secs_f64())
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
    ensure!(loaded.accepted == loaded.sent, "not everything was accepted: {loaded:?}");
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
