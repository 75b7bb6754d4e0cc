//! Regions that fail, and what becomes of their traffic.
//!
//! | module | what fails |
//! | --- | --- |
//! | `lost` | the network of a region, whole, one way, in part, or one node |
//! | `failing` | sinks, shards |
//! | `away` | the API server, the leader |
//! | `orders` | nothing: people hold, drain and try out |

pub(crate) mod away;
pub(crate) mod failing;
pub(crate) mod lost;
pub(crate) mod orders;

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use signalbox_cluster::Cluster;
use signalbox_e2e::{Fleet, FleetSpec, Load, LoadResult, LoadSpec, Scene, Sinks};

use crate::theatre::Act;

/// The longest wait for anything here.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// Events a second: little, because all of the cluster shares the machine.
pub(crate) const RATE: u64 = 100;

/// A fleet in two regions, of which one is going to fail.
pub(crate) struct Two {
    pub(crate) scene: Scene,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) sinks: Sinks,
    pub(crate) fleet: Fleet,
    /// The region that stays, with the leader in it.
    pub(crate) stays: String,
    /// The one that fails.
    pub(crate) fails: String,
}

impl Two {
    /// A fleet that is ready, with so many shards in each region, and with these times of its breakers.
    pub(crate) async fn start(act: Act, shards: u32, breaker: serde_json::Value) -> Result<Self> {
        let Act { scene, cluster, regions, .. } = act;
        let stays = scene.stage.leader_region(&cluster).await?;
        let fails = regions.iter().find(|region| **region != stays).context("there is no other region")?.clone();
        let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
        let mut spec = FleetSpec::new("orders", &regions, shards, &sinks);
        spec.more = vec![("breaker".to_owned(), breaker)];
        let fleet = Fleet::apply(&scene, &spec).await?;
        fleet.ready().await?;
        Ok(Self { scene, cluster, sinks, fleet, stays, fails })
    }

    /// Sends for so long, from the region that stays, as producers do that try once more after 5 s.
    pub(crate) async fn load(&self, seconds: u64) -> Result<Load> {
        let spec = LoadSpec::new("orders", RATE, RATE * seconds).from_region(&self.stays);
        let load = Load::start_with(&self.scene, &spec.trying(Duration::from_secs(5), 1)).await?;
        load.sends().await?;
        Ok(load)
    }

    /// Everything that was sent was accepted, but for at most so many of a thousand, and all of it has arrived.
    pub(crate) async fn all_arrive(&self, load: &Load, errors_per_mille: u64) -> Result<LoadResult> {
        let sent = load.finish().await?;
        let refused = sent.sent - sent.accepted;
        note(&format!(
            "{} sent, {} never accepted, {} sent again, {:?}",
            sent.sent, refused, sent.retries, sent.latency_ms
        ));
        ensure!(refused * 1_000 <= sent.sent * errors_per_mille, "producers gave up on {refused}: {sent:?}");
        // What was never accepted may be missing.
        signalbox_e2e::eventually("what was accepted arrives", LIMIT, async || {
            let receipts = self.sinks.receipts(&load.source, sent.sent).await?;
            ensure!(receipts.lost <= refused, "{} are missing, {:?} among them", receipts.lost, receipts.missing);
            Ok(Some(()))
        })
        .await?;
        Ok(sent)
    }
}

/// Breakers that decide and come back within seconds, so that a story fits into a minute.
pub(crate) fn quick() -> serde_json::Value {
    json!({"window": "5s", "minimumAttempts": 10, "baseTripTime": "4s", "maxTripTime": "10s", "rampPercents": [10, 50, 100]})
}

/// Breakers as a spec has them that says nothing of them, but for how they come back.
pub(crate) fn usual() -> serde_json::Value {
    json!({"baseTripTime": "4s", "maxTripTime": "10s", "rampPercents": [50, 100]})
}

/// A measured figure, for whoever reads the log.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// So many seconds since then.
pub(crate) fn since(begin: Instant) -> String {
    format!("{:.1} s", begin.elapsed().as_secs_f64())
}
