//! From request to 202, with a sink that asks to be left alone: see [`Lab::quiet_sink`].

use std::time::Duration;

use anyhow::Result;

use super::raw::bare;
use crate::figure::Figure;
use crate::lab::{Lab, Loaded, each};
use crate::raw;

/// What a shard did with full speed.
pub(super) struct Ingested {
    pub(super) loaded: Loaded,
    pub(super) cpu_us: f64,
    /// Events that shared one sync, on average.
    group: f64,
    disk_per_event: f64,
}

/// Full speed into a new shard, after a second to warm up.
pub(super) async fn ingest(lab: &Lab, seconds: u64, flags: &[&str]) -> Result<Ingested> {
    let (shard, _sink) = lab.ingesting().await?;
    let warm = lab.full_speed(&shard.listen, 1, flags).await?;
    let (metrics, cpu) = (shard.metrics().await?, shard.process.cpu()?);
    let loaded = lab.full_speed(&shard.listen, seconds, flags).await?;
    let cpu_us = each(shard.process.cpu_since(cpu)?, loaded.accepted);
    loaded.whole(lab)?;
    let after = shard.metrics().await?;
    let since = |name| after.sum(name, "") - metrics.sum(name, "");
    let group =
        since("signalbox_dispatcher_log_group_events_sum") / since("signalbox_dispatcher_log_group_events_count");
    // What is on disk, over what was sent: one event's share of it, journals and indices included.
    let disk_per_event = bytes(shard.disk_bytes()?) / bytes(loaded.accepted + warm.accepted);
    Ok(Ingested { loaded, cpu_us, group, disk_per_event })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn bytes(count: u64) -> f64 {
    count as f64
}

pub(super) async fn single(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "ingest-single";
    let bare = bare(lab, lab.seconds.div_ceil(2)).await?;
    let done = ingest(lab, lab.seconds, &[]).await?;
    let generator = each(done.loaded.cpu, done.loaded.accepted);
    Ok(vec![
        Figure::new(SCENARIO, "shard, CPU per event", done.cpu_us, "us")
            .at_most(25.0)
            .beside("bare server", bare.cpu_us),
        Figure::new(SCENARIO, "events", done.loaded.achieved_rate, "/s")
            .at_least(20_000.0)
            .beside("bare server", bare.rate),
        Figure::new(SCENARIO, "generator, CPU per event", generator, "us")
            .beside("against the bare server", bare.generator_us),
        Figure::new(SCENARIO, "events that share a sync, mean", done.group, ""),
        Figure::new(SCENARIO, "disk per event of 1 KiB", done.disk_per_event, "bytes"),
    ])
}

pub(super) async fn batch(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "ingest-batch";
    let done = ingest(lab, lab.seconds, &["--batch", "100"]).await?;
    let generator = each(done.loaded.cpu, done.loaded.accepted);
    Ok(vec![
        Figure::new(SCENARIO, "shard, CPU per event", done.cpu_us, "us").at_most(5.0),
        Figure::new(SCENARIO, "events", done.loaded.achieved_rate, "/s"),
        Figure::new(SCENARIO, "generator, CPU per event", generator, "us"),
        Figure::new(SCENARIO, "events that share a sync, mean", done.group, ""),
    ])
}

pub(super) async fn ack_latency(lab: &Lab) -> Result<Vec<Figure>> {
    const SCENARIO: &str = "ack-latency";
    let most = ingest(lab, lab.seconds.div_ceil(2), &[]).await?.loaded.achieved_rate;
    let (shard, _sink) = lab.ingesting().await?;
    lab.full_speed(&shard.listen, 1, &[]).await?;
    // The same schedule to a server that does nothing else but the sync: what this machine has to give.
    let (bare, bare_address) = raw::bare_server(&lab.dir, true).await?;
    let (seconds, connections) = (format!("{}s", lab.seconds), lab.connections.to_string());
    let rate = (most / 2.0).round().to_string();
    let flags = ["--rate", &rate, "--duration", &seconds, "--keys", "10000", "--connections", &connections];
    let limit = lab.load(&bare_address, &flags).await?.latency_ms;
    drop(bare);
    let before = shard.metrics().await?;
    let loaded = lab.load(&shard.listen, &flags).await?;
    loaded.whole(lab)?;
    let after = shard.metrics().await?;
    drop(shard);
    // The disk by itself, with as much at once as the shard wrote.
    let since = |name| after.sum(name, "") - before.sum(name, "");
    let group =
        since("signalbox_dispatcher_log_group_events_sum") / since("signalbox_dispatcher_log_group_events_count");
    let kib = kib_of(group);
    let raw = raw::sync_times(&lab.dir, kib * 1024, Duration::from_secs(lab.seconds.div_ceil(3))).await?;
    let beside = format!("fdatasync of {kib} KiB");
    Ok(vec![
        Figure::new(SCENARIO, "offered, half of the highest rate", loaded.achieved_rate, "/s"),
        Figure::new(SCENARIO, "request to 202, p50", loaded.latency_ms.p50, "ms")
            .at_most(1.5 * raw.p50_ms)
            .beside(&beside, raw.p50_ms)
            .beside("bare server that syncs, on the same schedule", limit.p50),
        Figure::new(SCENARIO, "request to 202, p99", loaded.latency_ms.p99, "ms")
            .at_most(2.0 * raw.p99_ms + 0.5)
            .beside(&beside, raw.p99_ms)
            .beside("bare server that syncs, on the same schedule", limit.p99),
        Figure::new(SCENARIO, "events that share a sync, mean", group, ""),
    ])
}

/// Size of a group of so many events of 1 KiB, to a power of two.
fn kib_of(group: f64) -> usize {
    let mut kib = 1;
    while kib < 64 && f64::from(u32::try_from(kib).unwrap_or(64)) < group {
        kib *= 2;
    }
    kib
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_rounded_up_and_bounded() {
        assert_eq!([0.9, 1.0, 1.1, 5.0, 1e9].map(super::kib_of), [1, 1, 2, 8, 64]);
    }
}
