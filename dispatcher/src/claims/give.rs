//! The giver's side: what this shard holds of others' slots goes to them, and what it holds of its own from an earlier
//! tenure goes the same way, to itself.

use std::collections::BTreeMap;

use super::shard::Claims;
use super::types::{Batch, Effect, Epoch, Message, Ordinal, Slots};

/// What one shard is being given under the present epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Giving {
    /// The number of the batch that is on its way, or will be next.
    number: u64,
    /// The slots of what is on its way. None: nothing is.
    under_way: Slots,
    /// Slots of which nothing is here: as far as known, and for certain.
    emptied: Slots,
    done: Slots,
}

impl Claims {
    /// Begins to give, once nothing can be added to what is here and nothing of it is being attempted.
    pub(super) fn give(&mut self) {
        let may = self.is_current() && self.is_drained() && self.stopped;
        if !may || !self.giving.is_empty() {
            return;
        }
        let epoch = self.now.epoch();
        for to in 0..self.now.table.as_ref().map_or(0, |table| table.shards) {
            self.giving.insert(to, Giving::default());
            self.out.push(Effect::Give(to, epoch));
        }
    }

    /// A batch was put together, or there is nothing left to give.
    pub(super) fn gathered(&mut self, to: Ordinal, epoch: Epoch, slots: Slots, emptied: &Slots) {
        let incarnation = self.incarnation;
        let present = epoch == self.now.epoch();
        let Some(giving) = self.giving.get_mut(&to).filter(|_| present) else { return };
        giving.emptied.extend(emptied.difference(&giving.done).copied());
        giving.under_way.clone_from(&slots);
        if !slots.is_empty() {
            let batch = Batch { incarnation, number: giving.number };
            self.out.push(Effect::Send(to, Message::Transfer(epoch, batch, slots)));
        }
    }

    /// What is empty has to be so after a power cut too, before anyone is told who wants to know.
    pub(super) fn sync(&mut self) {
        if self.syncing.is_some() || self.giving.is_empty() {
            return;
        }
        let leaves = self.now.table.as_ref().is_some_and(|table| self.me >= table.shards);
        let (me, claims, asked) = (self.me, self.is_claiming(), &self.asked);
        let emptied: BTreeMap<Ordinal, Slots> = self
            .giving
            .iter_mut()
            .filter(|(to, _)| leaves || asked.contains_key(to) || claims && **to == me)
            .filter(|(_, giving)| !giving.emptied.is_empty())
            .map(|(&to, giving)| (to, std::mem::take(&mut giving.emptied)))
            .collect();
        if !emptied.is_empty() {
            self.syncing = Some(emptied);
            self.out.push(Effect::Sync);
        }
    }

    /// The sync is done.
    pub(super) fn synced(&mut self) {
        for (to, slots) in self.syncing.take().unwrap_or_default() {
            // A table that came meanwhile has other owners, and asks anew.
            if let Some(giving) = self.giving.get_mut(&to) {
                giving.done.extend(slots);
                self.say_done(to);
            }
        }
    }

    /// Tells `to` what this shard is done with, if it is with anything.
    pub(super) fn say_done(&mut self, to: Ordinal) {
        let Some(slots) = self.giving.get(&to).map(|giving| giving.done.clone()).filter(|done| !done.is_empty()) else {
            return;
        };
        if to == self.me {
            self.is_done(to, slots);
        } else if self.asked.contains_key(&to) {
            self.out.push(Effect::Send(to, Message::Done(self.now.epoch(), slots)));
        }
    }

    /// `to` has a batch on its disk: it is not needed here any more.
    pub(super) fn given(&mut self, to: Ordinal, epoch: Epoch, batch: Batch) {
        let incarnation = self.incarnation;
        let present = epoch == self.now.epoch();
        let Some(giving) = self.giving.get_mut(&to).filter(|_| present) else { return };
        if !giving.under_way.is_empty() && batch == (Batch { incarnation, number: giving.number }) {
            giving.under_way.clear();
            giving.number += 1;
            self.out.push(Effect::Drop(to));
            self.out.push(Effect::Give(to, epoch));
        }
    }

    /// Sends again what is on its way.
    pub(super) fn resend(&mut self) {
        let epoch = self.now.epoch();
        for (&to, giving) in self.giving.iter().filter(|(_, giving)| !giving.under_way.is_empty()) {
            let batch = Batch { incarnation: self.incarnation, number: giving.number };
            self.out.push(Effect::Resend(to, Message::Transfer(epoch, batch, giving.under_way.clone())));
        }
    }

    /// Whether everything that this shard held is with its owners, by a table that gives it no slot.
    pub fn is_empty(&self) -> bool {
        let Some(table) = &self.now.table else { return false };
        let given = |to: Ordinal| self.giving.get(&to).is_some_and(|giving| giving.done == self.slots_of(to));
        self.me >= table.shards && table.shards > 0 && self.is_current() && (0..table.shards).all(given)
    }

    pub(super) fn report_empty(&mut self) {
        if !self.said_empty && self.is_empty() {
            self.said_empty = true;
            self.out.push(Effect::Empty(self.now.epoch()));
        }
    }
}
