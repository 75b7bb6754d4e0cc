//! The log on the embedded store `fjall`: one directory, one journal, four keyspaces.
//!
//! `layout.rs` says what is in them, `recover.rs` what happens at start.
//!
//! An append is one batch with one `fdatasync` of the journal. A group of settlements is a batch that is handed to
//! the operating system and no further: it outlives the process, and a power cut only once the next append or
//! [`ShardLog::sync`] has taken it along. Batches are atomic, so removing an event and moving the cursor past it
//! are never seen apart.
//!
//! The store's memory: [`CACHE_BYTES`], and per keyspace up to five memtables.

mod layout;
mod recover;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode};

use super::ledger::{Ledger, Settled};
use super::{Entry, LogError, LogStats, NewRecord, OVERHEAD_BYTES, Position, ShardLog, SinkId, SinkSet, Unsettled};
use layout::{entry, index_value, mark_key, sink_value};

/// Block cache, shared by all keyspaces.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// One memtable of records. Smaller ones make more table files, larger ones use more memory.
const EVENTS_MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;

/// One memtable of each other keyspace.
const SMALL_MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;

/// Journals on disk above which the store flushes what holds the oldest one back.
const JOURNAL_BYTES: u64 = 128 * 1024 * 1024;

/// How many index entries are read at once when skipping what is settled.
const SKIP_BATCH: usize = 1024;

/// Where the keyspace of sinks keeps the end of the log. No sink is called so.
const END: &str = "\0";

/// Table files that are kept open.
const OPEN_FILES: usize = 128;

/// A [`ShardLog`] in a directory of the file system.
pub(in crate::serve) struct FjallLog {
    db: Database,
    events: Keyspace,
    index: Keyspace,
    marks: Keyspace,
    sinks: Keyspace,
    /// Names and stored numbers of the configured sinks, in the order of the configuration.
    known: Vec<(String, u32)>,
    ledger: Mutex<Ledger>,
}

impl FjallLog {
    /// Opens the log in `dir`, or makes a new one, for these sinks. Reads the index of the backlog, and nothing of
    /// what is settled everywhere.
    pub(in crate::serve) fn open(dir: &Path, sink_names: &[String]) -> Result<Self, LogError> {
        std::fs::create_dir_all(dir).map_err(|source| LogError::Directory { path: dir.to_owned(), source })?;
        let db = Database::builder(dir)
            .manual_journal_persist(true)
            .cache_size(CACHE_BYTES)
            .worker_threads(2)
            .max_cached_files(Some(OPEN_FILES))
            .max_journaling_size(JOURNAL_BYTES)
            .open()
            .map_err(|e| match e {
                fjall::Error::Locked => LogError::Locked(dir.to_owned()),
                fjall::Error::Io(source) => LogError::Directory { path: dir.to_owned(), source },
                other => store(other),
            })?;
        let keyspace = |name, memtable| {
            db.keyspace(name, || {
                KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(memtable)
            })
            .map_err(store)
        };
        let mut log = Self {
            events: keyspace("events", EVENTS_MEMTABLE_BYTES)?,
            index: keyspace("index", SMALL_MEMTABLE_BYTES)?,
            marks: keyspace("marks", SMALL_MEMTABLE_BYTES)?,
            sinks: keyspace("sinks", SMALL_MEMTABLE_BYTES)?,
            known: Vec::new(),
            ledger: Mutex::new(Ledger::new(&[], 0)),
            db,
        };
        log.recover(sink_names)?;
        Ok(log)
    }

