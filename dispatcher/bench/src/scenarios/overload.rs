//! Three times as many requests as a shard can take, and a backlog that soon is at its limit.

use anyhow::{Result, ensure};
use serde_json::json;

use super::backlog::watch;
use super::ingest::ingest;
use crate::figure::Figure;
use crate::lab::{Lab, shard_config, sink_config};

const SCENARIO: &str = "overload";

/// Connections of the load, each with one request in flight.
const CONNECTIONS: &str = "1024";

/// A fraction of what comes in, so that most of the time everything is refused.
const BACKLOG_LIMIT: u64 = 100_000_000;

pub(crate) async fn run(lab: &Lab) -> Result<Vec<Figure>> {
    let most = ingest(lab, lab.seconds.div_ceil(4), &[]).await?.loaded.achieved_rate;
    let sink = lab.quiet_sink().await?;
    let mut config = shard_config(&[sink_config("quiet", &sink.uri())]);
    config["backlogLimitBytes"] = json!(BACKLOG_LIMIT);
    let shard = lab.shard(&config).await?;
    let (rate, seconds) = ((most * 3.0).round().to_string(), format!("{}s", lab.seconds));
    let flags = ["--rate", &rate, "--duration", &seconds, "--keys", "10000", "--connections", CONNECTIONS];
    let (loaded, peak) = watch(&shard, lab.load(&shard.listen, &flags)).await?;
    let refused = loaded.rejected.get("429").copied().unwrap_or(0);
    ensure!(refused > 0, "nothing was refused: {loaded:?}");
    let other = loaded.sent - loaded.accepted - refused;
    let offered = f64::from(u32::try_from(loaded.sent)?) / loaded.elapsed_seconds;
    Ok(vec![
        Figure::new(SCENARIO, "requests offered", offered, "/s").beside("highest rate of ingest", most),
        Figure::new(SCENARIO, "the most memory meanwhile", peak, "MiB").at_most(250.0),
        Figure::new(SCENARIO, "answered neither 202 nor 429", f64::from(u32::try_from(other)?), "").at_most(0.0),
    ])
}
