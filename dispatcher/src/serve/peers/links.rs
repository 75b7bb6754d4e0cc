//! The links to the other shards: one per shard and address, made when something is to be sent, gone when unused.
//!
//! Tables say who is where. A link that no table leads to any more is not used any more, and so it ends. Every shard of a
//! new table is told hello, so that it knows where this one is before its name server does. May import `claiming` and
//! `ingest`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use signalbox_contract::{ControlConfig, Peer, RoutingTable, ShardConfig};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::connect::Connector;
use super::inbound::Inbound;
use super::queue::{Part, Queue};
use super::regions::Regions;
use super::sender::{self, Ends, Link};
use super::whereabouts::Whereabouts;
use super::wire::Address;
use crate::claims::{Epoch, Ordinal};
use crate::serve::claiming::{Outbox, Parcel, Router};
use crate::serve::ingest::{HandOver, Outcome, Store};

/// How long a link is kept that nobody uses.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// The links of this shard. Cheap to clone.
#[derive(Clone)]
pub(in crate::serve) struct Links(Arc<Inner>);

struct Inner {
    fleet: String,
    region: String,
    ordinal: Ordinal,
    connector: Arc<Connector>,
    whereabouts: Arc<Whereabouts>,
    idle: Duration,
    links: Mutex<HashMap<(Ordinal, String), Arc<Link>>>,
    runtime: Handle,
}

impl Links {
    /// No links yet. To be called on a runtime. The error says what to write instead.
    pub(in crate::serve) fn new(
        config: &ShardConfig,
        control: &ControlConfig,
        ordinal: Ordinal,
    ) -> anyhow::Result<Self> {
        Self::with_idle_time(config, control, ordinal, IDLE_TIME)
    }

    fn with_idle_time(
        config: &ShardConfig,
        control: &ControlConfig,
        ordinal: Ordinal,
        idle: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            fleet: config.fleet.clone(),
            region: config.region.clone(),
            ordinal,
            connector: Arc::new(Connector::new(control)?),
            whereabouts: Arc::default(),
            idle,
            links: Mutex::default(),
            runtime: Handle::current(),
        })))
    }

    /// What other shards speak to, of this one.
    pub(in crate::serve) fn inbound(&self, router: Arc<dyn Router>, store: Arc<Store>) -> Inbound {
        let inner = &self.0;
        Inbound::new((&inner.fleet, &inner.region, inner.ordinal), router, store, inner.whereabouts.clone())
    }

    /// The way to shards of other regions.
    pub(in crate::serve) fn regions(&self) -> Regions {
        Regions::new(self.0.fleet.clone(), self.0.connector.clone())
    }

    /// Follows the tables of `router` until it is gone: says hello to all shards of each.
    pub(in crate::serve) fn follow(&self, router: &Arc<dyn Router>) {
        let (links, router) = (self.clone(), Arc::downgrade(router));
        self.0.runtime.spawn(async move {
            let mut greeted = None;
            while let Some(known) = router.upgrade() {
                let seen = known.route(&[], None).seen;
                let table = known.table();
                if let Some(table) = table.filter(|table| greeted != Some(table.epoch)) {
                    greeted = Some(table.epoch);
                    links.greet(&table);
                }
                let changed = known.changed(seen);
                drop(known);
                changed.await;
            }
        });
    }

    /// Says hello to the shards of this table, and to no others.
    fn greet(&self, table: &RoutingTable) {
        let others = || table.peers.iter().filter(|peer| peer.ordinal != self.0.ordinal);
        {
            let links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
            let is_in_it = |ordinal, address: &str| others().any(|p| p.ordinal == ordinal && p.address == address);
            for ((ordinal, address), link) in links.iter() {
                if !is_in_it(*ordinal, address) {
                    link.queue().greet(false);
                }
            }
        }
        others().for_each(|peer| self.queue(peer, |queue| queue.greet(true)));
    }

    /// Puts something into the queue of the link to `to`, which is there from now on.
    fn queue(&self, to: &Peer, put: impl FnOnce(&mut Queue)) {
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (to.ordinal, to.address.clone());
        let link = links.entry(at).or_insert_with(|| self.start(to)).clone();
        // Before the lock is given back: a link ends only when it is seen to be empty, under the same lock.
        put(&mut link.queue());
        drop(links);
        link.wake();
    }

    fn start(&self, to: &Peer) -> Arc<Link> {
        let inner = &self.0;
        let (fleet, region) = (inner.fleet.clone(), inner.region.clone());
        let ends = Ends {
            connector: inner.connector.clone(),
            whereabouts: inner.whereabouts.clone(),
            address: Address { fleet, region, from: inner.ordinal, to: to.ordinal },
            host: to.address.clone(),
            idle: inner.idle,
        };
        let link = Arc::<Link>::default();
        let at = (to.ordinal, to.address.clone());
        let (all, queue) = (Arc::downgrade(inner), link.clone());
        let may_end = move || {
            let Some(all) = all.upgrade() else { return true };
            let mut links = all.links.lock().unwrap_or_else(PoisonError::into_inner);
            let unused = queue.queue().is_empty();
            if unused {
                links.remove(&at);
            }
            unused
        };
        inner.runtime.spawn(sender::run(link.clone(), Arc::new(ends), may_end));
        link
    }
}

impl Outbox for Links {
    fn send(&self, to: &Peer, parcel: Parcel) {
        self.queue(to, |queue| queue.say(parcel));
    }
}

impl HandOver for Links {
    fn hand_over(&self, to: &Peer, epoch: Epoch, records: Vec<Bytes>) -> BoxFuture<'static, Outcome> {
        let (outcome, waiting) = oneshot::channel();
        self.queue(to, |queue| queue.pass(Part { epoch, records, outcome }));
        let gone = || Outcome::Unreachable("the link has ended".to_owned());
        waiting.map(move |outcome| outcome.unwrap_or_else(|_| gone())).boxed()
    }
}

#[cfg(test)]
mod tests;