    /// Removes an event that every sink has settled, with the marks that `sinks` have for it.
    fn forget(&self, batch: &mut WriteBatch, position: Position, sinks: &[SinkId]) {
        batch.remove(&self.events, position.to_be_bytes());
        batch.remove(&self.index, position.to_be_bytes());
        for number in sinks.iter().filter_map(|&sink| self.known.get(sink)).map(|&(_, number)| number) {
            batch.remove(&self.marks, mark_key(number, position));
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardLog for FjallLog {
    fn append(&self, group: &[NewRecord]) -> Result<Position, LogError> {
        let first = self.ledger().end();
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        let mut sizes = Vec::with_capacity(group.len());
        let mut skipped = Vec::new();
        for (position, new) in (first..).zip(group) {
            let value = index_value(new)?;
            batch.insert(&self.index, position.to_be_bytes(), value);
            batch.insert(&self.events, position.to_be_bytes(), &new.record[..]);
            let bytes = new.record.len() as u64 + OVERHEAD_BYTES;
            let skip = SinkSet::default();
            sizes.push(bytes);
            for (sink, number) in new.skip.iter().filter_map(|sink| Some((sink, self.known.get(sink)?.1))) {
                batch.insert(&self.marks, mark_key(number, position), "");
                skipped.push((sink, Entry { position, accepted_at_us: new.accepted_at_us, key: new.key, bytes, skip }));
            }
        }
        batch.commit().map_err(store)?;
        {
            let mut ledger = self.ledger();
            for bytes in sizes {
                ledger.append(bytes, SinkSet::default());
            }
        }
        // The marks are stored with the events. This moves the cursors that can pass them.
        if !skipped.is_empty() {
            self.settle(&skipped)?;
        }
        Ok(first)
    }

    fn settle(&self, settlements: &[(SinkId, Entry)]) -> Result<(), LogError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
        let mut moved = Vec::new();
        {
            let mut ledger = self.ledger();
            let before: Vec<Position> = (0..self.known.len()).map(|sink| ledger.cursor(sink)).collect();
            for &(sink, entry) in settlements {
                match ledger.settle(sink, entry.position, entry.bytes, entry.skip) {
                    Settled::Before => {}
                    Settled::Here => {
                        if let Some(&(_, number)) = self.known.get(sink) {
                            batch.insert(&self.marks, mark_key(number, entry.position), "");
                        }
                    }
                    Settled::Everywhere => {
                        // The newest event takes the end of the log along, while the cursors are still below.
                        if entry.position + 1 == ledger.end() {
                            batch.insert(&self.sinks, END, sink_value(0, ledger.end()));
                        }
                        let others: Vec<SinkId> = (0..self.known.len()).filter(|&other| other != sink).collect();
                        self.forget(&mut batch, entry.position, &others);
                    }
                }
            }
            for (sink, (&(ref name, number), from)) in self.known.iter().zip(before).enumerate() {
                let to = ledger.cursor(sink);
                if to != from {
                    batch.insert(&self.sinks, name.as_str(), sink_value(number, to));
                    // A single sink has no marks: what it settles is settled everywhere.
                    if self.known.len() > 1 {
                        moved.push((number, from, to));
                    }
                }
            }
        }
        // A mark below the cursor says nothing new. The range is bounded: what the cursor has just passed.
        for (number, from, to) in moved {
            for guard in self.marks.range(mark_key(number, from)..mark_key(number, to)) {
                batch.remove(&self.marks, guard.key().map_err(store)?);
            }
        }
        batch.commit().map_err(store)
    }

    fn sync(&self) -> Result<(), LogError> {
        self.db.persist(PersistMode::SyncData).map_err(store)
    }

    fn unsettled(&self, sink: SinkId, from: Position, limit: usize) -> Result<Unsettled, LogError> {
        let mut next = from;
        loop {
            let (start, end) = {
                let ledger = self.ledger();
                (ledger.next_unsettled(sink, next), ledger.end())
            };
            next = start;
            let mut entries = Vec::with_capacity(limit.min(SKIP_BATCH));
            for guard in self.index.range(start.to_be_bytes()..end.to_be_bytes()).take(limit.min(SKIP_BATCH)) {
                let (key, value) = guard.into_inner().map_err(store)?;
                let entry = entry(&key, &value)?;
                next = entry.position + 1;
                entries.push(entry);
            }
            let exhausted = entries.is_empty();
            {
                let ledger = self.ledger();
                entries.retain(|entry| !ledger.is_settled(sink, entry.position));
            }
            if exhausted {
                return Ok(Unsettled { entries, next: end });
            }
            if !entries.is_empty() {
                return Ok(Unsettled { entries, next });
            }
        }
    }

    fn read(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        let record = self.events.get(position.to_be_bytes()).map_err(store)?;
        Ok(record.map(|slice| Bytes::copy_from_slice(&slice)))
    }

    fn identities(&self, _: i64) -> Result<Vec<(i64, u128)>, LogError> {
        // This store does not keep them.
        Ok(Vec::new())
    }

    fn end(&self) -> Position {
        self.ledger().end()
    }

    fn stats(&self) -> Result<LogStats, LogError> {
        let (oldest, mut stats) = {
            let ledger = self.ledger();
            let stats = LogStats {
                events: ledger.events(),
                bytes: ledger.bytes(),
                oldest_accepted_at_us: None,
                sinks: ledger.unsettled(),
                lost: 0,
                end: ledger.end(),
                departed: 0,
            };
            (ledger.oldest(), stats)
        };
        if let Some(oldest) = oldest
            && let Some(value) = self.index.get(oldest.to_be_bytes()).map_err(store)?
        {
            stats.oldest_accepted_at_us = Some(entry(&oldest.to_be_bytes(), &value)?.accepted_at_us);
        }
        Ok(stats)
    }

    fn backlog_bytes(&self) -> u64 {
        self.ledger().bytes()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "to be given to map_err as it is")]
fn store(error: fjall::Error) -> LogError {
    LogError::Store(error.to_string())
}
