//! From request to the sink's answer.

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::figure::Figure;
use crate::lab::{Lab, each, shard_config, sink_config};

/// Events per second at which latency is measured: far from what a shard can do.
const MODERATE: &str = "1000";

pub(super) async fn end_to_end(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "end-to-end";
    let sink = lab.sink(&[]).await?;
    let shard = lab.shard(&shard_config(&[sink_config("sink", &sink.uri())])).await?;
    let warm = lab.full_speed(&shard.listen, 1, &[]).await?;
    shard.drained(&["sink".to_owned()]).await?;
    let (cpu, sink_cpu, start) = (shard.process.cpu()?, sink.process.cpu()?, Instant::now());
    let loaded = lab.full_speed(&shard.listen, lab.seconds, &[]).await?;
    shard.drained(&["sink".to_owned()]).await?;
    let seconds = start.elapsed().as_secs_f64();
    let (cpu, sink_cpu) = (shard.process.cpu_since(cpu)?, sink.process.cpu_since(sink_cpu)?);
    loaded.whole(lab)?;
    let summary = sink.summary().await?;
    let lost = (loaded.accepted + warm.accepted).saturating_sub(count(&summary, "unique")?);
    let wrong = lost + count(&summary, "duplicates")? + count(&summary, "out_of_order")?;
    let rate = loaded.achieved_rate * loaded.elapsed_seconds / seconds;
    Ok(vec![
        Figure::new(SCENARIO, "shard, CPU per event", each(cpu, loaded.accepted), "us").at_most(55.0),
        Figure::new(SCENARIO, "events, from the first request to the last delivery", rate, "/s").at_least(8_000.0),
        Figure::new(SCENARIO, "events accepted meanwhile", loaded.achieved_rate, "/s"),
        Figure::new(SCENARIO, "sink, CPU per event", each(sink_cpu, loaded.accepted), "us"),
        Figure::new(SCENARIO, "generator, CPU per event", each(loaded.cpu, loaded.accepted), "us"),
        Figure::new(SCENARIO, "lost, twice or out of order", f64::from(u32::try_from(wrong)?), "").at_most(0.0),
    ])
}

pub(super) async fn latency(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "delivery-latency";
    let sink = lab.sink(&[]).await?;
    let shard = lab.shard(&shard_config(&[sink_config("sink", &sink.uri())])).await?;
    let (seconds, connections) = (format!("{}s", lab.seconds), lab.connections.to_string());
    let flags = ["--rate", MODERATE, "--keys", "10000", "--connections", &connections, "--duration"];
    lab.load(&shard.listen, &[&flags[..], &["1s"]].concat()).await?;
    shard.drained(&["sink".to_owned()]).await?;
    let before = shard.metrics().await?;
    sink.forget().await?;
    let loaded = lab.load(&shard.listen, &[&flags[..], &[&seconds]].concat()).await?;
    loaded.whole(lab)?;
    shard.drained(&["sink".to_owned()]).await?;
    let after = shard.metrics().await?;
    let summary = sink.summary().await?;
    let arrived = |quantile: &str| {
        summary["latency_ms"][quantile].as_f64().with_context(|| format!("the sink tells no latency: {summary}"))
    };
    let of = |name: &str, quantile| {
        let found = after.quantile_since(&before, name, quantile).with_context(|| format!("{name} has no samples"));
        found.map(|seconds| seconds * 1e3)
    };
    let settled = |quantile| of("signalbox_dispatcher_delivery_latency_seconds", quantile);
    let sync = |quantile| of("signalbox_dispatcher_log_sync_seconds", quantile);
    Ok(vec![
        Figure::new(SCENARIO, "due at the producer to arrived at the sink, p50", arrived("p50")?, "ms")
            .at_most(1.0)
            .beside("sync of the log alone", sync(0.5)?),
        Figure::new(SCENARIO, "due at the producer to arrived at the sink, p99", arrived("p99")?, "ms")
            .at_most(10.0)
            .beside("sync of the log alone", sync(0.99)?),
        Figure::new(SCENARIO, "received to settled by the shard's histogram, p99", settled(0.99)?, "ms"),
        Figure::new(SCENARIO, "due to 202, p50", loaded.latency_ms.p50, "ms"),
        Figure::new(SCENARIO, "due to 202, p99", loaded.latency_ms.p99, "ms"),
    ])
}

fn count(summary: &Value, name: &str) -> Result<u64> {
    summary[name].as_u64().with_context(|| format!("the sink does not tell {name}"))
}
