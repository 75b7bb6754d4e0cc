//! What goes from the log into the lanes of one sink, and when: pure, but for the reading.
//!
//! ```text
//! inherited log ------------------------------> lanes
//! own log ---> is anything inherited left of    ^
//!              its slot? no --------------------'
//!              yes: parked, until the last of it is done
//! ```
//!
//! The order of a key is: what was inherited in the order of that log, then what was accepted here. An event of the own log
//! waits while the sink has anything inherited of its slot to deliver: not read yet, or in the lanes. That is known
//! without counting settlements, so it is right whatever was settled twice, was damaged, or is not for this sink.
//!
//! A closed slot is read past. When it is opened both logs are read again for it, as far as they were read: what was
//! settled meanwhile is not there any more. So nothing is kept in memory for slots that are others', or being claimed.
//!
//! Parked events count towards the window, and take at most half of it: then the own log waits. The other half is for
//! what is inherited, so that this can go on. Events without a key are closed and opened, and wait for nothing else.

use std::collections::{BTreeMap, VecDeque};

use super::flow::Flow;
use super::gates::Gates;
use super::lanes::WINDOW;
use super::log::{Entry, Extent, INHERITED, LogError, Position, ShardLog, SinkId, is_inherited};
use super::slots::{BUCKETS, KEYLESS, SlotSet, slot_of};

/// Index entries read at once. Also the room that the window must have before it is filled again, when the log
/// is long: reading one at a time would cost a look-up each.
const READ_BATCH: usize = 512;

/// Reading once more what was read past, of slots that are open now.
#[derive(Debug)]
struct Recall {
    next: Position,
    end: Position,
    slots: SlotSet,
}

/// How far one of the logs is read.
#[derive(Debug, Default)]
struct Reading {
    next: Position,
    /// What comes before `next` goes on.
    recalls: VecDeque<Recall>,
}

impl Reading {
    /// Reads up to `end`: entries, in order. None when there is nothing more for now.
    fn read(
        &mut self,
        log: &dyn ShardLog,
        sink: SinkId,
        end: Position,
        closed: &SlotSet,
        batch: usize,
    ) -> Result<Option<Vec<Entry>>, LogError> {
        while let Some(Recall { next, end, slots }) = self.recalls.front_mut() {
            if next < end {
                let mut found = log.unsettled(sink, *next, batch)?;
                *next = found.next;
                found.entries.retain(|entry| {
                    let slot = slot_of(entry.key);
                    entry.position < *end && slots.contains(slot) && !closed.contains(slot)
                });
                return Ok(Some(found.entries));
            }
            self.recalls.pop_front();
        }
        if self.next >= end {
            return Ok(None);
        }
        let mut found = log.unsettled(sink, self.next, batch)?;
        self.next = found.next;
        if !closed.is_empty() {
            found.entries.retain(|entry| !closed.contains(slot_of(entry.key)));
        }
        Ok(Some(found.entries))
    }

    /// Reads these slots again from `first`, before it goes on.
    fn recall(&mut self, first: Position, slots: &SlotSet) {
        if self.next > first {
            self.recalls.push_back(Recall { next: first, end: self.next, slots: *slots });
        }
    }

    /// Whether anything of `slot` before `end` is still to be read.
    fn is_before(&self, slot: usize, end: Position) -> bool {
        self.next < end || self.recalls.iter().any(|recall| recall.slots.contains(slot))
    }
}

/// The way from the log into the lanes of one sink.
#[derive(Debug)]
pub(super) struct Intake {
    sink: SinkId,
    /// Most events in the lanes and parked, and index entries read at once.
    window: usize,
    batch: usize,
    own: Reading,
    inherited: Reading,
    extent: Option<Extent>,
    /// The gates as they were looked at last.
    version: Option<u64>,
    closed: SlotSet,
    /// By slot, inherited events in the lanes.
    in_lanes: Vec<u32>,
    parked: BTreeMap<usize, VecDeque<Entry>>,
    parked_events: usize,
    /// Something may be parked no more.
    look: bool,
}

impl Intake {
    /// Nothing is read yet.
    pub(super) fn new(sink: SinkId) -> Self {
        Self::with(sink, WINDOW, READ_BATCH)
    }

    fn with(sink: SinkId, window: usize, batch: usize) -> Self {
        Self {
            sink,
            window,
            batch,
            own: Reading::default(),
            inherited: Reading { next: INHERITED, ..Reading::default() },
            extent: None,
            version: None,
            closed: SlotSet::default(),
            in_lanes: Vec::new(),
            parked: BTreeMap::new(),
            parked_events: 0,
            look: false,
        }
    }

