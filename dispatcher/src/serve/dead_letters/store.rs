//! The dead letters on disk: the embedded store `fjall` in a directory of its own.
//!
//! ```text
//! letters  key                  -> head          letter.rs
//! records  key                  -> encoded event
//! notes    "total", reason, sink -> letters u64, bytes u64
//!          "serial"             -> u64, that of the next letter
//!          "replays"            -> JSON, replay.rs
//! ```
//!
//! A [`Shelf`] is where a store is or will be. The store is made beside its place and moved there whole, so that a
//! crash on the way leaves nothing that the next start cannot open.
//!
//! Only the keeper's thread writes; anyone may read.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode};

use super::filter::Filter;
use super::letter::{LetterHead, LetterKey, letter_bytes};
use super::totals::{self, Totals};
use super::{NewDeadLetter, StoreError};

/// Where the store is, in the data directory.
const DIRECTORY: &str = "dead-letters";

/// Where it is while it is made.
const NEW_DIRECTORY: &str = "dead-letters.new";

/// Block cache. Letters are read seldom.
const CACHE_BYTES: u64 = 1024 * 1024;

/// One memtable of records.
const RECORDS_MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;

/// One memtable of each other keyspace.
const SMALL_MEMTABLE_BYTES: u64 = 1024 * 1024;

/// Journals on disk above which the store flushes what holds the oldest one back. The least that it takes.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// Table files that are kept open.
const OPEN_FILES: usize = 32;

const SERIAL: &[u8] = b"serial";
const REPLAYS: &[u8] = b"replays";

/// The place of a store that need not be there yet.
pub(super) struct Shelf {
    data_dir: PathBuf,
    store: OnceLock<Store>,
    totals: Mutex<Totals>,
}

/// An open store.
pub(super) struct Store {
    db: Database,
    letters: Keyspace,
    records: Keyspace,
    notes: Keyspace,
}

/// What a group of commands will change, once it is committed.
pub(super) struct Change<'a> {
    shelf: &'a Shelf,
    store: &'a Store,
    batch: WriteBatch,
    before: Totals,
    totals: Totals,
    first_serial: u64,
    serial: u64,
    replays: Option<Bytes>,
    /// Keys that this group adds or removes: the store does not tell yet. No group does both.
    touched: BTreeSet<Vec<u8>>,
}

/// What came of burying a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buried {
    /// It is there, once the change is committed.
    Kept,
    /// There is no room.
    Full,
    /// Its place has the letter of another event: someone has made the log anew and left the dead letters.
    Taken,
}

