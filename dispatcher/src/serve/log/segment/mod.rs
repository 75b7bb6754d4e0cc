//! The log as a row of files, written from front to back: segments.
//!
//! ```text
//! sealed           sealed           written to
//! [frames|index]   [frames|index]   [checkpoint|frames ->     ]     spare   spare
//!      \_ few are waited for _/                                       ^
//!              copied together -> [frames|index]       what all sinks have settled is used again
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `files` | the file operations, as a seam |
//! | `format` | the bytes of a segment |
//! | `scan` | reading them back: torn off, or damaged |
//! | `checkpoint`, `sinks` | what is kept of the ledger, and the numbers of the sinks |
//! | `reader` | one file, for reading |
//! | `state` | what is in memory |
//! | `sizes` | how large segments are: 4 MiB at first, 64 MiB in the end |
//! | `pool` | files that are ready to be written to |
//! | `write`, `read`, `compact`, `found`, `recover` | what the log does |
//! | `fuzz` | the log on files that a fuzzer has made |
//!
//! An append is one write and one `fdatasync` in a file that is already there, at its full size. Settlements are
//! frames in the same file, without a sync of their own. Memory: the ledger, the index of the segment that is
//! written to (64 bytes an event, at most 8 MiB), and a few words per segment. Disk: a log that nothing was appended
//! to is one file of 4 MiB; the next file is made when a quarter of that is full.

mod checkpoint;
mod compact;
pub(super) mod files;
mod format;
mod found;
pub mod fuzz;
#[cfg(test)]
pub(super) mod memory;
mod pool;
mod read;
mod reader;
mod recover;
mod scan;
mod sinks;
mod sizes;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::fs::TryLockError;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::{Entry, LogError, LogStats, NewRecord, Position, ShardLog, SinkId, Unsettled};
use files::{Directory, Real};
use pool::Pool;
use reader::{Segment, store};
use sizes::Sizes;
use state::State;
use write::Write;

/// Bytes of a segment. A larger group gets a larger segment, for once.
const SIZES: Sizes = Sizes { smallest: 4 * 1024 * 1024, largest: 64 * 1024 * 1024 };

/// Most identities that are looked up at start.
const MAX_IDENTITIES: usize = 1_000_000;

/// Where the files are, in the data directory.
pub(super) const FOLDER: &str = "log";

/// Where those of the inherited log are.
const INHERITED: &str = "inherited";

/// Where the lock is, in [`FOLDER`].
const LOCK: &str = "lock";

/// What an earlier store has left in the data directory.
const EARLIER: &str = "keyspaces";

/// A [`ShardLog`] in a directory of the file system.
pub(in crate::serve) struct SegmentLog {
    core: Arc<Core>,
    steward: Option<JoinHandle<()>>,
    /// Held for as long as the log is open.
    lock: Option<std::fs::File>,
}

struct Core {
    pool: Pool,
    state: Mutex<State>,
    write: Mutex<Write>,
    /// As in the ledger, to be had without the lock.
    bytes: AtomicU64,
    generation: AtomicU32,
    /// Segments that were in use before the start and may be no more: their identities may still be of interest.
    leftovers: Mutex<Vec<Arc<Segment>>>,
    /// Whether a thread does what can be done beside the writing.
    has_steward: bool,
}

impl SegmentLog {
    /// Opens the log in the data directory `dir`, or makes a new one, for these sinks.
    pub(in crate::serve) fn open(dir: &Path, sink_names: &[String]) -> Result<Self, LogError> {
        if dir.join(EARLIER).exists() {
            return Err(LogError::Foreign("the store of a version before the first: give an empty --data-dir"));
        }
        Self::open_folder(dir, FOLDER, sink_names)
    }

    /// Whether there is an inherited log in the data directory `dir`.
    pub(super) fn has_inherited(dir: &Path) -> bool {
        dir.join(INHERITED).exists()
    }

