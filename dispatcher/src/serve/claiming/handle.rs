//! The claims of this shard, for those who ask the way: a look at the machine, under a lock, and an inbox for the rest.
//!
//! ```text
//! route ----> [ machine, paused? ] <--step-- driver        the end of what was admitted wakes it
//! heard, push --> inbox, of bounded length --> driver
//! ```
//!
//! While the first write of an epoch is under way nothing is admitted: what is in the log then is of the epochs before, and
//! what comes later of the new one. May import `log`, and the crate's `claims` and `slots`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use signalbox_contract::{RoutingReport, RoutingTable};
use tokio::sync::{Notify, mpsc, watch};

use super::parcel::Parcel;
use super::router::{Admission, Router, Routes, Way};
use crate::claims::{Answer, Claims, Effect, Epoch, Input, Message, Ordinal};
use crate::slots::slot_of;

/// Inputs that wait for the driver. Of batches there is at most one from each shard, unless it sends them again.
const INBOX: usize = 256;

/// What waits for the driver.
#[derive(Debug)]
pub(super) enum Heard {
    Table(Arc<RoutingTable>),
    Parcel(Ordinal, Parcel),
}

/// The machine, and what must change together with it.
pub(super) struct Machine {
    pub(super) claims: Claims,
    /// Whether nothing is admitted, because an epoch begins.
    paused: bool,
    /// The highest epoch heard of.
    highest: Epoch,
    /// Which shard gets the next event without a key.
    next: u32,
}

/// What the driver and those who ask have in common.
pub(super) struct Shared {
    machine: Mutex<Machine>,
    /// Grows when answers may be others.
    version: watch::Sender<u64>,
    /// The last event of an older epoch is on disk.
    pub(super) drained: Notify,
}

impl Shared {
    pub(super) fn new(claims: Claims) -> Self {
        let highest = claims.epoch();
        let machine = Mutex::new(Machine { claims, paused: false, highest, next: 0 });
        Self { machine, version: watch::Sender::new(0), drained: Notify::new() }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers may be others from now on.
    pub(super) fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// What was admitted has ended.
    fn ended(&self, epoch: Epoch, events: usize) {
        let mut machine = self.machine();
        let drained = (0..events).fold(false, |drained, _| machine.claims.appended(epoch) || drained);
        drop(machine);
        if drained {
            self.drained.notify_one();
        }
    }
}

impl Machine {
    /// Takes an input. If an epoch begins, nothing is admitted until it is written.
    pub(super) fn step(&mut self, input: Input) -> Vec<Effect> {
        if input == Input::Written {
            self.paused = false;
        }
        let effects = self.claims.step(input);
        let safe = self.claims.safe_epoch();
        self.paused |= effects.iter().any(|effect| matches!(effect, Effect::Write(durable) if durable.epoch() != safe));
        effects
    }

    /// Somebody has a table of this epoch.
    pub(super) fn heard_of(&mut self, epoch: Epoch) {
        self.highest = self.highest.max(epoch);
    }

    /// Whether the write that is under way is the first of its epoch.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    fn way(&mut self, key: Option<u64>, routed: Option<Epoch>) -> (Way, Option<Epoch>) {
        let answer = match (key.map(slot_of), self.paused) {
            (Some(slot), false) => self.claims.admit(slot, routed),
            (Some(slot), true) => self.claims.answer(slot, routed),
            (None, false) => {
                self.next = self.next.wrapping_add(1);
                self.claims.admit_keyless(routed, self.next)
            }
            (None, true) => Answer::Hold,
        };
        match answer {
            Answer::Admit(_) if self.paused => (Way::Hold, None),
            Answer::Admit(epoch) => (Way::Here, Some(epoch)),
            Answer::Hold => (Way::Hold, None),
            Answer::HandOver(owner, _) => (Way::Owner(owner), None),
            Answer::Redirect => (Way::Redirect, None),
        }
    }
}

/// What a table wants of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Standing {
    /// It owns slots, or there is no table yet.
    Owner,
    /// It owns none, and still holds what is others'.
    Leaving,
    /// It owns none, and holds nothing.
    Empty,
}

