//! Files that are ready to be written to. They are filled with zeros once, ahead of need, and used again and again:
//! a write never makes a file longer, which is what makes its sync cheap.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::LogError;
use super::files::{Directory, File};
use super::found::Found;
use super::reader::{Segment, store};
use super::sizes::{MOST_SPARES, Sizes};

/// After the disk was full, how long to wait before asking it again.
const FULL_WAIT: Duration = Duration::from_millis(500);

/// Bytes that are written at once.
const CHUNK: usize = 1024 * 1024;

/// End of the names of segments.
const SUFFIX: &str = ".segment";

/// A file that is ready.
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    pub(super) size: u32,
}

#[derive(Default)]
struct Ready {
    spares: Vec<Spare>,
    /// How many there are to be.
    wanted: usize,
    /// Bytes of the next segment.
    size: u32,
    next_name: u64,
    full_since: Option<Instant>,
    stop: bool,
    /// Something may have become possible that was not before.
    news: bool,
}

/// The files that are ready.
pub(super) struct Pool {
    directory: Arc<dyn Directory>,
    pub(super) sizes: Sizes,
    ready: Mutex<Ready>,
    changed: Condvar,
}

impl Pool {
    /// A pool of what was found.
    pub(super) fn new(directory: Arc<dyn Directory>, sizes: Sizes, found: &mut Found) -> Self {
        let Found { names, spares, size, .. } = found;
        let (spares, size) = (std::mem::take(spares), *size);
        let numbers = names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.parse::<u64>().ok());
        let next_name = numbers.max().map_or(0, |number| number + 1);
        let ready = Mutex::new(Ready { spares, size, next_name, news: true, ..Ready::default() });
        Self { directory, sizes, ready, changed: Condvar::new() }
    }

    /// Whether this is the name of a segment.
    pub(super) fn is_segment(name: &str) -> bool {
        name.ends_with(SUFFIX)
    }

    /// A file of at least so many bytes. `Full` if there is none, and no room for one.
    pub(super) fn take(&self, bytes: u64) -> Result<Spare, LogError> {
        if let Some(spare) = self.take_ready(bytes) {
            return Ok(spare);
        }
        if self.ready().full_since.is_some_and(|since| since.elapsed() < FULL_WAIT) {
            return Err(LogError::Full);
        }
        let least = u32::try_from(self.sizes.at_least(bytes))
            .map_err(|_| LogError::Store(format!("{bytes} bytes are too much for one group")))?;
        let usual = least.max(self.size());
        let prepared = match self.prepare(usual) {
            // Growing can wait.
            Err(e) if is_full(&e) && least < usual => self.prepare(least),
            other => other,
        };
        prepared.map_err(|e| if is_full(&e) { LogError::Full } else { store(&e) })
    }

    /// A file of at least so many bytes, if one is ready.
    fn take_ready(&self, bytes: u64) -> Option<Spare> {
        let spare = {
            let mut ready = self.ready();
            let at = ready.spares.iter().rposition(|spare| u64::from(spare.size) >= bytes)?;
            ready.spares.remove(at)
        };
        self.news();
        Some(spare)
    }

    /// Bytes of the next segment.
    pub(super) fn size(&self) -> u32 {
        self.ready().size
    }

    /// A segment of `size` is written to, and full up to `tail`.
    pub(super) fn written(&self, size: u32, tail: u32) {
        let mut ready = self.ready();
        ready.size = ready.size.max(self.sizes.after(size));
        let wanted = self.sizes.spares(size, tail);
        if wanted > ready.wanted {
            ready.wanted = wanted;
            drop(ready);
            self.news();
        }
    }

    /// Takes files back. Nothing in them is needed any more.
    pub(super) fn give(&self, segments: Vec<Arc<Segment>>) -> io::Result<()> {
        let mut surplus = Vec::new();
        for segment in segments {
            segment.retire();
            let (name, file, size) = (segment.name.clone(), segment.file.clone(), segment.size);
            let mut ready = self.ready();
            // On a full disk a small one is better than none.
            let is_large = size >= ready.size || ready.full_since.is_some();
            if !is_large || !self.sizes.has(size) {
                surplus.push(name);
                continue;
            }
            // To the back of the line: what was written last is overwritten last.
            ready.spares.insert(0, Spare { name, file, size });
            let kept = ready.spares.len().min(MOST_SPARES);
            surplus.extend(ready.spares.drain(kept..).map(|spare| spare.name));
        }
        for name in &surplus {
            self.directory.remove(name)?;
        }
        if !surplus.is_empty() {
            self.directory.sync()?;
            self.ready().full_since = None;
        }
        Ok(())
    }

    /// Takes back a file that was not used after all.
    pub(super) fn give_back(&self, spare: Spare) {
        self.ready().spares.push(spare);
    }

    /// Prepares files until enough are ready. To be called by a thread of its own; false when it has to end.
    pub(super) fn work(&self) -> bool {
        let mut ready = self.ready();
        while !ready.stop && !ready.news {
            ready = self.changed.wait(ready).unwrap_or_else(PoisonError::into_inner);
        }
        ready.news = false;
        let stop = ready.stop;
        drop(ready);
        !stop && self.fill()
    }

    fn fill(&self) -> bool {
        loop {
            let ready = self.ready();
            if ready.stop || ready.spares.len() >= ready.wanted {
                return !ready.stop;
            }
            let size = ready.size;
            drop(ready);
            match self.prepare(size) {
                Ok(spare) => self.give_back(spare),
                Err(e) => {
                    // Not fatal: whoever needs a file tries for itself.
                    tracing::warn!(error = %e, "no further segment of the log can be prepared");
                    return true;
                }
            }
        }
    }

    /// Wakes the thread.
    pub(super) fn news(&self) {
        self.ready().news = true;
        self.changed.notify_one();
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.ready().stop = true;
        self.changed.notify_one();
    }

    fn prepare(&self, size: u32) -> io::Result<Spare> {
        let name = {
            let mut ready = self.ready();
            ready.next_name += 1;
            format!("{:08}{SUFFIX}", ready.next_name - 1)
        };
        // Others write to this disk too. They are not to find it full because a segment was tried in vain.
        if self.directory.room()? < u64::from(size) + u64::from(self.sizes.largest / 4) {
            self.ready().full_since = Some(Instant::now());
            return Err(ErrorKind::StorageFull.into());
        }
        let filled = self.directory.create(&name).and_then(|file| {
            let zeros = vec![0; CHUNK.min(size as usize)];
            let mut at = 0;
            while at < size as usize {
                let part = zeros.len().min(size as usize - at);
                file.write_at(&zeros[..part], at as u64)?;
                at += part;
            }
            file.sync()?;
            self.directory.sync()?;
            Ok(file)
        });
        match filled {
            Ok(file) => {
                self.ready().full_since = None;
                Ok(Spare { name, file, size })
            }
            Err(e) => {
                // What there is of it takes room. If it cannot be removed, the next start does.
                let _ = self.directory.remove(&name);
                if is_full(&e) {
                    self.ready().full_since = Some(Instant::now());
                }
                Err(e)
            }
        }
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
