//! What this shard still holds, for the shards that it belongs to now.

use bytes::Bytes;

use super::held::held;
use super::origin::Wrapped;
use super::{Entry, INHERITED, LogError, Origin, PairLog, Position, is_inherited, tagged};
use crate::serve::log::SinkSet;
use crate::serve::slots::{SlotSet, slot_of};

/// Index entries read at once.
const READ_BATCH: usize = 512;

/// An event to hand over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Gift {
    /// As it is here: to settle it, once the other shard has it.
    pub entry: Entry,
    pub origin: Origin,
    /// The sinks that it still has to go to.
    pub waiting: SinkSet,
    /// What tells it from every other event. 0: not known here, it is in the event.
    pub identity: u128,
    /// The encoded event.
    pub record: Bytes,
}

/// Part of what there is to hand over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Gifts {
    /// What was inherited first, then what was accepted here; in order of position.
    pub gifts: Vec<Gift>,
    /// Where to go on. Nothing: there is no more.
    pub next: Option<Position>,
}

impl PairLog {
    /// Where to begin.
    pub(in crate::serve) const FIRST: Position = INHERITED;

    /// The slots of which there is an event that some sink has not settled, and that is `wanted`: by slot and position.
    /// Reads the index of both logs.
    pub(in crate::serve) fn survey(&self, wanted: impl Fn(usize, Position) -> bool) -> Result<SlotSet, LogError> {
        let mut slots = SlotSet::default();
        let logs = [self.inherited.get().map(|inherited| &inherited.log), Some(&self.own)];
        for (log, first) in logs.into_iter().zip([INHERITED, 0]).filter_map(|(log, first)| Some((log?, first))) {
            let (mut next, end) = (0, log.end());
            while next < end {
                let (part, to) = held(&**log, self.sinks, next, READ_BATCH)?;
                for entry in part.into_iter().map(|held| held.entry) {
                    let slot = slot_of(entry.key);
                    if !slots.contains(slot) && wanted(slot, entry.position | first) {
                        slots.insert(slot);
                    }
                }
                next = to;
            }
        }
        Ok(slots)
    }

    /// How many events of these slots some sink has not settled, from `from` on, and up to where that is: all of the
    /// inherited log, and of the own log about as far as `most` events reach. Reads an index.
    pub(in crate::serve) fn count(
        &self,
        slots: &SlotSet,
        from: Position,
        most: usize,
    ) -> Result<(u64, Position), LogError> {
        let (mut next, mut count, mut read) = (from, 0, 0);
        loop {
            let (part, to) = match self.inherited.get() {
                Some(inherited) if is_inherited(next) => {
                    let (part, to) = held(&*inherited.log, self.sinks, next & !INHERITED, READ_BATCH)?;
                    (part, if to >= inherited.log.end() { 0 } else { to | INHERITED })
                }
                None if is_inherited(next) => (Vec::new(), 0),
                _ if read >= most || next >= self.own.end() => return Ok((count, next)),
                _ => held(&*self.own, self.sinks, next, READ_BATCH)?,
            };
            read += if is_inherited(next) { 0 } else { part.len() };
            count += part.iter().filter(|held| slots.contains(slot_of(held.entry.key))).count() as u64;
            next = to;
        }
    }

    /// Events of these slots that some sink has not settled, from `from` on: records of up to `most_bytes`, but at least
    /// one event, if there is any. Of the own log only those below `own_until`, and
    /// only those that `epoch` tells an epoch for, by slot and position: the
    /// one that they were accepted under. Reads the index, and the records that it returns.
    ///
    /// No attempt to deliver one of them may be under way: see `Hold::close`.
    pub(in crate::serve) fn gifts(
        &self,
        slots: &SlotSet,
        from: Position,
        own_until: Position,
        most_bytes: usize,
        epoch: impl Fn(usize, Position) -> Option<u64>,
    ) -> Result<Gifts, LogError> {
        let (mut gifts, mut bytes) = (Vec::new(), 0);
        let mut next = from;
        let own_log = self.id()?;
        loop {
            let (part, to) = if is_inherited(next) {
                let Some(inherited) = self.inherited.get() else {
                    next = 0;
                    continue;
                };
                let (part, to) = held(&*inherited.log, self.sinks, next & !INHERITED, READ_BATCH)?;
                (part, if to >= inherited.log.end() { 0 } else { to | INHERITED })
            } else {
                if next >= self.own.end().min(own_until) {
                    return Ok(Gifts { gifts, next: None });
                }
                held(&*self.own, self.sinks, next, READ_BATCH)?
            };
            for held in part.into_iter().filter(|held| slots.contains(slot_of(held.entry.key))) {
                let position = held.entry.position;
                let (entry, found) = if is_inherited(next) {
                    let inherited = self.inherited.get().map(|inherited| inherited.record(position));
                    (tagged(held.entry), inherited.transpose()?.flatten())
                } else {
                    let Some(epoch) = epoch(slot_of(held.entry.key), position) else { continue };
                    let origin = Origin { epoch, log: own_log, position };
                    let event = self.own.read(position)?;
                    (held.entry, event.map(|event| Wrapped { origin, identity: 0, event }))
                };
                // What is damaged has been counted as lost by the log.
                let Some(Wrapped { origin, identity, event: record }) = found else { continue };
                if bytes > 0 && bytes + record.len() > most_bytes {
                    return Ok(Gifts { gifts, next: Some(entry.position) });
                }
                bytes += record.len().max(1);
                gifts.push(Gift { entry, origin, waiting: held.waiting, identity, record });
            }
            next = to;
        }
    }
}
