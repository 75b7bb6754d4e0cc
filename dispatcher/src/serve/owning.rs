//! Whose the slots are: all of them this shard's, or those that the region's table gives to it.
//!
//! This file knows how `claiming` and `peers` are put together, and when a shard that was told to stop may leave them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use signalbox_contract::ShardConfig;
use tokio::task::JoinHandle;

use super::admin::Admin;
use super::claiming::{BATCH_BYTES, Claiming, Router, Standing, Start, Started, TICK};
use super::gates::Gate;
use super::ingest::{Routing, Store};
use super::log::{PairLog, ShardLog};
use super::metrics::Metrics;
use super::peers::{Door, Links};
use super::shutdown::{DRAIN_TIME, FAREWELL_TIME, HAND_OVER_TIME, LEAVE_TIME, TABLE_TIME};
use super::slots::SlotSet;
use super::transfers::Transfers;
use super::writer::Writer;

/// How often a shard that leaves looks whether it may.
const LOOK_TIME: Duration = Duration::from_millis(20);

/// Whose the slots are. The sinks' tasks end with it.
pub(super) enum Owning {
    /// All of them this shard's: nothing claims, so nothing is closed.
    All(#[allow(dead_code, reason = "only kept")] Transfers),
    /// By the region's table.
    Claimed { claiming: Arc<Claiming>, links: Links, door: Arc<Door>, driver: JoinHandle<()> },
}

/// The links of a shard that takes part in routing: one with a control port, and with a number, as it was told or as its
/// pod is called.
pub(super) fn links(
    config: &ShardConfig,
    told: Option<u32>,
    called: Option<u32>,
) -> anyhow::Result<Option<(Links, u32)>> {
    match (&config.control, told.or(called)) {
        (Some(control), Some(ordinal)) => Ok(Some((Links::new(config, control, ordinal)?, ordinal))),
        (None, _) if told.is_some() => Err(anyhow!(
            "--ordinal needs a control port, where shards speak to each other: give the configuration one, or leave it out"
        )),
        _ => Ok(None),
    }
}

/// What a shard has before it is known whose the slots are.
pub(super) struct Parts<'a> {
    pub(super) config: &'a ShardConfig,
    pub(super) data_dir: &'a Path,
    pub(super) log: Arc<PairLog>,
    pub(super) writer: &'a Writer,
    pub(super) metrics: &'a Metrics,
}

impl Owning {
    /// Begins, with what the sinks' tasks go by. With links and a number, by the region's table.
    pub(super) fn start(
        parts: Parts<'_>,
        links: Option<(Links, u32)>,
        admin: &Admin,
        door: Arc<Door>,
    ) -> anyhow::Result<(Self, Vec<Gate>)> {
        let Parts { config, data_dir, log, writer, metrics } = parts;
        let sinks = config.sinks.iter().map(|sink| sink.name.clone()).collect();
        let Some((links, ordinal)) = links else {
            let (transfers, gates) = Transfers::new(log, writer.clone(), sinks, &SlotSet::default());
            return Ok((Self::All(transfers), gates));
        };
        let start = Start {
            fleet: config.fleet.clone(),
            region: config.region.clone(),
            ordinal,
            data_dir: data_dir.to_owned(),
            log,
            writer: writer.clone(),
            sinks,
            outbox: Arc::new(links.clone()),
            metrics: metrics.clone(),
            tick: TICK,
            batch_bytes: BATCH_BYTES,
        };
        let Started { claiming, gates, driver } = start.start()?;
        // Set once, here.
        let _ = admin.claiming.set(claiming.clone());
        Ok((Self::Claimed { claiming, links, door, driver }, gates))
    }

    /// Who knows which way events go, if not all of them stay here.
    pub(super) fn router(&self) -> Option<Arc<dyn Router>> {
        match self {
            Self::All(_) => None,
            Self::Claimed { claiming, .. } => Some(claiming.clone()),
        }
    }

    /// And who takes them there.
    pub(super) fn routing(&self) -> Option<Routing> {
        match self {
            Self::All(_) => None,
            Self::Claimed { claiming, links, .. } => Some(Routing::new(claiming.clone(), Arc::new(links.clone()))),
        }
    }

    /// Lets the other shards in, and says hello to them.
    pub(super) fn open(&self, store: &Arc<Store>) {
        if let Self::Claimed { claiming, links, door, .. } = self {
            let router: Arc<dyn Router> = claiming.clone();
            links.follow(&router);
            let _ = door.set(links.inbound(router, store.clone()));
        }
    }

    /// Resolves when nothing drives the claims any more, which should never be.
    pub(super) async fn ended(&mut self) {
        match self {
            Self::All(_) => std::future::pending().await,
            Self::Claimed { driver, .. } => {
                let _ = driver.await;
            }
        }
    }

    /// Resolves when a shard that was told to stop need not accept any more: no table has come meanwhile that takes its
    /// slots away, or what it held is with others, or it has tried for long enough. Returns whether its slots are its own.
    pub(super) async fn left(&self, told: Instant) -> bool {
        let Self::Claimed { claiming, .. } = self else {
            tokio::time::sleep(LEAVE_TIME).await;
            return true;
        };
        while claiming.standing() == Standing::Owner && told.elapsed() < TABLE_TIME {
            tokio::time::sleep(LOOK_TIME).await;
        }
        let stays = claiming.standing() == Standing::Owner;
        emptied(claiming, told).await;
        stays
    }

    /// Resolves when it need not deliver any more. If its slots are its own, a table may come meanwhile.
    pub(super) async fn drained(&self, log: &dyn ShardLog, told: Instant, stays: bool) {
        let drained = async {
            while log.stats().is_ok_and(|stats| stats.events > 0) {
                tokio::time::sleep(LOOK_TIME).await;
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIME, drained).await;
        if let Self::Claimed { claiming, .. } = self
            && stays
        {
            emptied(claiming, told).await;
        }
    }
}

/// Resolves when a shard need not hand over any more. At once, if its table leaves it its slots.
async fn emptied(claiming: &Claiming, told: Instant) {
    if claiming.standing() == Standing::Owner {
        return;
    }
    while claiming.standing() == Standing::Leaving && told.elapsed() < HAND_OVER_TIME {
        tokio::time::sleep(LOOK_TIME).await;
    }
    match claiming.standing() {
        Standing::Empty => tokio::time::sleep(FAREWELL_TIME).await,
        Standing::Leaving => tracing::warn!("ending with events of other shards: they wait for this one to be back"),
        // A later table gives it slots again.
        Standing::Owner => {}
    }
}
