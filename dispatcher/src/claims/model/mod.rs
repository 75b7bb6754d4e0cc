//! The protocol's specification: the machine itself, run against disks, a network and producers that fail.
//!
//! - [`explore`] tries every order of everything that can happen, for few shards, tables, events and faults.
//! - It runs against each of the [`Flaw`]s too: shards that do not keep to the protocol. Each has to be found, or the
//!   model proves nothing.

mod digest;
mod disk;
mod explore;
mod finish;
mod node;
mod tests;
mod world;

use super::{Key, Slot};

/// An event of a slot: the how-manieth that its one producer sends.
type Event = u16;

/// An accepted event, as logs keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Record {
    key: Key,
    slot: Slot,
    event: Event,
}

/// A way not to keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    /// None: the protocol.
    None,
    /// A claimer does not wait for seals.
    AcceptsUnsealed,
    /// What is to be written durably is taken for written at once.
    TakesWritesForDone,
    /// What was transferred twice is stored twice.
    StoresTwice,
    /// A giver drops what it has sent before it is told that it is stored.
    DropsBeforeStored,
    /// A giver does not wait for the attempts in flight.
    IgnoresAttempts,
    /// A giver says that it is done before that outlives a power cut.
    DoneBeforeSync,
    /// The own log is delivered without waiting for the inherited one.
    OwnBeforeInherited,
}
