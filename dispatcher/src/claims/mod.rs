//! Claims: how slots change hands. One shard's part of it, as a pure machine: [`Claims::step`] takes what happened and
//! says what to do. No clock, no disk, no network; `model/` runs this very machine through every order of events for
//! small worlds and through drawn ones for larger, and is its specification.
//!
//! ```text
//! table e+1 gives slot s to N
//!
//! N  --Seal(table)-->  every other shard of the table
//! N  <--Sealed(e+1)--  table e+1 is on my disk, and all I accepted before is in my log       N accepts s from here on
//! N  <--Transfer-----  what I hold of your slots, in order; my attempts for them have ended
//! N  --Stored------->  it is in my inherited log; the giver drops it
//! N  <--Done(slots)--  I hold nothing of these any more, and a power cut will not bring it back
//!                      when all have said so, N delivers s: inherited log first, then its own
//! ```
//!
//! A change of the table is one exchange per pair of shards, whatever the number of slots.
//!
//! # What holds
//!
//! 1. **Nothing is lost.** An acknowledged event is delivered, or unsettled on the disk of some shard.
//! 2. **Order.** While no shard was declared lost, the events of a slot are first delivered in the order in which they
//!    were accepted; and when one comes again, all that came after it come again too, so that what a sink saw last is
//!    the last. (Without keys that collide, this is the order of a key.)
//! 3. **One at a time.** No two shards accept a slot at the same time, unless one of them was declared lost.
//! 4. **It ends.** When faults stop, every slot is accepted and delivered by its owner, and shards that own none are
//!    empty.
//!
//! # Why
//!
//! - *The table is the seal.* The slot map is a function of the table, so a shard with table e+1 on its disk can never
//!   again accept a slot that the table gives to others. No list of sealed slots is kept.
//! - *Under one epoch one shard accepts a slot.* Records are labelled with the epoch they were accepted under
//!   ([`Key`]), which must be on disk by then. So the order of keys is the order of acceptance, and the same record by
//!   two ways has one key: it is stored once.
//! - *A slot that stays is not touched.* From table e to e+1 a shard keeps the slots that it has in both, and goes on
//!   accepting them. If it missed an epoch, somebody else may have had them meanwhile: it claims them anew.
//! - *A repeat after delivery is refused.* Within one epoch a giver gains no records of another's slot, so after its
//!   `Done` whatever comes from it is a repeat. `Done` is said only when what was settled is durably so, and delivering
//!   begins only when it is on disk who was done, and when no batch with records of the slot is being stored.
//! - *A shard gives to itself.* What its own log has of a slot from an earlier tenure moves to its inherited log by the
//!   same steps, so everything older than a tenure is in one place and in one order.
//! - *Batches are numbered by the giver's life.* An answer to a giver that has since restarted drops nothing.
//!
//! # What the caller sees to
//!
//! - The inherited log tells records by their [`Key`], and reads them in that order. Where a log keeps the epoch is its
//!   own matter: it never falls along a log's positions, so a mark at each change will do.
//! - What [`Durable`] says is written whole and replaces what was there.
//! - The calls to [`Claims::step`] follow one another, and effects are carried out in order.
//! - Events without a key are of no slot. Any shard that owns slots accepts them; a shard that leaves hands them over
//!   with the records of a slot of its choice. Whoever gets them stores them, whatever [`Effect::Store`] says of that
//!   slot: its giver may have been done with it long ago.
//!
//! # When shards are lost
//!
//! Nobody waits for a shard that the table names in `lost`. Slots whose deliveries began without it are
//! [`Claims::at_risk`], until it is back and says that it is done with them; what it has of them is taken, and
//! delivered late, and may be delivered twice. A lost shard keeps the slots that the table gives to it: only a table
//! with fewer shards takes them away. A shard whose volume was lost comes back with another log; a table that names its
//! old one is not taken, so that an old table cannot make it accept what others accept by now.

mod admit;
mod claim;
mod give;
#[cfg(test)]
mod model;
mod shard;
mod types;

pub use shard::Claims;
pub use types::{Answer, Batch, Durable, Effect, Epoch, Input, Key, Message, Ordinal, Slot, Slots, Source, Tenure};
