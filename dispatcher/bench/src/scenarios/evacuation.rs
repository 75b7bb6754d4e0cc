//! A backlog whose sink is down goes to another region: how fast, and what that costs on both sides.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use signalbox_contract::TrafficTable;

use crate::figure::Figure;
use crate::lab::{Lab, Shard, each, sink_config};
use crate::region::Region;

const SCENARIO: &str = "evacuation";

/// Events that are handed over.
const EVENTS: u64 = 200_000;

/// Events of one request while the backlog is filled.
const BATCH: u64 = 100;

/// So much may go in a second that it is no limit.
const NO_LIMIT: u64 = 10_000_000;

/// How long a sink that is not yet to be sent anything asks to be left alone, in seconds. A backlog is handed over in less.
const LEFT_ALONE: u64 = 30;

/// Longest wait for all to be handed over.
const PATIENCE: Duration = Duration::from_mins(5);

pub(super) async fn run(lab: &Lab) -> Result<Vec<Figure>> {
    let down = lab.quiet_sink().await?;
    let wait = LEFT_ALONE.to_string();
    // Nothing is delivered while it is measured: what is measured is handing over, with all of its storing.
    let well = lab.sink(&["--fail-ratio", "1", "--status", "503", "--retry-after-seconds", &wait]).await?;
    let sinks = [sink_config("sink", &down.uri()), sink_config("sink", &well.uri())];
    let [here, there] = Region::two(lab, [&sinks[..1], &sinks[1..]]).await?;
    let (giver, taker) = (only(&here)?, only(&there)?);

    let (count, batch) = (EVENTS.to_string(), BATCH.to_string());
    let connections = lab.connections.to_string();
    let flags = ["--rate", "0", "--count", &count, "--keys", "10000", "--batch", &batch, "--connections", &connections];
    let before = giver.process.cpu()?;
    let filled = lab.load(&giver.listen, &flags).await?;
    let accepting = each(giver.process.cpu_since(before)?, filled.accepted);
    ensure!(filled.accepted == EVENTS, "not everything was accepted: {filled:?}");

    let table = TrafficTable {
        fleet: "bench".to_owned(),
        version: 1,
        regions: vec![here.traffic(0, 0, 0)?, there.traffic(1000, 1, NO_LIMIT)?],
    };
    let before = (giver.process.cpu()?, taker.process.cpu()?);
    there.share(&table).await?;
    let began = Instant::now();
    here.share(&table).await?;
    let handed = |report: &Value| report["traffic"]["handedOverTotal"] == EVENTS && report["backlogEvents"] == 0;
    while !handed(&giver.report().await?) {
        ensure!(began.elapsed() < PATIENCE, "not everything is handed over: {}", giver.report().await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = began.elapsed();
    let giving = each(giver.process.cpu_since(before.0)?, EVENTS);
    let taking = each(taker.process.cpu_since(before.1)?, EVENTS);
    let arrived = &taker.report().await?["traffic"]["takenOverTotal"];
    ensure!(*arrived == EVENTS, "handed over, and not taken: {arrived} of {EVENTS}");
    ensure!(took < Duration::from_secs(LEFT_ALONE), "it took {took:?}: some may have been delivered meanwhile");

    well.behave(&json!({})).await?;
    taker.drained(&["sink".to_owned()]).await?;
    let summary = well.summary().await?;
    let of = |name: &str| summary[name].as_u64().with_context(|| format!("the sink does not tell {name}"));
    let wrong = EVENTS.saturating_sub(of("unique")?) + of("out_of_order")?;
    let twice = of("duplicates")?;

    let clients = format!("accepted from clients, {BATCH} a request");
    let number = |of: u64| f64::from(u32::try_from(of).unwrap_or(u32::MAX));
    Ok(vec![
        Figure::new(SCENARIO, "events on the other region's disk", number(EVENTS) / took.as_secs_f64(), "/s")
            .beside(&clients, number(EVENTS) / filled.elapsed_seconds),
        Figure::new(SCENARIO, "CPU per event where it goes", taking, "us").beside(&clients, accepting),
        Figure::new(SCENARIO, "CPU per event where it was", giving, "us").beside(&clients, accepting),
        Figure::new(SCENARIO, "lost or out of order", number(wrong), "").at_most(0.0),
        Figure::new(SCENARIO, "delivered twice", number(twice), "").at_most(0.0),
    ])
}

/// The shard of a region that has one.
fn only(region: &Region) -> Result<&Shard> {
    region.shards.first().context("a region without shards")
}
