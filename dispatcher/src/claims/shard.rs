//! One shard's part of the protocol: its state, the way of an input through it, tables and requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use signalbox_contract::RoutingTable;

use super::give::Giving;
use super::types::{Answer, Batch, Durable, Effect, Epoch, Input, Message, Ordinal, Slot, Slots, Source};
use crate::slots::owner;

/// One shard's part of the protocol. The documentation of the module says what it promises.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claims {
    pub(super) me: Ordinal,
    log: u64,
    pub(super) incarnation: u64,
    /// The slots that there are.
    all: Arc<Slots>,
    /// What is believed now, and what of it is on disk.
    pub(super) now: Durable,
    pub(super) safe: Durable,
    /// The write that is under way.
    writing: Option<Durable>,
    /// Events admitted and not yet on disk, by the epoch that they were admitted under.
    pub(super) appending: BTreeMap<Epoch, u32>,
    /// Batches that are being stored, and the slots that they have records of.
    pub(super) storing: BTreeMap<(Epoch, Ordinal, Batch), Slots>,
    /// Whether the attempts for slots that are not delivered have ended.
    pub(super) stopped: bool,
    /// Under the present epoch: who claims, and whether it was told that this shard has sealed; who has sealed for
    /// this shard; who is done with what.
    pub(super) asked: BTreeMap<Ordinal, bool>,
    pub(super) sealed: BTreeSet<Ordinal>,
    pub(super) done: BTreeMap<Ordinal, Slots>,
    /// Under the present epoch: what is being given, by whom it is for.
    pub(super) giving: BTreeMap<Ordinal, Giving>,
    /// What a sync that is under way will make certain.
    pub(super) syncing: Option<BTreeMap<Ordinal, Slots>>,
    /// The slots that are delivered.
    pub(super) gates: BTreeMap<Slot, Source>,
    pub(super) said_empty: bool,
    pub(super) out: Vec<Effect>,
}

impl Claims {
    /// A shard that starts: `durable` is what it last wrote, or the default; `log` the id of its own log;
    /// `incarnation` is another at every start; `all` the slots that there are; `inherited` those of which the
    /// inherited log has something unsettled. Nothing of an earlier life is in flight.
    pub fn restart(
        me: Ordinal,
        log: u64,
        incarnation: u64,
        all: Arc<Slots>,
        durable: Durable,
        inherited: &Slots,
    ) -> (Self, Vec<Effect>) {
        let mut claims = Self {
            me,
            log,
            incarnation,
            all,
            now: durable.clone(),
            safe: durable,
            writing: None,
            appending: BTreeMap::new(),
            storing: BTreeMap::new(),
            stopped: true,
            asked: BTreeMap::new(),
            sealed: BTreeSet::new(),
            done: BTreeMap::new(),
            giving: BTreeMap::new(),
            syncing: None,
            gates: BTreeMap::new(),
            said_empty: false,
            out: Vec::new(),
        };
        let delivered: Slots =
            claims.now.tenures.iter().filter(|(_, tenure)| tenure.deliver).map(|(&s, _)| s).collect();
        for slot in delivered {
            claims.gate(slot, if inherited.contains(&slot) { Source::Inherited } else { Source::Own });
        }
        claims.ask();
        claims.advance();
        let effects = std::mem::take(&mut claims.out);
        (claims, effects)
    }

