//! Carrying out effects: the driver's hands. See `driver` for the rest of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::super::giving::{Batch as Gathered, Giving, Load, Survey, Wanted};
use super::super::jobs::Done;
use super::super::parcel::Parcel;
use super::super::storing;
use super::Driver;
use crate::claims::{Batch, Effect, Epoch, Input, Message, Ordinal, Slot, Slots};
use crate::serve::log::Position;
use crate::serve::slots::{KEYLESS, SlotSet};

impl Driver {
    /// Does one thing. Returns what the machine has to be told at once, and the events that go with it.
    pub(super) fn act(&mut self, effect: Effect, load: &Arc<Load>) -> Option<(Input, Arc<Load>)> {
        match effect {
            Effect::Write(durable) => self.waiting = Some(durable),
            Effect::Send(to, message) | Effect::Resend(to, message) => return self.send(to, message),
            Effect::Stop(epoch, keep) => self.stop(epoch, &keep),
            Effect::Deliver(slot, _) => self.opening.want(usize::from(slot)),
            Effect::Give(to, epoch) => self.give(to, epoch),
            Effect::Drop(to) => {
                if let Some(giving) = self.giving.get_mut(&to) {
                    giving.load = Arc::default();
                    giving.given = std::mem::take(&mut giving.entries);
                    if to != self.me {
                        self.metrics.given(giving.given.len());
                    }
                }
            }
            Effect::Sync => {
                self.running.spawn(self.jobs.clone().sync());
            }
            Effect::Store { from, epoch, batch, slots } => return self.store((from, epoch, batch), &slots, load),
            Effect::Reconsider => {
                self.shared.changed();
                self.time_claim();
            }
            Effect::Empty(epoch) => tracing::info!(epoch, "everything is with other shards: this one may go"),
            Effect::Conflict(epoch) => {
                tracing::warn!(epoch, "there are two routing tables of one epoch: waiting for a later one");
            }
            Effect::OtherLog(epoch) => {
                tracing::warn!(
                    epoch,
                    "the routing table names another log than this shard has: waiting for a later one"
                );
            }
            Effect::Answer(..) => {}
        }
        None
    }

    fn send(&mut self, to: Ordinal, message: Message) -> Option<(Input, Arc<Load>)> {
        let transfer = matches!(message, Message::Transfer(..));
        let load = self.giving.get(&to).filter(|_| transfer).map(|giving| giving.load.clone()).unwrap_or_default();
        if to == self.me {
            return Some((Input::Message(to, message), load));
        }
        let table = self.shared.machine().claims.table().cloned();
        if let Some(peer) = table.iter().flat_map(|table| &table.peers).find(|peer| peer.ordinal == to) {
            let (sinks, events) = (load.sinks.clone(), load.events.clone());
            self.outbox.send(peer, Parcel { message, sinks, events });
        }
        None
    }

    fn stop(&mut self, epoch: Epoch, keep: &Slots) {
        let mut keep: SlotSet = keep.iter().map(|&slot| usize::from(slot)).collect();
        if self.owns_slots() {
            keep.insert(KEYLESS);
            self.opening.want(KEYLESS);
        }
        tracing::info!(epoch, kept = keep.iter().count(), "goes by another routing table");
        self.opening.keep_only(&keep);
        // What is found under an older table is not given any more.
        self.giving.clear();
        self.survey = None;
        let closing = self.jobs.transfers.close(&SlotSet::all().without(&keep));
        self.running.spawn(async move {
            match closing.await {
                Ok(()) => Done::Stopped(epoch),
                Err(_) => Done::Ended,
            }
        });
    }

    pub(super) fn order(&mut self) {
        if let Some(slots) = self.opening.next() {
            self.running.spawn(self.jobs.clone().order(slots));
        }
    }

    fn give(&mut self, to: Ordinal, epoch: Epoch) {
        if self.giving.get(&to).is_none_or(|giving| giving.epoch != epoch) {
            let wanted = self.wanted(to, epoch);
            self.giving.insert(to, Giving::new(epoch, wanted));
        }
        let survey = match &self.survey {
            Some(survey) => survey.clone(),
            None => self.survey.insert(Arc::new(Survey::new(self.wanted(self.me, epoch)))).clone(),
        };
        let Some(giving) = self.giving.get_mut(&to) else { return };
        let (given, what) = (std::mem::take(&mut giving.given), (survey, giving.wanted.clone()));
        self.running.spawn(self.jobs.clone().give((to, epoch), given, what, giving.next));
    }

    /// Answers may be others: measures how long it took until all slots of a table are accepted.
    fn time_claim(&mut self) {
        let closed = self.shared.machine().claims.closed();
        match self.claiming_since {
            None if closed > 0 => self.claiming_since = Some(Instant::now()),
            Some(since) if closed == 0 => {
                let after = since.elapsed();
                self.metrics.claimed(after);
                tracing::info!(after_ms = after.as_millis(), "accepts all slots of the routing table");
                self.claiming_since = None;
            }
            _ => {}
        }
    }

    /// What this shard has to look for, to give it to another, or to itself.
    fn wanted(&self, to: Ordinal, epoch: Epoch) -> Wanted {
        let keyless = to == 0 && !self.owns_slots();
        let machine = self.shared.machine();
        let slots = machine.claims.slots_of(to);
        let (before, own_until) = if to == self.me {
            let before = slots.iter().map(|&slot| (slot, machine.claims.before(slot))).collect();
            (Some(before), self.marks.end_of_older(epoch).unwrap_or(Position::MAX))
        } else {
            (None, Position::MAX)
        };
        Wanted { slots, keyless, before, marks: self.marks.clone(), own_until }
    }

    pub(super) fn gathered(&mut self, to: Ordinal, epoch: Epoch, batch: Gathered) -> Option<Input> {
        // Under another epoch it is gathered anew.
        let giving = self.giving.get_mut(&to).filter(|giving| giving.epoch == epoch)?;
        let Gathered { load, entries, slots, emptied, next } = batch;
        giving.next = next;
        giving.load = load;
        giving.entries = entries;
        Some(Input::Gathered { to, epoch, slots, emptied })
    }

    fn store(&mut self, of: (Ordinal, Epoch, Batch), slots: &Slots, load: &Arc<Load>) -> Option<(Input, Arc<Load>)> {
        let since: BTreeMap<Slot, Epoch> = {
            let machine = self.shared.machine();
            let all = machine.claims.slots_of(self.me).into_iter();
            all.map(|slot| (slot, machine.claims.before(slot))).collect()
        };
        match storing::bequests(&self.jobs.transfers, load, slots, &since) {
            Ok(bequests) => {
                self.running.spawn(self.jobs.clone().store(of, bequests));
                None
            }
            Err(unknown) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(from = of.0, "{unknown}: waiting until both have the same configuration");
                }
                let (from, epoch, batch) = of;
                Some((Input::NotStored { from, epoch, batch }, Arc::default()))
            }
        }
    }

    pub(super) fn owns_slots(&self) -> bool {
        self.shared.machine().claims.table().is_some_and(|table| self.me < table.shards)
    }
}
