//! Which way an event goes: what those ask who have one that wants to be accepted.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use signalbox_contract::{Peer, RoutingTable};

use super::parcel::Parcel;
use crate::claims::{Epoch, Ordinal};

/// The way of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Way {
    /// Into the own log. It is counted as being stored until the [`Admission`] ends.
    Here,
    /// To this shard.
    Owner(Ordinal),
    /// Nowhere yet: ask again when something has changed ([`Router::changed`]), until the caller's patience ends.
    Hold,
    /// Back to the shard that passed it on, with our newer table.
    Redirect,
}

/// What is said of some events, all at one moment.
#[derive(Debug)]
pub(in crate::serve) struct Routes {
    /// In the order of the question.
    pub(in crate::serve) ways: Vec<Way>,
    /// The epoch under which events are passed on.
    pub(in crate::serve) epoch: Epoch,
    /// Kept until those that go [`Way::Here`] are in the log, or given up. Nothing: none does.
    pub(in crate::serve) admission: Option<Admission>,
    /// What [`Router::changed`] is to be asked with.
    pub(in crate::serve) seen: u64,
}

/// The right to append what was admitted. When it is dropped, what was admitted is on disk, or was given up.
pub(in crate::serve) struct Admission(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Admission {
    /// Calls `ended` when it is dropped.
    pub(in crate::serve) fn new(ended: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(ended)))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

/// Who knows the ways: the claims of this shard.
pub(in crate::serve) trait Router: Send + Sync + 'static {
    /// The ways of events with keys of these hashes (none: an event without a key, which any shard with slots takes).
    /// `routed`: the epoch of the shard that passed them on; nothing for a producer's. Never blocks for long.
    fn route(&self, keys: &[Option<u64>], routed: Option<Epoch>) -> Routes;

    /// Resolves when answers may be others than those that were given with this [`Routes::seen`].
    fn changed(&self, seen: u64) -> BoxFuture<'static, ()>;

    /// Another shard says something. Dropped if there is no room for it: it will be said again.
    fn heard(&self, from: Ordinal, parcel: Parcel);

    /// The newest table that this shard goes by.
    fn table(&self) -> Option<Arc<RoutingTable>>;

    /// How the shard of this number is reached.
    fn peer(&self, ordinal: Ordinal) -> Option<Peer> {
        self.table()?.peers.iter().find(|peer| peer.ordinal == ordinal).cloned()
    }
}
