//! The storage and delivery side of a claim: what the protocol has this shard do, and nothing of when.
//!
//! ```text
//! giver     close(slots): no more attempts    gifts: what is still here    moved: settled, the claimer has it
//! claimer   inherit: stored, unless there     open(slots): put in order, and delivered
//! ```
//!
//! What is handed over is known by where it was accepted (its origin), so every step may be repeated.
//! A slot that a shard gets back while its own log has older events of it hands these over to itself. May import `log`,
//! `writer`, `gates`, `slots`, and the crate's `event`.

use std::sync::Arc;

use super::gates::{Gate, Hold};
use super::log::{Bequest, Entry, Gifts, LogError, PairLog, Position, SinkSet};
use super::slots::SlotSet;
use super::writer::{NotStored, Writer};
use crate::event;

/// Somebody has an event for a sink that is not configured here. One of both does not have its configuration yet, so the
/// event has to stay where it is: here it would be lost for that sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no sink {0} here: what is for it cannot be taken over")]
pub(super) struct UnknownSink(pub String);

/// What a shard gives and takes.
pub(super) struct Transfers {
    log: Arc<PairLog>,
    writer: Writer,
    sinks: Vec<String>,
    hold: Hold,
}

impl Transfers {
    /// For these sinks, with what their tasks go by. The slots of `closed` are not delivered until they are opened.
    pub(super) fn new(log: Arc<PairLog>, writer: Writer, sinks: Vec<String>, closed: &SlotSet) -> (Self, Vec<Gate>) {
        let (hold, gates) = Hold::new(sinks.len(), closed, log.inherited_end());
        (Self { log, writer, sinks, hold }, gates)
    }

    /// Begins no more attempts for these slots, from now on. When what it returns is done, none is under way, and what
    /// came of those that were is in the log.
    pub(super) fn close(&self, slots: &SlotSet) -> impl Future<Output = Result<(), NotStored>> + Send + use<> {
        let (quiet, writer) = (self.hold.close(slots), self.writer.clone());
        async move {
            quiet.await;
            // Behind the settlements that are queued.
            writer.run(Vec::new(), || Ok(())).await
        }
    }

    /// What the evacuation goes by, and answers to.
    pub(super) fn evacuation(&self) -> Gate {
        self.hold.evacuation()
    }

    /// These slots are delivered by another region: as [`Transfers::close`], for the evacuation.
    pub(super) fn close_away(&self, slots: &SlotSet) -> impl Future<Output = Result<(), NotStored>> + Send + use<> {
        let (quiet, writer) = (self.hold.close_away(slots), self.writer.clone());
        async move {
            quiet.await;
            writer.run(Vec::new(), || Ok(())).await
        }
    }

    /// They are not, from now on: what is still here of them is delivered here, in order, if the claims let it.
    pub(super) fn open_away(&self, slots: &SlotSet) {
        self.hold.open_away(slots, self.log.inherited_end());
    }

    /// How many events there are of these slots that some sink has not settled, from `from` on: see [`PairLog::count`].
    pub(super) fn count(&self, slots: &SlotSet, from: Position, most: usize) -> Result<(u64, Position), LogError> {
        self.log.count(slots, from, most)
    }

    /// The number that the log is known by.
    pub(super) fn log_id(&self) -> Result<u64, LogError> {
        self.log.id()
    }

    /// Stores what was handed over, durably, unless it is there. Returns the slots of what was not. `Full`: nothing was
    /// stored, and later it may be.
    pub(super) async fn inherit(&self, bequests: Vec<Bequest>) -> Result<SlotSet, NotStored> {
        let log = self.log.clone();
        let remember = bequests.iter().map(|bequest| (bequest.accepted_at_us, bequest.identity)).collect();
        let added = self.writer.run(remember, move || log.inherit(&bequests)).await?;
        if !self.hold.are_closed(&added) {
            // Late ones, of a slot that is being delivered.
            self.hold.open(&SlotSet::default(), self.log.inherited_end());
        }
        Ok(added)
    }

    /// Puts what was inherited of these slots in order, before [`Transfers::open`]. To be called when nothing more is
    /// expected of what others hold, and again after a restart for those that are still to be delivered.
    pub(super) async fn order(&self, slots: &SlotSet) -> Result<(), NotStored> {
        let log = self.log.clone();
        let closed = self.hold.closed_of(slots);
        self.writer.run(Vec::new(), move || log.order(&closed)).await
    }

    /// Delivers these slots: what was inherited in the order of acceptance, then what the own log has.
    pub(super) fn open(&self, slots: &SlotSet) {
        self.hold.open(slots, self.log.inherited_end());
    }

    /// The names of the sinks.
    pub(super) fn sinks(&self) -> &[String] {
        &self.sinks
    }

    /// What is here of these slots, from `from` on: see [`PairLog::gifts`]. They have to be closed. Reads from disk.
    pub(super) fn gifts(
        &self,
        slots: &SlotSet,
        from: Position,
        own_until: Position,
        most_bytes: usize,
        epoch: impl Fn(usize, Position) -> Option<u64>,
    ) -> Result<Gifts, LogError> {
        let mut found = self.log.gifts(slots, from, own_until, most_bytes, epoch)?;
        for gift in found.gifts.iter_mut().filter(|gift| gift.identity == 0) {
            // What makes no sense is handed over all the same: it becomes a dead letter where it is delivered.
            gift.identity = event::decode(gift.record.clone()).map_or(0, |event| event::identity(&event));
        }
        Ok(found)
    }

    /// Of which slots there is something that is `wanted`: see [`PairLog::survey`]. Reads an index.
    pub(super) fn survey(&self, wanted: impl Fn(usize, Position) -> bool) -> Result<SlotSet, LogError> {
        self.log.survey(wanted)
    }

    /// These events are with another shard, on its disk. When this returns they are settled here, durably.
    pub(super) async fn moved(&self, entries: Vec<Entry>) -> Result<(), NotStored> {
        let log = self.log.clone();
        self.writer.run(Vec::new(), move || log.moved(&entries)).await
    }

    /// The slots of which something inherited is still to be delivered, or handed on. Reads an index.
    pub(super) fn inherited(&self) -> Result<SlotSet, LogError> {
        self.log.inherited_slots()
    }

    /// The sinks here that an event is not for, which waits for those of `waiting`, by their place in `theirs`.
    pub(super) fn skip(&self, theirs: &[String], waiting: SinkSet) -> Result<SinkSet, UnknownSink> {
        skip(&self.sinks, theirs, waiting)
    }
}

/// The same for these sinks. One that its giver does not know begins with what is accepted from now on, as always.
pub(super) fn skip(own: &[String], theirs: &[String], waiting: SinkSet) -> Result<SinkSet, UnknownSink> {
    let mut wanted = SinkSet::default();
    for name in waiting.iter().filter_map(|sink| theirs.get(sink)) {
        let here = own.iter().position(|sink| sink == name).ok_or_else(|| UnknownSink(name.clone()))?;
        wanted = wanted.with(here);
    }
    Ok((0..own.len()).filter(|&sink| !wanted.contains(sink)).fold(SinkSet::default(), SinkSet::with))
}

#[cfg(test)]
mod tests;
