//! The inherited log: what other shards have handed over, and what it knows of it.
//!
//! An event is stored unless one of the same origin is still there. For that the origins of a slot are kept in memory
//! from the first event that is inherited for it until it is opened: 8 bytes an event. They are read from the log when
//! they are asked for. So nothing has to be kept of events that are trimmed: a slot is not delivered before its claim
//! is complete, and until then nothing of it is settled but what this shard itself hands on.
//!
//! Shards hand over side by side, so events come in any order. [`Inherited::order`] puts those of a slot in order, before
//! it is opened: it stores them again at the end of the log, and then settles the first copies. If the power fails in
//! between, both copies are there, and are put in order again: of the same origin one is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::super::{Entry, LogError, NewRecord, Position, ShardLog, SinkId, SinkSet};
use super::held::{Held, held};
use super::origin::{Origin, Wrapped, unwrap, wrap};
use crate::serve::slots::{KEYLESS, SlotSet, slot_of};

/// Index entries read at once.
const READ_BATCH: usize = 512;

/// Most record bytes in one group, when events are put in order.
const MAX_GROUP_BYTES: usize = 1024 * 1024;

/// An event that is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Bequest {
    pub origin: Origin,
    /// When it was accepted, in microseconds since 1970.
    pub accepted_at_us: i64,
    /// Hash of its key.
    pub key: Option<u64>,
    /// The sinks that it has not to go to any more.
    pub skip: SinkSet,
    /// What tells it from every other event for the duplicate window.
    pub identity: u128,
    /// The encoded event.
    pub record: Bytes,
}

/// Where one slot's events come from: positions, in order, by epoch and log.
type Known = BTreeMap<(u64, u64), Vec<Position>>;

/// What is known of the events that are there.
#[derive(Default)]
struct Memory {
    /// Of the slots whose origins have been looked up.
    origins: BTreeMap<usize, Known>,
    /// The origin that came last, of these slots.
    last: BTreeMap<usize, Origin>,
    /// Those of them whose events are not in order.
    disordered: SlotSet,
}

impl Memory {
    /// Takes in an event of a slot whose origins are known. False if it was there.
    fn learn(&mut self, slot: usize, origin: &Origin) -> bool {
        let positions = self.origins.entry(slot).or_default().entry((origin.epoch, origin.log)).or_default();
        let Err(at) = positions.binary_search(&origin.position) else { return false };
        positions.insert(at, origin.position);
        self.follows(slot, *origin);
        true
    }

    fn follows(&mut self, slot: usize, origin: Origin) {
        let before = self.last.insert(slot, origin);
        if slot != KEYLESS && before.is_some_and(|before| before >= origin) {
            self.disordered.insert(slot);
        }
    }

    fn forget(&mut self, slots: &SlotSet) {
        self.origins.retain(|&slot, _| !slots.contains(slot));
        self.last.retain(|&slot, _| !slots.contains(slot));
        self.disordered = self.disordered.without(slots);
    }
}

/// The log of what was handed over. Writing is for one thread, as with every log.
pub(super) struct Inherited {
    pub(super) log: Arc<dyn ShardLog>,
    sinks: usize,
    memory: Mutex<Memory>,
}

impl Inherited {
    /// What is in this log.
    pub(super) fn new(log: Arc<dyn ShardLog>, sinks: usize) -> Self {
        Self { log, sinks, memory: Mutex::default() }
    }

    /// The slots of which something is waited for.
    pub(super) fn slots(&self) -> Result<SlotSet, LogError> {
        let mut slots = SlotSet::default();
        self.for_each(|held| {
            slots.insert(slot_of(held.entry.key));
            Ok(())
        })?;
        Ok(slots)
    }

    /// Stores events, durably, unless they are there. Returns the slots of those that were not.
    pub(super) fn inherit(&self, bequests: &[Bequest]) -> Result<SlotSet, LogError> {
        self.look_up(&bequests.iter().map(|bequest| slot_of(bequest.key)).collect())?;
        let all = (0..self.sinks).fold(SinkSet::default(), SinkSet::with);
        let mut memory = self.memory();
        let mut group = Vec::new();
        let mut added = SlotSet::default();
        // If it cannot be stored, what was learnt is wrong.
        let mut learnt = SlotSet::default();
        for Bequest { origin, accepted_at_us, key, skip, identity, record } in bequests {
            let slot = slot_of(*key);
            let (accepted_at_us, key, identity, skip) = (*accepted_at_us, *key, *identity, *skip);
            learnt.insert(slot);
            if skip != all && memory.learn(slot, origin) {
                added.insert(slot);
                let record = wrap(&Wrapped { origin: *origin, identity, event: record.clone() });
                group.push(NewRecord { accepted_at_us, key, skip, identity, record });
            }
        }
        drop(memory);
        self.append(&group).inspect_err(|_| self.memory().forget(&learnt))?;
        Ok(added)
    }

