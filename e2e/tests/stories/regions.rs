//! Regions that fail, and what becomes of their traffic.
//!
//! | module | what fails |
//! | --- | --- |
//! | `lost` | the network of a region, whole, one way, in part, or one node |
//! | `failing` | sinks, shards |
//! | `away` | the API server, the leader, the name servers |
//! | `orders` | nothing: people hold, drain and try out |

pub(crate) mod away;
pub(crate) mod failing;
pub(crate) mod lost;
pub(crate) mod orders;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
pub(crate) use signalbox_e2e::bench::note;
use signalbox_e2e::{Load, LoadResult, Pair, breaker};

use crate::theatre::Act;

/// The longest wait for anything here.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// Events a second: little, because all of the cluster shares the machine.
pub(crate) const RATE: u64 = 100;

/// A fleet in two regions, with so many shards in each.
pub(crate) async fn pair(act: Act, shards: u32, breaker: serde_json::Value) -> Result<Pair> {
    Pair::start(act.scene, act.cluster, shards, breaker, "1s").await
}

/// Everything that was sent was accepted, but for at most so many of a thousand, and all of it has arrived.
pub(crate) async fn all_arrive(pair: &Pair, load: &Load, errors_per_mille: u64) -> Result<LoadResult> {
    let sent = pair.all_arrive(load, LIMIT).await?;
    let refused = sent.sent - sent.accepted;
    note(&format!(
        "{} sent, {refused} never accepted, {} sent again after {:?}, {:?}",
        sent.sent, sent.retries, sent.errors, sent.latency_ms
    ));
    ensure!(refused * 1_000 <= sent.sent * errors_per_mille, "producers gave up on {refused}: {sent:?}");
    Ok(sent)
}

/// These regions keep their traffic for so long.
pub(crate) async fn serve(pair: &Pair, regions: &[&String], long: Duration) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < long {
        let status = pair.fleet.status_where("there is a status", LIMIT, |_| Ok(())).await?;
        for region in regions {
            let found = breaker(&status, region)?;
            let (phase, message) = (&found.phase, &found.message);
            ensure!(phase == "Serving", "{region} is {phase} after {}: {message}: {:?}", since(begin), status.regions);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Breakers that decide and come back within seconds, so that a story fits into a minute.
pub(crate) fn quick() -> serde_json::Value {
    json!({"window": "5s", "minimumAttempts": 10, "baseTripTime": "4s", "maxTripTime": "10s", "rampPercents": [10, 50, 100]})
}

/// Breakers as a spec has them that says nothing of them, but for how they come back.
pub(crate) fn usual() -> serde_json::Value {
    json!({"baseTripTime": "4s", "maxTripTime": "10s", "rampPercents": [50, 100]})
}

/// So many seconds since then.
pub(crate) fn since(begin: Instant) -> String {
    format!("{:.1} s", begin.elapsed().as_secs_f64())
}
