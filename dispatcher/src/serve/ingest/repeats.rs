//! What shards of other regions gave before: told from what is new by where it was in the giver's log.
//!
//! A giver gives the events of a slot, and those without a key, in the order of its logs, the inherited one apart; those of
//! one batch together to one shard; and nothing after an event that was not taken. So who has one of them knows that
//! those before it were taken, here or by another, and of each log and slot the last position is enough. It is kept in
//! memory: when this shard restarts while an answer of it is lost, or its slot is another's by then, an event is stored
//! twice, and delivered twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::serve::claiming::Handed;
use crate::serve::log::{Position, is_inherited};
use crate::serve::slots::slot_of;

/// Most logs that are remembered: of more of them all are forgotten.
const MOST: usize = 1024;

/// The last position that was stored, of one log: by slot, what that shard had inherited apart.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<(usize, bool), Position>);

impl Known {
    /// Whether this event was stored before.
    pub(super) fn has(&self, event: &Handed) -> bool {
        self.0.get(&place(event)).is_some_and(|&last| event.origin.position <= last)
    }

    /// These events are on disk.
    pub(super) fn stored(&mut self, events: &[Handed]) {
        for event in events {
            let last = self.0.entry(place(event)).or_default();
            *last = event.origin.position.max(*last);
        }
    }
}

fn place(event: &Handed) -> (usize, bool) {
    (slot_of(event.key), is_inherited(event.origin.position))
}

/// What is known of each log.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<BTreeMap<u64, Arc<tokio::sync::Mutex<Known>>>>);

impl Repeats {
    /// What is known of this log, for one at a time: what is given once more waits for what was given before.
    pub(super) async fn of(&self, log: u64) -> OwnedMutexGuard<Known> {
        let known = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= MOST && !all.contains_key(&log) {
                all.clear();
            }
            all.entry(log).or_default().clone()
        };
        known.lock_owned().await
    }
}
