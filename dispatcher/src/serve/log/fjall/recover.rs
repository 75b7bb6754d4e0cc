//! What happens when the log is opened: the ledger is rebuilt from the index, the marks and the cursors, and the
//! store is squared with the configured sinks.
//!
//! Reads the index from the lowest cursor on, so what every sink has settled is not read again, unless it is
//! younger than something that one of them has not.

use std::collections::BTreeMap;

use fjall::{OwnedWriteBatch as WriteBatch, PersistMode};

use super::super::ledger::Ledger;
use super::super::{LogError, Position};
use super::layout::{entry, mark_key, marked, position, sink, sink_value};
use super::{END, FjallLog, store};

/// Most removals in one batch: bounds the memory of a long clean-up.
const CLEANUP_BATCH: usize = 10_000;

impl FjallLog {
    /// Rebuilds the ledger from the store, and squares the store with the configured sinks.
    pub(super) fn recover(&mut self, sink_names: &[String]) -> Result<(), LogError> {
        let mut stored = BTreeMap::new();
        for guard in self.sinks.iter() {
            let (name, value) = guard.into_inner().map_err(store)?;
            let name = String::from_utf8(name.to_vec()).map_err(|_| LogError::Foreign("a sink without a name"))?;
            stored.insert(name, sink(&value)?);
        }
        let known_end = stored.remove(END).map(|(_, end)| end);
        let last = self.index.last_key_value().map(|guard| guard.key().map_err(store)).transpose()?;
        let last = last.map(|key| position(&key)).transpose()?;
        let end =
            stored.values().map(|&(_, cursor)| cursor).chain(last.map(|p| p + 1)).chain(known_end).max().unwrap_or(0);
        let oldest = stored.values().map(|&(_, cursor)| cursor).min().unwrap_or(end);

        let mut next_number = stored.values().map(|&(number, _)| number + 1).max().unwrap_or(0);
        let mut cursors = Vec::with_capacity(sink_names.len());
        for name in sink_names {
            let (number, cursor) = stored.remove(name).unwrap_or_else(|| {
                next_number += 1;
                (next_number - 1, end)
            });
            self.known.push((name.clone(), number));
            cursors.push(cursor);
        }

        let mut marks: Vec<_> = self.known.iter().map(|&(_, number)| self.marks_of(number).peekable()).collect();
        let mut ledger = Ledger::new(&cursors, oldest);
        let mut batch = self.db.batch();
        for guard in self.index.range(oldest.to_be_bytes()..) {
            let (key, value) = guard.into_inner().map_err(store)?;
            let entry = entry(&key, &value)?;
            let mut settled = Vec::new();
            for (sink, marks) in marks.iter_mut().enumerate() {
                while let Some(mark) = marks.next_if(|mark| mark.as_ref().map_or(true, |&p| p <= entry.position)) {
                    if mark? == entry.position {
                        settled.push(sink);
                    }
                }
            }
            if !ledger.recover(entry.position, entry.bytes, &settled) {
                self.forget(&mut batch, entry.position, &settled);
                batch = self.commit_if_large(batch)?;
            }
        }
        ledger.skip_to(end);

        // Last, so that a crash on the way finds the old cursors and does it again.
        for (name, (number, _)) in stored {
            tracing::warn!(sink = name, "this sink is no longer configured: what only it was waiting for is dropped");
            batch.remove(&self.sinks, name.as_str());
            for mark in self.marks_of(number) {
                batch.remove(&self.marks, mark_key(number, mark?));
            }
        }
        for (sink, &(ref name, number)) in self.known.iter().enumerate() {
            batch.insert(&self.sinks, name.as_str(), sink_value(number, ledger.cursor(sink)));
        }
        batch.durability(Some(PersistMode::SyncData)).commit().map_err(store)?;
        *self.ledger() = ledger;
        Ok(())
    }

    /// The positions that the sink of this number has marked, in order.
    fn marks_of(&self, number: u32) -> impl Iterator<Item = Result<Position, LogError>> + use<> {
        self.marks.prefix(number.to_be_bytes()).map(|guard| marked(&guard.key().map_err(store)?))
    }

    fn commit_if_large(&self, batch: WriteBatch) -> Result<WriteBatch, LogError> {
        if batch.len() < CLEANUP_BATCH {
            return Ok(batch);
        }
        batch.commit().map_err(store)?;
        Ok(self.db.batch())
    }
}
