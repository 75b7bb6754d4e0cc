//! The claimer's side: seals, opening of slots, and what others hand over.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::shard::Claims;
use super::types::{Batch, Effect, Epoch, Message, Ordinal, Slots, Source, Tenure};

impl Claims {
    /// The others that a claim waits for.
    fn awaited(&self) -> impl Iterator<Item = Ordinal> {
        let table = self.now.table.iter();
        table
            .flat_map(|table| table.peers.iter().filter(|peer| !table.lost.contains(&peer.ordinal)))
            .map(|peer| peer.ordinal)
            .filter(|&ordinal| ordinal != self.me)
    }

    fn lost(&self) -> BTreeSet<Ordinal> {
        let lost = self.now.table.iter().flat_map(|table| table.lost.iter().copied());
        lost.filter(|&ordinal| ordinal != self.me).collect()
    }

    /// Asks everyone whose seal, or whose word that it is done, is missing.
    pub(super) fn ask(&mut self) {
        let Some(table) = self.now.table.clone() else { return };
        let mine = self.slots_of(self.me);
        let closed = mine.iter().any(|slot| !self.now.tenures.contains_key(slot));
        let missing = |ordinal: &Ordinal| {
            let done = self.done.get(ordinal);
            closed && !self.sealed.contains(ordinal)
                || mine.iter().any(|slot| {
                    let tenure = self.now.tenures.get(slot);
                    let wanted = tenure.is_none_or(|tenure| !tenure.deliver || tenure.at_risk.contains(ordinal));
                    wanted && !done.is_some_and(|done| done.contains(slot))
                })
        };
        let missing: Vec<Ordinal> = self.awaited().filter(missing).collect();
        for ordinal in missing {
            self.out.push(Effect::Send(ordinal, Message::Seal(Arc::clone(&table))));
        }
    }

    /// Answers those who wait for this shard's seal, if it holds.
    pub(super) fn seal(&mut self) {
        if self.is_current() && self.is_drained() {
            let epoch = self.now.epoch();
            for (&ordinal, told) in self.asked.iter_mut().filter(|(_, told)| !**told) {
                *told = true;
                self.out.push(Effect::Send(ordinal, Message::Sealed(epoch)));
            }
        }
    }

    /// Whether there is a slot that may not be delivered yet.
    pub(super) fn is_claiming(&self) -> bool {
        let tenure = |slot: &u16| self.now.tenures.get(slot);
        self.slots_of(self.me).iter().any(|slot| tenure(slot).is_none_or(|tenure| !tenure.deliver))
    }

    /// Opens what may be accepted, and what may be delivered. Both take effect when they are on disk.
    pub(super) fn open(&mut self) {
        if !self.is_current() {
            return;
        }
        let (epoch, lost) = (self.now.epoch(), self.lost());
        let awaited: Vec<Ordinal> = self.awaited().collect();
        if awaited.iter().all(|ordinal| self.sealed.contains(ordinal)) {
            for slot in self.slots_of(self.me) {
                self.now.tenures.entry(slot).or_insert_with(|| Tenure { since: epoch, ..Tenure::default() });
            }
        }
        // A batch that is being stored may be a repeat, and must not come after what it repeats was delivered.
        let (done, storing) = (&self.done, &self.storing);
        let is_quiet = |slot| !storing.values().any(|slots| slots.contains(slot));
        for (slot, tenure) in self.now.tenures.iter_mut().filter(|(slot, tenure)| !tenure.deliver && is_quiet(slot)) {
            let is_done = |ordinal: &Ordinal| done.get(ordinal).is_some_and(|slots| slots.contains(slot));
            if is_done(&self.me) && awaited.iter().all(is_done) {
                tenure.deliver = true;
                tenure.done = done.keys().copied().filter(is_done).collect();
                tenure.at_risk.extend(lost.iter().copied().filter(|ordinal| !is_done(ordinal)));
            }
        }
    }

    /// `from` holds nothing of these slots any more.
    pub(super) fn is_done(&mut self, from: Ordinal, slots: Slots) {
        for (_, tenure) in self.now.tenures.iter_mut().filter(|(slot, tenure)| tenure.deliver && slots.contains(slot)) {
            tenure.done.insert(from);
            tenure.at_risk.remove(&from);
        }
        self.done.entry(from).or_default().extend(slots);
    }

    /// Records came. Those of slots that their giver was done with are repeats: they may have been delivered, and
    /// forgotten. Others that are there already are told by their keys.
    pub(super) fn take(&mut self, from: Ordinal, epoch: Epoch, batch: Batch, mut slots: Slots) {
        if epoch != self.now.epoch() || !self.is_current() || self.storing.contains_key(&(epoch, from, batch)) {
            return;
        }
        slots.retain(|slot| {
            let tenure = self.now.tenures.get(slot);
            tenure.is_none_or(|tenure| !tenure.deliver || !tenure.done.contains(&from))
        });
        self.storing.insert((epoch, from, batch), slots.clone());
        self.out.push(Effect::Store { from, epoch, batch, slots });
    }

    /// Records are on disk.
    pub(super) fn stored(&mut self, from: Ordinal, epoch: Epoch, batch: Batch, added: &Slots) {
        self.storing.remove(&(epoch, from, batch));
        for &slot in added {
            // Late ones: the slot is being delivered already. Before more of the own log, these.
            if self.gates.get(&slot) == Some(&Source::Own) {
                self.gate(slot, Source::Inherited);
            }
            if let Some(tenure) = self.now.tenures.get_mut(&slot).filter(|tenure| tenure.deliver) {
                tenure.at_risk.insert(from);
            }
        }
        if epoch == self.now.epoch() {
            self.out.push(Effect::Send(from, Message::Stored(epoch, batch)));
        }
    }
}