/// The claims of this shard.
pub(in crate::serve) struct Claiming {
    fleet: String,
    region: String,
    ordinal: Ordinal,
    log: u64,
    shared: Arc<Shared>,
    inbox: mpsc::Sender<Heard>,
}

impl Claiming {
    /// With what the driver reads.
    pub(super) fn new(
        (fleet, region): (String, String),
        ordinal: Ordinal,
        log: u64,
        shared: Arc<Shared>,
    ) -> (Self, mpsc::Receiver<Heard>) {
        let (inbox, receiver) = mpsc::channel(INBOX);
        (Self { fleet, region, ordinal, log, shared, inbox }, receiver)
    }

    /// The operator has a table for this shard. An error says why it is not one.
    pub(in crate::serve) fn push(&self, table: RoutingTable) -> Result<(), String> {
        if !self.is_ours(&table) {
            return Err(format!(
                "the table is for {}/{}, and this shard is of {}/{}: nothing was changed",
                table.fleet, table.region, self.fleet, self.region
            ));
        }
        let busy = |_| "this shard has too much to do to take a table: push it again".to_owned();
        self.inbox.try_send(Heard::Table(Arc::new(table))).map_err(busy)
    }

    /// Where this shard is with its table.
    pub(in crate::serve) fn report(&self) -> RoutingReport {
        let machine = self.shared.machine();
        let claims = &machine.claims;
        let count = |slots: usize| u32::try_from(slots).unwrap_or(u32::MAX);
        RoutingReport {
            ordinal: self.ordinal,
            log: self.log,
            epoch: claims.safe_epoch(),
            highest_epoch: machine.highest.max(claims.epoch()),
            claiming: count(claims.claiming()),
            at_risk: count(claims.at_risk().len()),
            empty: claims.is_empty(),
        }
    }

    /// Whether a table is on disk: before, this shard knows no way for anything.
    pub(in crate::serve) fn has_table(&self) -> bool {
        self.shared.machine().claims.safe_epoch() > 0
    }

    /// What the table wants of this shard.
    pub(in crate::serve) fn standing(&self) -> Standing {
        let machine = self.shared.machine();
        match machine.claims.table() {
            Some(table) if table.shards > 0 && self.ordinal >= table.shards => {
                if machine.claims.is_empty() {
                    Standing::Empty
                } else {
                    Standing::Leaving
                }
            }
            _ => Standing::Owner,
        }
    }

    fn is_ours(&self, table: &RoutingTable) -> bool {
        table.fleet == self.fleet && table.region == self.region
    }
}

impl Router for Claiming {
    fn route(&self, keys: &[Option<u64>], routed: Option<Epoch>) -> Routes {
        let seen = *self.shared.version.borrow();
        let mut machine = self.shared.machine();
        let epoch = machine.claims.epoch();
        let mut admitted = None;
        let mut count = 0;
        let mut ways = Vec::with_capacity(keys.len());
        for &key in keys {
            let (way, under) = machine.way(key, routed);
            ways.push(way);
            // At one moment there is one epoch to admit under.
            if let Some(under) = under {
                admitted = Some(under);
                count += 1;
            }
        }
        drop(machine);
        let admission = admitted.map(|under| {
            let shared = self.shared.clone();
            Admission::new(move || shared.ended(under, count))
        });
        Routes { ways, epoch, admission, seen }
    }

    fn changed(&self, seen: u64) -> BoxFuture<'static, ()> {
        let mut version = self.shared.version.subscribe();
        async move {
            // Without a sender nothing will ever change; but who asks has the sender.
            let _ = version.wait_for(|&version| version != seen).await;
        }
        .boxed()
    }

    fn heard(&self, from: Ordinal, parcel: Parcel) {
        let foreign = match &parcel.message {
            Message::Seal(table) | Message::Newer(table) => !self.is_ours(table),
            _ => false,
        };
        if from != self.ordinal && !foreign {
            // Without room it is as if it had not come.
            let _ = self.inbox.try_send(Heard::Parcel(from, parcel));
        }
    }

    fn table(&self) -> Option<Arc<RoutingTable>> {
        self.shared.machine().claims.table().cloned()
    }
}

#[cfg(test)]
mod tests;