impl Shelf {
    /// Opens the store in `data_dir` if there is one.
    pub(super) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        remove_unfinished(data_dir)?;
        let shelf =
            Self { data_dir: data_dir.to_owned(), store: OnceLock::new(), totals: Mutex::new(Totals::default()) };
        if data_dir.join(DIRECTORY).exists() {
            let store = Store::open(&data_dir.join(DIRECTORY))?;
            let mut totals = Totals::default();
            for guard in store.notes.prefix(totals::PREFIX) {
                let (key, value) = guard.into_inner().map_err(failed)?;
                totals.recover(&key, &value)?;
            }
            *shelf.lock() = totals;
            // Nobody else has the shelf yet.
            let _ = shelf.store.set(store);
        }
        Ok(shelf)
    }

    /// The store, if there is one.
    pub(super) fn store(&self) -> Option<&Store> {
        self.store.get()
    }

    /// The store, made if need be. For the keeper's thread alone.
    pub(super) fn store_or_new(&self) -> Result<&Store, StoreError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        remove_unfinished(&self.data_dir)?;
        let (new, place) = (self.data_dir.join(NEW_DIRECTORY), self.data_dir.join(DIRECTORY));
        let store = Store::open(&new)?;
        store.db.persist(PersistMode::SyncAll).map_err(failed)?;
        drop(store);
        std::fs::rename(&new, &place)
            .and_then(|()| std::fs::File::open(&self.data_dir)?.sync_all())
            .map_err(|e| StoreError(format!("{} cannot be made ({e})", place.display())))?;
        let store = Store::open(&place)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// The counts.
    pub(super) fn totals(&self) -> Totals {
        self.lock().clone()
    }

    /// Begins a group of changes. One at a time: it knows only its own.
    pub(super) fn change<'a>(&'a self, store: &'a Store) -> Result<Change<'a>, StoreError> {
        let totals = self.totals();
        let serial = store.next_serial()?;
        Ok(Change {
            shelf: self,
            store,
            batch: store.db.batch().durability(Some(PersistMode::SyncData)),
            before: totals.clone(),
            totals,
            first_serial: serial,
            serial,
            replays: None,
            touched: BTreeSet::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn open(dir: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(dir)
            .manual_journal_persist(true)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_cached_files(Some(OPEN_FILES))
            .max_journaling_size(JOURNAL_BYTES)
            .open()
            .map_err(|e| {
                StoreError(format!(
                    "{} cannot be opened ({e}); move it away to start without dead letters",
                    dir.display()
                ))
            })?;
        let keyspace = |name, memtable| {
            db.keyspace(name, || {
                KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(memtable)
            })
            .map_err(failed)
        };
        Ok(Self {
            letters: keyspace("letters", SMALL_MEMTABLE_BYTES)?,
            records: keyspace("records", RECORDS_MEMTABLE_BYTES)?,
            notes: keyspace("notes", SMALL_MEMTABLE_BYTES)?,
            db,
        })
    }

    /// The serial that the next letter will get.
    pub(super) fn next_serial(&self) -> Result<u64, StoreError> {
        let stored = self.notes.get(SERIAL).map_err(failed)?;
        Ok(stored.and_then(|value| Some(u64::from_be_bytes((&*value).try_into().ok()?))).unwrap_or(0))
    }

    /// The letters after `after` that the filter means, in order, as they are now.
    pub(super) fn scan<'a>(
        &self,
        filter: &'a Filter,
        after: Option<&LetterKey>,
    ) -> impl Iterator<Item = Result<(LetterKey, LetterHead), StoreError>> + use<'a> {
        let prefix = match (filter.letter(), &filter.sink) {
            (Some(key), _) => key.bytes(),
            (None, Some(sink)) => LetterKey::prefix(sink),
            (None, None) => Vec::new(),
        };
        let from = match after.map(LetterKey::bytes) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        self.letters
            .range((from, Bound::Unbounded))
            .map(|guard| guard.into_inner().map_err(failed))
            .take_while(move |entry| entry.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .map(|entry| {
                let (key, value) = entry?;
                Ok((LetterKey::read(&key)?, LetterHead::read(&value)?))
            })
            .filter(|entry| entry.as_ref().map_or(true, |(key, head)| filter.matches(key, head)))
    }

    /// The record of one letter.
    pub(super) fn record(&self, key: &LetterKey) -> Result<Option<Bytes>, StoreError> {
        let value = self.records.get(key.bytes()).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// What is noted about replays.
    pub(super) fn replays(&self) -> Result<Option<Bytes>, StoreError> {
        let value = self.notes.get(REPLAYS).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }
}

impl Change<'_> {
    /// Adds a letter, unless it is there or there is no room.
    pub(super) fn bury(&mut self, letter: &NewDeadLetter, now_us: i64, limit: u64) -> Result<Buried, StoreError> {
        let key = LetterKey { sink: letter.sink.clone(), position: letter.position }.bytes();
        if self.touched.contains(&key) {
            return Ok(Buried::Kept);
        }
        if let Some(stored) = self.store.letters.get(&key).map_err(failed)? {
            let stored = LetterHead::read(&stored)?;
            let same = stored.accepted_at_us == letter.accepted_at_us;
            return Ok(if same { Buried::Kept } else { Buried::Taken });
        }
        let head = LetterHead::new(letter, self.serial, now_us).bytes()?;
        let bytes = letter_bytes(&key, &head, letter.record.len() as u64);
        if self.totals.bytes().saturating_add(bytes) > limit {
            return Ok(Buried::Full);
        }
        self.batch.insert(&self.store.letters, key.clone(), head);
        self.batch.insert(&self.store.records, key.clone(), &letter.record[..]);
        self.serial += 1;
        self.totals.add(&letter.sink, letter.reason, bytes);
        self.touched.insert(key);
        Ok(Buried::Kept)
    }

    /// Removes a letter. Tells whether it was there.
    pub(super) fn remove(&mut self, key: &LetterKey) -> Result<bool, StoreError> {
        let bytes = key.bytes();
        if self.touched.contains(&bytes) {
            return Ok(false);
        }
        let Some(value) = self.store.letters.get(&bytes).map_err(failed)? else { return Ok(false) };
        let head = LetterHead::read(&value)?;
        self.totals.take(&key.sink, head.reason, letter_bytes(&bytes, &value, head.record_bytes));
        self.batch.remove(&self.store.letters, bytes.clone());
        self.batch.remove(&self.store.records, bytes.clone());
        self.touched.insert(bytes);
        Ok(true)
    }

    /// Notes how replays are doing.
    pub(super) fn note_replays(&mut self, json: Bytes) {
        self.replays = Some(json);
    }

    /// Makes all of it durable at once. (A batch must not name a key twice, so what changes often is added here.)
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        if self.serial != self.first_serial {
            self.batch.insert(&self.store.notes, SERIAL, self.serial.to_be_bytes());
        }
        if let Some(json) = &self.replays {
            self.batch.insert(&self.store.notes, REPLAYS, &json[..]);
        }
        for (key, value) in self.totals.changes(&self.before) {
            self.batch.insert(&self.store.notes, key, value);
        }
        self.batch.commit().map_err(failed)?;
        *self.shelf.lock() = self.totals;
        Ok(())
    }
}

fn remove_unfinished(data_dir: &Path) -> Result<(), StoreError> {
    let path = data_dir.join(NEW_DIRECTORY);
    match std::fs::remove_dir_all(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError(format!("{} cannot be removed ({e})", path.display())))
        }
        _ => Ok(()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "to be given to map_err as it is")]
fn failed(error: fjall::Error) -> StoreError {
    StoreError(error.to_string())
}
