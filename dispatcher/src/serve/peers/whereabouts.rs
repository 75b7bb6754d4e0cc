//! Where other shards are, by where they were heard from last. A name server may say for half a minute where a pod was
//! before it restarted; the pod itself says hello at once. Only those with a certificate of the fleet's shards are heard.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::claims::Ordinal;

/// Most shards that are remembered.
const MOST: usize = 1024;

/// The addresses that shards were heard from.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(Mutex<HashMap<Ordinal, IpAddr>>);

impl Whereabouts {
    fn known(&self) -> MutexGuard<'_, HashMap<Ordinal, IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard was heard from there.
    pub(super) fn note(&self, shard: Ordinal, address: IpAddr) {
        let mut known = self.known();
        if known.len() < MOST || known.contains_key(&shard) {
            known.insert(shard, address);
        }
    }

    /// Where a shard was last.
    pub(super) fn of(&self, shard: Ordinal) -> Option<IpAddr> {
        self.known().get(&shard).copied()
    }

    /// It is not there any more, unless it was heard from elsewhere meanwhile.
    pub(super) fn forget(&self, shard: Ordinal, address: IpAddr) {
        let mut known = self.known();
        if known.get(&shard) == Some(&address) {
            known.remove(&shard);
        }
    }
}