    /// Looks at the gates. Returns the version up to which nothing that was closed is in flight.
    pub(super) fn look_at(&mut self, gates: &Gates, flow: &mut Flow) -> u64 {
        if self.version != Some(gates.version) || self.closed != gates.closed {
            self.turn(gates, flow);
        }
        if flow.leaving() == 0 { gates.version } else { 0 }
    }

    fn turn(&mut self, gates: &Gates, flow: &mut Flow) {
        let shut = gates.closed_since(self.version.unwrap_or(0));
        if self.version.replace(gates.version) != Some(gates.version) {
            self.extent.clone_from(&gates.extent);
            self.in_lanes.resize(if self.extent.is_some() { BUCKETS } else { 0 }, 0);
        }
        if !shut.is_empty() {
            self.closed = self.closed.union(&shut);
            for entry in flow.let_go(|entry| shut.contains(slot_of(entry.key))) {
                self.left(&entry);
            }
            for recall in self.own.recalls.iter_mut().chain(&mut self.inherited.recalls) {
                recall.slots = recall.slots.without(&shut);
            }
            for slot in shut.iter() {
                self.parked_events -= self.parked.remove(&slot).map_or(0, |parked| parked.len());
            }
        }
        let opened = self.closed.without(&gates.closed);
        // What is still in flight of them is not to meet itself.
        if !opened.is_empty() && flow.leaving() == 0 {
            self.closed = gates.closed;
            self.inherited.recall(INHERITED, &opened);
            self.own.recall(0, &opened);
        }
    }

    /// Fills the window. `end` is that of the own log.
    pub(super) fn fill(&mut self, flow: &mut Flow, log: &dyn ShardLog, end: Position) -> Result<(), LogError> {
        self.fill_inherited(flow, log)?;
        self.unpark(flow);
        while self.room(flow) >= self.batch && self.parked_events < self.window / 2 {
            let Some(entries) = self.own.read(log, self.sink, end, &self.closed, self.batch)? else { return Ok(()) };
            for entry in entries {
                let slot = slot_of(entry.key);
                if self.has_inherited(slot) || self.parked.contains_key(&slot) {
                    self.parked.entry(slot).or_default().push_back(entry);
                    self.parked_events += 1;
                } else {
                    flow.push(entry);
                }
            }
        }
        Ok(())
    }

    fn fill_inherited(&mut self, flow: &mut Flow, log: &dyn ShardLog) -> Result<(), LogError> {
        let Some(extent) = &self.extent else { return Ok(()) };
        let end = extent.end;
        while self.room(flow) >= self.batch {
            let Some(entries) = self.inherited.read(log, self.sink, end, &self.closed, self.batch)? else { break };
            self.look = true;
            for entry in entries {
                if let Some(count) = self.in_lanes.get_mut(slot_of(entry.key)) {
                    *count += 1;
                }
                flow.push(entry);
            }
        }
        Ok(())
    }

    /// Pushes what waits no more.
    fn unpark(&mut self, flow: &mut Flow) {
        if !std::mem::take(&mut self.look) || self.parked.is_empty() {
            return;
        }
        let free: Vec<usize> = self.parked.keys().copied().filter(|&slot| !self.has_inherited(slot)).collect();
        for entry in free.iter().filter_map(|slot| self.parked.remove(slot)).flatten() {
            self.parked_events -= 1;
            flow.push(entry);
        }
    }

    /// Whether this sink has anything inherited of `slot` to deliver, as far as known.
    fn has_inherited(&self, slot: usize) -> bool {
        let Some(extent) = self.extent.as_ref().filter(|_| slot != KEYLESS) else { return false };
        let end = extent.slots.get(slot).copied().unwrap_or(0);
        self.in_lanes.get(slot).is_some_and(|&count| count > 0) || end > 0 && self.inherited.is_before(slot, end)
    }

    /// The attempt to send `entry` has ended. To be called when the flow knows what came of it.
    pub(super) fn landed(&mut self, entry: &Entry, flow: &Flow) {
        if is_inherited(entry.position) && !flow.has(entry) {
            self.left(entry);
        }
    }

    /// An event is in the lanes no more.
    fn left(&mut self, entry: &Entry) {
        if is_inherited(entry.position)
            && let Some(count) = self.in_lanes.get_mut(slot_of(entry.key))
        {
            *count = count.saturating_sub(1);
            self.look |= *count == 0;
        }
    }

    /// How many more events fit into the window.
    fn room(&self, flow: &Flow) -> usize {
        (self.window + flow.room()).saturating_sub(WINDOW + self.parked_events)
    }
}

#[cfg(test)]
mod tests;