    /// Puts the events of these slots in order of their origins, durably, and forgets these: nothing more is expected.
    /// No sink may be reading them. Returns the slots whose events are elsewhere now.
    pub(super) fn order(&self, slots: &SlotSet) -> Result<SlotSet, LogError> {
        self.look_up(slots)?;
        let disordered: SlotSet = self.memory().disordered.iter().filter(|&slot| slots.contains(slot)).collect();
        for slot in disordered.iter() {
            self.order_one(slot)?;
        }
        self.memory().forget(slots);
        Ok(disordered)
    }

    fn order_one(&self, slot: usize) -> Result<(), LogError> {
        let mut events = Vec::new();
        self.for_each(|held| {
            if slot_of(held.entry.key) == slot
                && let Some(Wrapped { origin, .. }) = self.record(held.entry.position)?
            {
                events.push((origin, held));
            }
            Ok(())
        })?;
        // Of the same origin, the first copy: it is the one that is waited for by most.
        events.sort_by_key(|(origin, held)| (*origin, held.entry.position));
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut before = None;
        for (origin, Held { entry, waiting }) in &events {
            if before.replace(*origin) == Some(*origin) {
                continue;
            }
            let Some(wrapped) = self.record(entry.position)? else { continue };
            let skip = (0..self.sinks).filter(|&sink| !waiting.contains(sink)).fold(SinkSet::default(), SinkSet::with);
            bytes += wrapped.event.len();
            let (accepted_at_us, key, identity) = (entry.accepted_at_us, entry.key, wrapped.identity);
            group.push(NewRecord { accepted_at_us, key, skip, identity, record: wrap(&wrapped) });
            if bytes >= MAX_GROUP_BYTES {
                self.append(&group)?;
                group.clear();
                bytes = 0;
            }
        }
        self.append(&group)?;
        let settlements: Vec<(SinkId, Entry)> = events
            .iter()
            .flat_map(|(_, Held { entry, waiting })| waiting.iter().map(move |sink| (sink, *entry)))
            .collect();
        self.log.settle(&settlements)?;
        self.log.sync()
    }

    /// The event at `position`, and what it brought along.
    pub(super) fn record(&self, position: Position) -> Result<Option<Wrapped>, LogError> {
        Ok(self.log.read(position)?.as_ref().and_then(unwrap))
    }

    fn append(&self, group: &[NewRecord]) -> Result<(), LogError> {
        if group.is_empty() {
            return Ok(());
        }
        self.log.append(group).map(|_| ())
    }

    /// Reads the origins of the events of these slots, as far as they are not known.
    fn look_up(&self, slots: &SlotSet) -> Result<(), LogError> {
        let unknown: SlotSet = {
            let mut memory = self.memory();
            let unknown = slots.iter().filter(|slot| !memory.origins.contains_key(slot)).collect();
            for slot in SlotSet::iter(&unknown) {
                memory.origins.insert(slot, Known::default());
            }
            unknown
        };
        if unknown.is_empty() {
            return Ok(());
        }
        self.for_each(|Held { entry, .. }| {
            let slot = slot_of(entry.key);
            if unknown.contains(slot)
                && let Some(Wrapped { origin, .. }) = self.record(entry.position)?
            {
                let mut memory = self.memory();
                if !memory.learn(slot, &origin) {
                    memory.follows(slot, origin);
                }
            }
            Ok(())
        })
        .inspect_err(|_| self.memory().forget(&unknown))
    }

    /// Goes through everything that is waited for, in order.
    fn for_each(&self, mut each: impl FnMut(Held) -> Result<(), LogError>) -> Result<(), LogError> {
        let (mut next, end) = (0, self.log.end());
        while next < end {
            let (part, to) = held(&*self.log, self.sinks, next, READ_BATCH)?;
            part.into_iter().try_for_each(&mut each)?;
            next = to;
        }
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
