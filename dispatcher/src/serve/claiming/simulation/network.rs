//! The network between the shards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use signalbox_contract::Peer;

use super::super::{Outbox, Parcel, Router};
use super::Dice;
use crate::claims::Ordinal;

pub(super) struct Network {
    reach: Mutex<BTreeMap<Ordinal, Weak<dyn Router>>>,
    dice: Dice,
    pub(super) faults: AtomicBool,
}

impl Network {
    pub(super) fn new(seed: u64, faults: bool) -> Self {
        Self { reach: Mutex::default(), dice: Dice::new(seed), faults: AtomicBool::new(faults) }
    }

    pub(super) fn join(&self, ordinal: Ordinal, router: Weak<dyn Router>) {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).insert(ordinal, router);
    }

    pub(super) fn router(&self, ordinal: Ordinal) -> Option<Arc<dyn Router>> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner).get(&ordinal).and_then(Weak::upgrade)
    }
}

/// The network as one shard uses it.
pub(super) struct Link {
    pub(super) from: Ordinal,
    pub(super) network: Arc<Network>,
}

impl Outbox for Link {
    fn send(&self, to: &Peer, parcel: Parcel) {
        let copies = match self.network.dice.below(10) {
            0 if self.network.faults.load(Ordering::Relaxed) => 0,
            1 if self.network.faults.load(Ordering::Relaxed) => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = if self.network.faults.load(Ordering::Relaxed) { self.network.dice.below(40) } else { 1 };
            let (network, from, to, parcel) = (self.network.clone(), self.from, to.ordinal, parcel.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(late)).await;
                if let Some(router) = network.router(to) {
                    router.heard(from, parcel);
                }
            });
        }
    }
}