    /// Takes an input, and says what to do.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Table(table) => self.adopt(&table),
            Input::Message(from, message) => self.hear(from, message),
            Input::Accept { request, slot, routed } => {
                let answer = self.admit(slot, routed);
                self.out.push(Effect::Answer(request, answer));
            }
            Input::Appended(epoch) => {
                self.appended(epoch);
            }
            Input::Written => self.written(),
            Input::Stopped(epoch) => self.stopped |= epoch == self.now.epoch(),
            Input::Gathered { to, epoch, slots, emptied } => self.gathered(to, epoch, slots, &emptied),
            Input::Synced => self.synced(),
            Input::NotStored { from, epoch, batch } => {
                self.storing.remove(&(epoch, from, batch));
            }
            Input::Stored { from, epoch, batch, added } => self.stored(from, epoch, batch, &added),
            Input::Settled(slot) => {
                if self.gates.get(&slot) == Some(&Source::Inherited) {
                    self.gate(slot, Source::Own);
                }
            }
            Input::Tick => {
                self.ask();
                self.resend();
            }
        }
        self.advance();
        std::mem::take(&mut self.out)
    }

    /// What becomes of an event of `slot`: see [`Input::Accept`].
    pub fn answer(&self, slot: Slot, routed: Option<Epoch>) -> Answer {
        let epoch = self.now.epoch();
        let Some(owner) = self.owner(slot) else { return Answer::Hold };
        if owner != self.me {
            return match routed {
                None => Answer::HandOver(owner, epoch),
                Some(routed) if routed < epoch => Answer::Redirect,
                // The sender knows more than we do: the table is on its way.
                Some(_) => Answer::Hold,
            };
        }
        // The tenure has to be on disk, and must not have ended in a table that is not on disk yet.
        match (self.safe.tenures.get(&slot), self.now.tenures.get(&slot)) {
            (Some(safe), Some(now)) if safe.since == now.since => Answer::Admit(self.safe.epoch()),
            _ => Answer::Hold,
        }
    }

    /// Slots whose order is at risk: a shard that was declared lost may still hold older events of them.
    pub fn at_risk(&self) -> Slots {
        self.now.tenures.iter().filter(|(_, tenure)| !tenure.at_risk.is_empty()).map(|(&slot, _)| slot).collect()
    }

    /// What the own log has of `slot` under earlier epochs than this is a leftover of an earlier tenure.
    pub fn before(&self, slot: Slot) -> Epoch {
        self.now.tenures.get(&slot).map_or(self.now.epoch(), |tenure| tenure.since)
    }

    /// The epoch of the present table; 0: none yet.
    pub fn epoch(&self) -> Epoch {
        self.now.epoch()
    }

    /// The present table.
    pub fn table(&self) -> Option<&Arc<RoutingTable>> {
        self.now.table.as_ref()
    }

    /// The epoch of the table that is on disk; 0: none yet.
    pub fn safe_epoch(&self) -> Epoch {
        self.safe.epoch()
    }

    /// How many slots the present table gives to this shard that it does not deliver yet.
    pub fn claiming(&self) -> usize {
        self.slots_of(self.me).iter().filter(|slot| !self.gates.contains_key(slot)).count()
    }

    /// How many slots the present table gives to this shard that it does not accept yet.
    pub fn closed(&self) -> usize {
        let slots = self.slots_of(self.me);
        slots.iter().filter(|&&slot| !matches!(self.answer(slot, None), Answer::Admit(_))).count()
    }

    /// The other shards of the present table.
    pub fn peers(&self) -> Vec<Ordinal> {
        let peers = self.now.table.iter().flat_map(|table| table.peers.iter().map(|peer| peer.ordinal));
        peers.filter(|&ordinal| ordinal != self.me).collect()
    }

    /// Where deliveries of `slot` come from now, if it is delivered here.
    pub fn source(&self, slot: Slot) -> Option<Source> {
        self.gates.get(&slot).copied()
    }

    /// The owner of `slot` by the present table.
    pub fn owner(&self, slot: Slot) -> Option<Ordinal> {
        self.now.table.as_ref().filter(|table| table.shards > 0).map(|table| owner(slot, table.shards))
    }

    /// The slots that the present table gives to `ordinal`.
    pub fn slots_of(&self, ordinal: Ordinal) -> Slots {
        self.all.iter().copied().filter(|&slot| self.owner(slot) == Some(ordinal)).collect()
    }

    /// Takes a table, if it is newer than the present one and for this shard.
    pub(super) fn adopt(&mut self, table: &Arc<RoutingTable>) {
        if let Some(present) = &self.now.table {
            if table.epoch == present.epoch && table != present {
                self.out.push(Effect::Conflict(table.epoch));
            }
            let foreign = table.fleet != present.fleet || table.region != present.region;
            if table.epoch <= present.epoch || foreign {
                return;
            }
        }
        let named = table.peers.iter().find(|peer| peer.ordinal == self.me).map_or(0, |peer| peer.log);
        if named != 0 && named != self.log {
            self.out.push(Effect::OtherLog(table.epoch));
            return;
        }
        // With an epoch in between that we have not seen, somebody else may have accepted: claim anew. Without, a slot
        // that stays is not touched.
        let next = self.now.epoch() + 1 == table.epoch;
        self.now.table = Some(Arc::clone(table));
        let mine = self.slots_of(self.me);
        self.now.tenures.retain(|slot, _| next && mine.contains(slot));
        self.gates.retain(|slot, _| self.now.tenures.contains_key(slot));
        self.stopped = false;
        self.asked.clear();
        self.sealed.clear();
        self.done.clear();
        self.giving.clear();
        // What is being synced was found under another map: it says nothing of this one.
        self.syncing.iter_mut().for_each(BTreeMap::clear);
        self.said_empty = false;
        self.out.push(Effect::Stop(table.epoch, self.gates.keys().copied().collect()));
        self.out.push(Effect::Reconsider);
        self.ask();
    }

    fn hear(&mut self, from: Ordinal, message: Message) {
        match message {
            Message::Seal(table) => {
                self.adopt(&table);
                if self.is_older(from, table.epoch) || self.now.table.as_ref() != Some(&table) {
                    return;
                }
                self.asked.insert(from, false);
                self.say_done(from);
            }
            Message::Newer(table) => self.adopt(&table),
            Message::Sealed(epoch) => {
                if epoch == self.now.epoch() {
                    self.sealed.insert(from);
                }
            }
            Message::Done(epoch, slots) => {
                if epoch == self.now.epoch() {
                    self.is_done(from, slots);
                }
            }
            Message::Transfer(epoch, batch, slots) => {
                if !self.is_older(from, epoch) {
                    self.take(from, epoch, batch, slots);
                }
            }
            Message::Stored(epoch, batch) => self.given(from, epoch, batch),
        }
    }

    /// Whether somebody speaks under an older epoch than ours; then it is told.
    fn is_older(&mut self, from: Ordinal, epoch: Epoch) -> bool {
        match &self.now.table {
            Some(table) if epoch < table.epoch => {
                self.out.push(Effect::Send(from, Message::Newer(Arc::clone(table))));
                true
            }
            _ => false,
        }
    }

    /// Everything that follows from what is known now.
    pub(super) fn advance(&mut self) {
        self.seal();
        self.open();
        self.give();
        self.sync();
        self.report_empty();
        if self.writing.is_none() && self.now != self.safe {
            self.writing = Some(self.now.clone());
            self.out.push(Effect::Write(self.now.clone()));
        }
    }

    /// The write is done: what waited for it may go on.
    fn written(&mut self) {
        let Some(written) = self.writing.take() else { return };
        let before = std::mem::replace(&mut self.safe, written);
        let mut opened = before.epoch() != self.safe.epoch();
        for (&slot, tenure) in &self.safe.tenures.clone() {
            opened |= !before.tenures.contains_key(&slot);
            let stays = self.now.tenures.get(&slot).is_some_and(|now| now.since == tenure.since);
            if tenure.deliver && stays && !self.gates.contains_key(&slot) {
                self.gate(slot, Source::Inherited);
            }
        }
        if opened {
            self.out.push(Effect::Reconsider);
        }
    }

    /// Whether the present table is on disk.
    pub(super) fn is_current(&self) -> bool {
        self.now.table.is_some() && self.now.table == self.safe.table
    }

    /// Whether all that came in under earlier epochs is on disk.
    pub(super) fn is_drained(&self) -> bool {
        let epoch = self.now.epoch();
        let old = |&under: &Epoch| under < epoch;
        !self.appending.keys().any(old) && !self.storing.keys().any(|(under, ..)| old(under))
    }

    pub(super) fn gate(&mut self, slot: Slot, source: Source) {
        self.gates.insert(slot, source);
        self.out.push(Effect::Deliver(slot, source));
    }
}
