//! A shard's disk: what a crash leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{Batch, Durable, Epoch, Key, Ordinal, Slot, Slots};
use super::{Event, Record};

/// What is on the disk, and what is on its way there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    /// The id of the own log.
    pub(super) log: u64,
    pub(super) durable: Durable,
    pub(super) own: BTreeMap<Key, Record>,
    pub(super) inherited: BTreeMap<Key, Record>,
    /// The position that the next event gets.
    pub(super) end: u64,
    pub(super) pending: Vec<Op>,
    /// Settled, and not yet durably so.
    pub(super) settled: Settled,
}

/// Records of the own log, and of the inherited one, that are settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Settled {
    pub(super) own: BTreeSet<Key>,
    pub(super) inherited: BTreeSet<Key>,
}

/// Something that becomes durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    State(Durable),
    Append(Slot, Event, Epoch),
    Store {
        from: Ordinal,
        epoch: Epoch,
        batch: Batch,
        slots: Slots,
        records: Arc<Vec<Record>>,
    },
    /// Of what was settled when it was begun.
    Sync(Settled),
}

/// What came of it.
pub(super) enum Landed {
    State,
    Append(Slot, Event, Epoch),
    Store { from: Ordinal, epoch: Epoch, batch: Batch, added: Slots },
    Sync,
}

impl Disk {
    pub(super) fn new(log: u64, durable: Durable) -> Self {
        let (own, inherited) = (BTreeMap::new(), BTreeMap::new());
        Self { log, durable, own, inherited, end: 0, pending: Vec::new(), settled: Settled::default() }
    }

    /// Makes one of the pending operations durable.
    pub(super) fn land(&mut self, at: usize, twice: bool) -> Landed {
        match self.pending.remove(at) {
            Op::State(durable) => {
                self.durable = durable;
                Landed::State
            }
            Op::Append(slot, event, epoch) => {
                let key = Key { epoch, log: self.log, position: self.end };
                assert!(self.own.keys().all(|known| *known < key), "keys of a log only grow");
                self.own.insert(key, Record { key, slot, event });
                self.end += 1;
                Landed::Append(slot, event, epoch)
            }
            Op::Store { from, epoch, batch, slots, records } => {
                let mut added = Slots::new();
                for record in records.iter().filter(|record| slots.contains(&record.slot)) {
                    let mut key = record.key;
                    while twice && (self.inherited.contains_key(&key) || key == record.key) {
                        key.position += 1 << 32;
                    }
                    // Settled and not yet forgotten is not there any more: the real log has no more of it.
                    if self.settled.inherited.remove(&key) || !self.inherited.contains_key(&key) {
                        self.inherited.insert(key, Record { key, ..*record });
                        added.insert(record.slot);
                    }
                }
                Landed::Store { from, epoch, batch, added }
            }
            Op::Sync(settled) => {
                self.forget(&settled);
                Landed::Sync
            }
        }
    }

    fn forget(&mut self, settled: &Settled) {
        let (own, inherited) = (&mut self.settled.own, &mut self.settled.inherited);
        self.own.retain(|key, _| !(settled.own.contains(key) && own.contains(key)));
        self.inherited.retain(|key, _| !(settled.inherited.contains(key) && inherited.contains(key)));
        own.retain(|key| !settled.own.contains(key));
        inherited.retain(|key| !settled.inherited.contains(key));
    }

    /// The power is cut: nothing is pending any more, and settlements are remembered or not.
    pub(super) fn cut(&mut self, remembered: bool) {
        self.pending.clear();
        let settled = std::mem::take(&mut self.settled);
        if remembered {
            self.settled.clone_from(&settled);
            self.forget(&settled);
        }
    }

    /// Unsettled records of the own log, in order.
    pub(super) fn own(&self) -> impl Iterator<Item = &Record> {
        self.own.values().filter(|record| !self.settled.own.contains(&record.key))
    }

    /// Unsettled records of the inherited log, in order.
    pub(super) fn inherited(&self) -> impl Iterator<Item = &Record> {
        self.inherited.values().filter(|record| !self.settled.inherited.contains(&record.key))
    }

    /// Whether this event is here and unsettled.
    pub(super) fn holds(&self, slot: Slot, event: Event) -> bool {
        self.own().chain(self.inherited()).any(|record| record.slot == slot && record.event == event)
    }
}