    /// Opens the inherited log in the data directory `dir`, or makes a new one.
    pub(super) fn open_inherited(dir: &Path, sink_names: &[String]) -> Result<Self, LogError> {
        let log = Self::open_folder(dir, INHERITED, sink_names)?;
        // What is in it is to be found after a power cut, and so has its folder to be.
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| store(&e))?;
        Ok(log)
    }

    fn open_folder(dir: &Path, folder: &str, sink_names: &[String]) -> Result<Self, LogError> {
        let path = dir.join(folder);
        let directory = |source| LogError::Directory { path: dir.to_owned(), source };
        std::fs::create_dir_all(&path).map_err(directory)?;
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(directory)?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => LogError::Locked(dir.to_owned()),
            TryLockError::Error(source) => directory(source),
        })?;
        let mut log = Self::open_in(Arc::new(Real::new(&path)), sink_names, SIZES, true)?;
        log.lock = Some(lock);
        let core = log.core.clone();
        let steward = std::thread::Builder::new().name("log-steward".to_owned()).spawn(move || core.tend());
        log.steward = Some(steward.map_err(directory)?);
        Ok(log)
    }

    fn open_in(
        directory: Arc<dyn Directory>,
        sink_names: &[String],
        sizes: Sizes,
        has_steward: bool,
    ) -> Result<Self, LogError> {
        let mut found = found::find(&*directory, sizes)?;
        let recover::Recovered { state, write, generation, free } = recover::recover(&found, sink_names)?;
        // Those that have been settled since the checkpoint leave the list below. They are the newest of all.
        let settled = state.segments.iter().filter(|live| live.listed.live == 0).map(|live| &live.segment);
        let leftovers = free.iter().chain(settled).cloned().collect();
        let core = Core {
            pool: Pool::new(directory, sizes, &mut found),
            bytes: AtomicU64::new(state.ledger.bytes()),
            leftovers: Mutex::new(leftovers),
            generation: AtomicU32::new(generation),
            state: Mutex::new(state),
            write: Mutex::new(Write::default()),
            has_steward,
        };
        core.start(write, free)?;
        Ok(Self { core: Arc::new(core), steward: None, lock: None })
    }

    /// Opens a log of tiny segments, which does everything in the thread that calls it.
    #[cfg(test)]
    pub(super) fn open_tiny(disk: &memory::Memory, sink_names: &[String]) -> Result<Self, LogError> {
        Self::open_in(Arc::new(disk.clone()), sink_names, Sizes { smallest: 4096, largest: 4096 }, false)
    }

    /// For one operation of the writer. After one that has failed there are no more.
    fn writing<T>(&self, what: impl FnOnce(&Core, &mut Write) -> Result<T, LogError>) -> Result<T, LogError> {
        let mut write = self.core.write.lock().unwrap_or_else(PoisonError::into_inner);
        if write.failed {
            return Err(LogError::Store("a write has failed before".to_owned()));
        }
        let result = what(&self.core, &mut write);
        write.failed = result.as_ref().is_err_and(|e| !matches!(e, LogError::Full));
        result
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.core.pool.stop();
        if let Some(steward) = self.steward.take() {
            // It has nothing to say: what it could not do is done when it is needed.
            let _ = steward.join();
        }
        drop(self.lock.take());
    }
}

impl Core {
    /// Makes what was recovered durable, and goes on behind it.
    fn start(&self, write: Option<Write>, free: Vec<Arc<Segment>>) -> Result<(), LogError> {
        let last = self.state().last().cloned();
        if let Some(last) = last {
            // The last process may have ended before its sync. What was read is to be there after a power cut too.
            last.file.sync().map_err(|e| store(&e))?;
        }
        // They are in no checkpoint, so nothing in them is needed.
        self.pool.give(free).map_err(|e| store(&e))?;
        let mut current = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(write) = write {
            if let Some(last) = self.state().last() {
                self.pool.written(last.size, write.tail);
            }
            *current = write;
            current.generation = self.next_generation();
            if self.add_checkpoint(&mut current)? {
                return Ok(());
            }
            return match self.roll(&mut current, 0, 0) {
                // Deliveries have to go on, to make room.
                Err(LogError::Full) => self.add_mark(&mut current),
                other => other,
            };
        }
        let spare = self.pool.take(self.state().checkpoint().len() as u64 * 4)?;
        self.begin(&mut current, spare)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leftovers(&self) -> MutexGuard<'_, Vec<Arc<Segment>>> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_generation(&self) -> u32 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Another segment is written to: there may be something to tidy up.
    fn rolled(&self) {
        self.pool.news();
        if !self.has_steward {
            self.tidy();
        }
    }

    /// The steward's life.
    fn tend(&self) {
        let mut begun = None;
        while self.pool.work(&mut begun) {
            self.tidy();
        }
    }

    fn tidy(&self) {
        loop {
            match self.compact() {
                Ok(true) => {}
                Ok(false) => return,
                Err(e) => {
                    // Nothing is lost by it: the events stay where they are.
                    tracing::warn!(error = %e, "what is left of old segments could not be copied together");
                    return;
                }
            }
        }
    }
}

/// A random number that nobody outside can know.
fn salt() -> u32 {
    u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0)
}

impl ShardLog for SegmentLog {
    fn append(&self, group: &[NewRecord]) -> Result<Position, LogError> {
        self.writing(|core, write| core.append(write, group))
    }

    fn settle(&self, settlements: &[(SinkId, Entry)]) -> Result<(), LogError> {
        self.writing(|core, write| core.settle(write, settlements))
    }

    fn sync(&self) -> Result<(), LogError> {
        self.writing(Core::sync)
    }

    fn unsettled(&self, sink: SinkId, from: Position, limit: usize) -> Result<Unsettled, LogError> {
        self.core.unsettled(sink, from, limit)
    }

    fn read(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        self.core.read(position)
    }

    fn identities(&self, span_us: i64) -> Result<Vec<(i64, u128)>, LogError> {
        self.core.identities(span_us)
    }

    fn end(&self) -> Position {
        self.core.state().ledger.end()
    }

    fn stats(&self) -> Result<LogStats, LogError> {
        self.core.stats()
    }

    fn backlog_bytes(&self) -> u64 {
        self.core.bytes.load(Ordering::Relaxed)
    }
}
