//! What travels between shards: a message of the protocol, and the events that are handed over with it.

use bytes::Bytes;
use signalbox_contract::Peer;

use crate::claims::Message;
use crate::serve::log::{Origin, SinkSet};

/// A message to another shard. May be lost, repeated, late, and overtaken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Parcel {
    /// What is said.
    pub(in crate::serve) message: Message,
    /// The names of the giver's sinks, which [`Handed::waiting`] counts. Empty without events.
    pub(in crate::serve) sinks: Vec<String>,
    /// The events of a [`Message::Transfer`], in order; none with any other message.
    pub(in crate::serve) events: Vec<Handed>,
}

/// An event that is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Handed {
    /// Where it was accepted.
    pub(in crate::serve) origin: Origin,
    /// When, in microseconds since 1970.
    pub(in crate::serve) accepted_at_us: i64,
    /// Hash of its key.
    pub(in crate::serve) key: Option<u64>,
    /// The sinks that it still has to go to, by their place in [`Parcel::sinks`].
    pub(in crate::serve) waiting: SinkSet,
    /// What tells it from every other event for the duplicate window.
    pub(in crate::serve) identity: u128,
    /// The encoded event.
    pub(in crate::serve) record: Bytes,
}

/// The way to the other shards.
pub(in crate::serve) trait Outbox: Send + Sync + 'static {
    /// Sends, once, and waits for nothing: what cannot be sent is dropped, and will be said again.
    fn send(&self, to: &Peer, parcel: Parcel);
}
