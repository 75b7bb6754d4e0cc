//! Gives each shard that goes by an older table, or by none, the one that was decided: its region's routing table, and the
//! fleet's traffic table. May import `fleet`, `metrics`, `tls`.
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
use serde::Serialize;
use signalbox_contract::{CONTROL_PORT, ROUTING_PATH, TRAFFIC_PATH};

use crate::fleet::{Behind, FleetIntent, FleetPlan, Keyring, names};
use crate::metrics::Metrics;
use crate::tls::Identity;
use request::{NotTaken, put};

/// Longest wait for one shard: the next look tries again.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Shards that are spoken to at once.
const CONCURRENCY: usize = 32;

/// A table for one shard.
struct Push<'a> {
    table: Table,
    to: &'a Behind,
    /// Epoch or version.
    version: u64,
    body: Vec<u8>,
}

/// What kind of table it is.
#[derive(Clone, Copy)]
enum Table {
    Routing,
    Traffic,
}

/// Gives the tables out, and counts how it went.
pub(crate) async fn push(keyring: &Keyring, intent: &FleetIntent, plan: &FleetPlan, metrics: &Metrics) {
    let pushes = pushes(intent, plan);
    if pushes.is_empty() {
        return;
    }
    let identity = match Identity::new(keyring, names::shard_identity(&intent.name, &intent.namespace)) {
        Ok(identity) => identity,
        Err(why) => return tracing::warn!(fleet = intent.name, why, "no table can be given out"),
    };
    futures::stream::iter(pushes)
        .for_each_concurrent(CONCURRENCY, async |Push { table, to, version, body }| {
            let put = put(&to.ip, CONTROL_PORT, Some(&identity), table.path(), body);
            let given = tokio::time::timeout(TIMEOUT, put).await;
            let given = given.unwrap_or_else(|_| Err(NotTaken::Unreachable(format!("no answer within {TIMEOUT:?}"))));
            let outcome = match &given {
                Ok(()) => "taken",
                Err(NotTaken::Refused(_)) => "refused",
                Err(NotTaken::Unknown) => "unknown",
                Err(NotTaken::Unreachable(_)) => "unreachable",
            };
            let (pod, kind) = (&to.pod, table.name());
            match table {
                Table::Routing => metrics.routing_pushed(outcome),
                Table::Traffic => metrics.traffic_pushed(outcome),
            }
            match given {
                Ok(()) => tracing::info!(pod, version, "has the {kind} table"),
                Err(NotTaken::Unknown) => tracing::debug!(pod, version, "is of an image that knows no {kind} table"),
                Err(NotTaken::Refused(why) | NotTaken::Unreachable(why)) => {
                    tracing::warn!(pod, version, why, "does not have the {kind} table yet");
                }
            }
        })
        .await;
}

/// Who is to be given what.
fn pushes<'a>(intent: &FleetIntent, plan: &'a FleetPlan) -> Vec<Push<'a>> {
    let mut pushes = Vec::new();
    for (region, plan) in plan.regions.iter().filter_map(|region| Some((&region.name, region.routing.as_ref()?))) {
        let routing = plan.routing.table(&intent.name, region, &intent.namespace);
        let body = json(&routing);
        let push = |to| Push { table: Table::Routing, to, version: routing.epoch, body: body.clone() };
        pushes.extend(plan.behind.iter().map(push));
    }
    if let Some(traffic) = &plan.traffic.table {
        let body = json(traffic);
        let push = |to| Push { table: Table::Traffic, to, version: traffic.version, body: body.clone() };
        pushes.extend(plan.traffic.behind.iter().map(push));
    }
    pushes
}

fn json(table: &impl Serialize) -> Vec<u8> {
    // Strings and numbers: they always serialise.
    serde_json::to_vec(table).unwrap_or_default()
}

impl Table {
    fn path(self) -> &'static str {
        match self {
            Self::Routing => ROUTING_PATH,
            Self::Traffic => TRAFFIC_PATH,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::Traffic => "traffic",
        }
    }
}
