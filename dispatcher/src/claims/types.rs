//! The words of the protocol: what is durable, what comes in, what goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use signalbox_contract::RoutingTable;

/// The version of a routing table; only grows. 0: no table yet.
pub type Epoch = u64;

/// A shard's number in its region.
pub type Ordinal = u32;

/// A slot: from 0 to 1023.
pub type Slot = u16;

/// Some slots.
pub type Slots = BTreeSet<Slot>;

/// What tells one accepted event from every other, and where it stands among those of its slot: keys are ordered as
/// the events were accepted. Under one epoch one shard accepts a slot, and a log's positions grow, so within a slot no
/// two shards ever make keys of the same epoch. It travels with the event from shard to shard and never changes; two
/// records with the same key are the same record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The epoch that it was accepted under. Along the positions of one log it never falls.
    pub epoch: Epoch,
    /// The log that it was accepted into: drawn at random when a log is made.
    pub log: u64,
    /// Its position there.
    pub position: u64,
}

/// A shard's right to accept a slot, from the moment that every other shard had sealed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tenure {
    /// The epoch that it began under. What the shard's own log has of the slot from before is a leftover.
    pub since: Epoch,
    /// Whether the slot may be delivered: all that is older has been handed over. Once true, true to the end.
    pub deliver: bool,
    /// Shards that hold nothing of the slot any more, for certain. What comes from them is a repeat.
    pub done: BTreeSet<Ordinal>,
    /// Shards declared lost that nobody waited for: what they hold of the slot comes late.
    pub at_risk: BTreeSet<Ordinal>,
}

/// What a shard has to know after a restart. Small: at most 1024 tenures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    /// The newest table seen. That it is on disk is the seal of every slot that it gives to somebody else.
    pub table: Option<Arc<RoutingTable>>,
    /// The slots that this shard accepts.
    pub tenures: BTreeMap<Slot, Tenure>,
}

impl Durable {
    /// The epoch of its table.
    pub fn epoch(&self) -> Epoch {
        self.table.as_ref().map_or(0, |table| table.epoch)
    }
}

/// One batch of records on their way, as its giver numbers them. An answer is good for one life of the giver only, so
/// that of an earlier one is never taken for an answer to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    /// Which start of the giver: drawn anew at each.
    pub incarnation: u64,
    /// Counts the batches to one shard under one epoch.
    pub number: u64,
}

/// What shards say to each other. May be lost, repeated, late, and overtaken by others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// From a claimer: take this table, say when it holds with you, and what you are done with.
    Seal(Arc<RoutingTable>),
    /// To a claimer: I never again accept a slot of yours below this epoch, and all that I did accept is in my log.
    Sealed(Epoch),
    /// To a claimer: records of these slots of yours; whoever sends it puts them beside it.
    Transfer(Epoch, Batch, Slots),
    /// To a giver: they are on my disk.
    Stored(Epoch, Batch),
    /// To a claimer: of these slots of yours I hold nothing any more, and that outlives a power cut.
    Done(Epoch, Slots),
    /// To whoever spoke under an older epoch.
    Newer(Arc<RoutingTable>),
}

/// Where a slot's deliveries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The inherited log alone; the own log's events of the slot wait.
    Inherited,
    /// The own log, and the inherited one has nothing of the slot.
    Own,
}

/// What becomes of a request to accept an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// Append it to the own log under this epoch; [`Input::Appended`] when that has ended.
    Admit(Epoch),
    /// Keep it, and ask again on [`Effect::Reconsider`], until the caller's patience ends.
    Hold,
    /// Pass it on to the owner, with this epoch.
    HandOver(Ordinal, Epoch),
    /// Whoever passed it on goes by an older table: give it ours instead of an answer.
    Redirect,
}

/// What happens to a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The operator pushed a table.
    Table(Arc<RoutingTable>),
    /// Another shard, or this one itself, said something. Records of a [`Message::Transfer`] stay with the caller.
    Message(Ordinal, Message),
    /// Somebody wants an event of this slot accepted: a producer, or a shard that goes by a table of this epoch.
    Accept {
        /// Comes back in the answer.
        request: u64,
        /// The slot of its key.
        slot: Slot,
        /// The epoch of the shard that passed it on.
        routed: Option<Epoch>,
    },
    /// An event admitted under this epoch is on disk, or was given up before it was written.
    Appended(Epoch),
    /// The last [`Effect::Write`] is on disk.
    Written,
    /// No attempt is in flight for a slot that [`Effect::Stop`] of this epoch did not keep, and what such attempts
    /// settled is in the log.
    Stopped(Epoch),
    /// What [`Effect::Give`] found.
    Gathered {
        /// Whom it is for.
        to: Ordinal,
        /// The epoch of the effect.
        epoch: Epoch,
        /// Of which slots there are records in the batch. None: there is no batch, because there are no records.
        slots: Slots,
        /// Slots of that shard of which nothing is here, in the batch either.
        emptied: Slots,
    },
    /// The last [`Effect::Sync`] is done.
    Synced,
    /// The records of [`Effect::Store`] are on disk.
    Stored {
        /// Who gave them.
        from: Ordinal,
        /// The epoch of the effect.
        epoch: Epoch,
        /// Which batch.
        batch: Batch,
        /// Slots of which it had records that were not there before.
        added: Slots,
    },
    /// The records of [`Effect::Store`] cannot be stored now: there is no room, or this shard has not their sinks yet.
    /// Nothing of them was. They will be sent again.
    NotStored {
        /// Who gave them.
        from: Ordinal,
        /// The epoch of the effect.
        epoch: Epoch,
        /// Which batch.
        batch: Batch,
    },
    /// The inherited log has nothing unsettled of this slot.
    Settled(Slot),
    /// Time has passed: say again what may have been lost.
    Tick,
}

/// What a shard is to do. In this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Put this in the place of what was written before, durably and at once; then [`Input::Written`]. Never a second
    /// before the first is done.
    Write(Durable),
    /// Send, once.
    Send(Ordinal, Message),
    /// The answer to [`Input::Accept`].
    Answer(u64, Answer),
    /// Put every held request again.
    Reconsider,
    /// Begin no attempt for other slots than these. When none is in flight for others: [`Input::Stopped`].
    Stop(Epoch, Slots),
    /// Deliver this slot, in the order of keys. With [`Source::Inherited`]: [`Input::Settled`] when nothing is left.
    Deliver(Slot, Source),
    /// Gather the first unsettled records, own and inherited, of this shard's slots, in the order of keys; for the
    /// shard itself, those of its own log from before the tenure ([`super::Claims::before`]). Then
    /// [`Input::Gathered`].
    Give(Ordinal, Epoch),
    /// Send the batch that is on its way to this shard again.
    Resend(Ordinal, Message),
    /// Settle the records of the batch that is on its way to this shard: it has them.
    Drop(Ordinal),
    /// Make all settlements so far durable; then [`Input::Synced`]. Never a second before the first is done.
    Sync,
    /// Put those records of the batch that are of these slots into the inherited log, durably, unless they are there;
    /// then [`Input::Stored`],
    /// or [`Input::NotStored`].
    Store {
        /// Who gave them.
        from: Ordinal,
        /// The epoch of the message.
        epoch: Epoch,
        /// Which batch.
        batch: Batch,
        /// The others' records are repeats of what was delivered.
        slots: Slots,
    },
    /// Nothing is left here, and nothing will come under this epoch: this shard may go.
    Empty(Epoch),
    /// Somebody has another table of the same epoch: whoever makes tables has to make a later one.
    Conflict(Epoch),
    /// The table names another log for this shard than it has: it was not taken.
    OtherLog(Epoch),
}
