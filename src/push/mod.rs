//! Gives each shard that goes by an older routing table, or by none, the one that was decided. May import `fleet`,
//! `metrics`, `tls`.
//!
//! ```text
//! plan (in the status by now) --PUT, side by side--> shards that are behind
//! ```
//!
//! **Architecture Invariant:** called only after the status with the table was written: what a shard knows of, the next
//! operator knows of. Nothing is kept between calls: a shard that did not get it still says so in its report, and is given
//! it with the next look.

mod request;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::StreamExt as _;
use signalbox_contract::CONTROL_PORT;

use crate::fleet::{FleetIntent, FleetPlan, Keyring, names};
use crate::metrics::Metrics;
use crate::tls::Identity;
use request::{NotTaken, put};

/// Longest wait for one shard: the next look tries again.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Shards that are spoken to at once.
const CONCURRENCY: usize = 32;

/// Gives the tables out, and counts how it went.
pub(crate) async fn push(keyring: &Keyring, intent: &FleetIntent, plan: &FleetPlan, metrics: &Metrics) {
    let tables = plan.regions.iter().filter_map(|region| Some((&region.name, region.routing.as_ref()?)));
    let pushes: Vec<_> = tables
        .flat_map(|(region, plan)| {
            let table = plan.routing.table(&intent.name, region, &intent.namespace);
            // Strings and numbers: they always serialise.
            let body = serde_json::to_vec(&table).unwrap_or_default();
            plan.behind.iter().map(move |behind| (behind, table.epoch, body.clone()))
        })
        .collect();
    if pushes.is_empty() {
        return;
    }
    let identity = match Identity::new(keyring, names::shard_identity(&intent.name, &intent.namespace)) {
        Ok(identity) => identity,
        Err(why) => return tracing::warn!(fleet = intent.name, why, "no routing table can be given out"),
    };
    futures::stream::iter(pushes)
        .for_each_concurrent(CONCURRENCY, async |(behind, epoch, body)| {
            let given = tokio::time::timeout(TIMEOUT, put(&behind.ip, CONTROL_PORT, Some(&identity), body)).await;
            let given = given.unwrap_or_else(|_| Err(NotTaken::Unreachable(format!("no answer within {TIMEOUT:?}"))));
            metrics.routing_pushed(match &given {
                Ok(()) => "taken",
                Err(NotTaken::Refused(_)) => "refused",
                Err(NotTaken::Unreachable(_)) => "unreachable",
            });
            match given {
                Ok(()) => tracing::info!(pod = behind.pod, epoch, "has the routing table"),
                Err(NotTaken::Refused(why) | NotTaken::Unreachable(why)) => {
                    tracing::warn!(pod = behind.pod, epoch, why, "does not have the routing table yet");
                }
            }
        })
        .await;
}
