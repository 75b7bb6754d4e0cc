//! What goes from the log into the lanes of one sink, and when: pure, but for the reading.
//!
//! ```text
//! inherited log --first--> lanes
//! own log -------then----> lanes
//! ```
//!
//! The order of a key is: what was inherited in the order of that log, then what was accepted here. As long as there is
//! anything inherited to read, nothing is read of the own log; and within a lane events go in the order that they came.
//! So an own event waits for what was inherited of its key, wherever that is, and for no settlement: it does not matter
//! what was settled twice, was damaged, or is not for this sink. A key that fails holds back no other of its slot. The price
//! is that the own log waits until what is left of the inherited one fits into the window: the older events go first.
//!
//! A closed slot is read past. When it is opened both logs are read again for it, as far as they were read: what was
//! settled meanwhile is not there any more. So nothing is kept in memory for slots that are others', or being claimed.

use std::collections::VecDeque;

use super::flow::Flow;
use super::gates::Gates;
use super::lanes::WINDOW;
use super::log::{Entry, INHERITED, LogError, Position, ShardLog, SinkId};
use super::slots::{SlotSet, slot_of};

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
}

/// The way from the log into the lanes of one sink.
#[derive(Debug)]
pub(super) struct Intake {
    sink: SinkId,
    /// Most events in the lanes, and index entries read at once.
    window: usize,
    batch: usize,
    own: Reading,
    inherited: Reading,
    inherited_end: Position,
    /// The gates as they were looked at last.
    version: Option<u64>,
    closed: SlotSet,
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
            inherited_end: INHERITED,
            version: None,
            closed: SlotSet::default(),
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
        self.version = Some(gates.version);
        self.inherited_end = gates.inherited_end.unwrap_or(INHERITED);
        if !shut.is_empty() {
            self.closed = self.closed.union(&shut);
            flow.let_go(|entry| shut.contains(slot_of(entry.key)));
            for recall in self.own.recalls.iter_mut().chain(&mut self.inherited.recalls) {
                recall.slots = recall.slots.without(&shut);
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
        while self.room(flow) >= self.batch {
            let inherited = self.inherited.read(log, self.sink, self.inherited_end, &self.closed, self.batch)?;
            let entries = match inherited {
                Some(entries) => entries,
                None => match self.own.read(log, self.sink, end, &self.closed, self.batch)? {
                    Some(entries) => entries,
                    None => return Ok(()),
                },
            };
            for entry in entries {
                flow.push(entry);
            }
        }
        Ok(())
    }

    /// How many more events fit into the window.
    fn room(&self, flow: &Flow) -> usize {
        (self.window + flow.room()).saturating_sub(WINDOW)
    }
}

#[cfg(test)]
mod tests;
