//! How events are passed on to the shard that owns their key, as ingest sees it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::StatusCode;
use signalbox_contract::{Peer, RoutingTable};

use crate::claims::Epoch;

/// What became of events that were passed on together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Outcome {
    /// They are on the owner's disk.
    Stored,
    /// They belong elsewhere by this table, which is newer than ours.
    Redirect(Arc<RoutingTable>),
    /// Whoever sent them is to be told this.
    Refused {
        /// 413, 429 or 503.
        status: StatusCode,
        /// Why, and what to do instead.
        sentence: String,
        /// For `Retry-After`.
        seconds: Option<u64>,
    },
    /// Nobody knows whether they were stored, or they were not: the owner was not reached, or is not ready. Why, as the
    /// end of a sentence.
    Unreachable(String),
}

/// Who passes events on.
pub(in crate::serve) trait HandOver: Send + Sync + 'static {
    /// Passes encoded events on, to be stored whole or not at all. `epoch`: that of the answer by which `to` owns them.
    /// Resolves within seconds, whatever happens.
    fn hand_over(&self, to: &Peer, epoch: Epoch, records: Vec<Bytes>) -> BoxFuture<'static, Outcome>;
}
