//! Whose the slots are, and what that means for the life of the process. May import `claiming`, `peers`, `ingest`,
//! `traffic`, `transfers`, and `shutdown`'s times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::claiming::{Claiming, Router, Standing};
use super::ingest::{Ingest, Routing, Store};
use super::peers::{Door, Links};
use super::shutdown::{FAREWELL_TIME, HAND_OVER_TIME, LEAVE_TIME, LINGER_TIME, QUIET_TIME, TABLE_TIME};
use super::traffic::Traffic;
use super::transfers::Transfers;

/// How often it is looked whether the table wants something else of this shard.
const LOOK_GAP: Duration = Duration::from_millis(20);

/// Whose the slots are. The sinks' tasks end with it.
pub(super) enum Ownership {
    /// All of them this shard's.
    None(#[allow(dead_code, reason = "only kept")] Transfers),
    /// By the region's table.
    Driven { claiming: Arc<Claiming>, links: Links, door: Arc<Door>, driver: JoinHandle<()>, traffic: Arc<Traffic> },
}

impl Ownership {
    /// Who knows whose a key is.
    pub(super) fn router(&self) -> Option<Arc<dyn Router>> {
        match self {
            Self::None(_) => None,
            Self::Driven { claiming, .. } => Some(claiming.clone()),
        }
    }

    /// Resolves when nothing drives the claims any more, which should never be.
    pub(super) async fn ended(&mut self) {
        match self {
            Self::None(_) => std::future::pending().await,
            Self::Driven { driver, .. } => {
                let _ = driver.await;
            }
        }
    }

    /// Resolves when a shard that was told to stop need not accept any more: no table has come meanwhile that takes its
    /// slots away, or what it held is with others, or it has tried for long enough; and producers have left, within reason.
    pub(super) async fn left(&self, told: Instant, ingest: &Ingest) {
        let Self::Driven { claiming, .. } = self else { return tokio::time::sleep(LEAVE_TIME).await };
        while claiming.standing() == Standing::Owner && told.elapsed() < TABLE_TIME {
            tokio::time::sleep(LOOK_GAP).await;
        }
        self.emptied(told).await;
        let _ = tokio::time::timeout(LINGER_TIME, ingest.quiet(QUIET_TIME)).await;
    }

    /// Resolves when it need not hand over any more. At once, if its table leaves it its slots.
    pub(super) async fn emptied(&self, told: Instant) {
        let Self::Driven { claiming, .. } = self else { return };
        if claiming.standing() == Standing::Owner {
            return;
        }
        while claiming.standing() == Standing::Leaving && told.elapsed() < HAND_OVER_TIME {
            tokio::time::sleep(LOOK_GAP).await;
        }
        match claiming.standing() {
            Standing::Empty => tokio::time::sleep(FAREWELL_TIME).await,
            Standing::Leaving => {
                tracing::warn!("ending with events of other shards: they wait for this one to be back");
            }
            // A later table gives it slots again.
            Standing::Owner => {}
        }
    }

    /// Whether its table leaves it its slots.
    pub(super) fn owns_slots(&self) -> bool {
        match self {
            Self::None(_) => true,
            Self::Driven { claiming, .. } => claiming.standing() == Standing::Owner,
        }
    }

    /// What ingest asks, and how it passes events on.
    pub(super) fn routing(&self) -> Option<Routing> {
        match self {
            Self::None(_) => None,
            Self::Driven { claiming, links, traffic, .. } => {
                let routing = Routing::new(claiming.clone(), Arc::new(links.clone()));
                Some(routing.with_traffic(traffic.clone()))
            }
        }
    }

    /// Lets the other shards in, and says hello to them.
    pub(super) fn open(&self, store: &Arc<Store>) {
        if let Self::Driven { claiming, links, door, .. } = self {
            let router: Arc<dyn Router> = claiming.clone();
            links.follow(&router);
            let _ = door.set(links.inbound(router, store.clone()));
        }
    }
}
