//! Files that are ready to be written to. They are filled with zeros once, ahead of need, and used again and again:
//! a write never makes a file longer, which is what makes its sync cheap.
//!
//! The zeros are written in step with the appends, and synced in small pieces: a file is ready when three quarters of
//! the segment before it are full. The disk has one queue: 64 MiB of zeros at once hold up the sync of an
//! acknowledgement for 50 ms.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::LogError;
use super::files::{self, Directory, File, ZEROS};
use super::found::Found;
use super::reader::{Segment, store};
use super::sizes::{MOST_SPARES, Sizes};

/// After the disk was full, how long to wait before asking it again.
const FULL_WAIT: Duration = Duration::from_millis(500);

/// End of the names of segments.
const SUFFIX: &str = ".segment";

/// A file that is ready.
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    pub(super) size: u32,
}

/// A file that is being filled with zeros.
pub(super) struct Filling {
    spare: Spare,
    /// The same file, to write zeros to.
    zeros: Arc<dyn File>,
    /// Bytes of it so far.
    filled: u32,
}

#[derive(Default)]
struct Ready {
    spares: Vec<Spare>,
    /// How many there are to be.
    wanted: usize,
    /// Bytes of the next segment.
    size: u32,
    /// Bytes of the segment that is written to, and up to where it is full.
    current: u32,
    tail: u32,
    /// All bytes appended, and how many it has to be before the next zeros are written,
    appended: u64,
    awaited: u64,
    /// unless somebody is in need of a file.
    hurry: bool,
    next_name: u64,
    full_since: Option<Instant>,
    stop: bool,
    /// Something may have become possible that was not before.
    news: bool,
}

impl Ready {
    /// Whether the next zeros are to be written.
    fn is_filling_due(&self) -> bool {
        self.spares.len() < self.wanted && (self.hurry || self.appended >= self.awaited)
    }

    /// So many bytes are still to be filled with zeros, and the next piece is to wait.
    fn pace(&mut self, left: u32) {
        let goal = u64::from(self.current) * 3 / 4;
        let until_goal = goal.saturating_sub(u64::from(self.tail));
        self.awaited = self.appended + until_goal * ZEROS as u64 / u64::from(left.max(1));
    }
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
        // One that is begun would else wait for appends, and these for it.
        self.ready().hurry = true;
        self.changed.notify_one();
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
        let step = tail.checked_sub(ready.tail).unwrap_or(tail);
        (ready.current, ready.tail) = (size, tail);
        ready.appended += u64::from(step);
        ready.wanted = ready.wanted.max(self.sizes.spares(size, tail));
        if ready.is_filling_due() {
            drop(ready);
            self.changed.notify_one();
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
        let mut ready = self.ready();
        ready.spares.push(spare);
        (ready.hurry, ready.awaited) = (false, 0);
    }

    /// Prepares files, as far as it is time to. To be called by a thread of its own, with what it has begun. Returns when
    /// there are news, and false when the thread has to end.
    pub(super) fn work(&self, begun: &mut Option<Filling>) -> bool {
        loop {
            let mut ready = self.ready();
            while !ready.stop && !ready.news && !ready.is_filling_due() {
                ready = self.changed.wait(ready).unwrap_or_else(PoisonError::into_inner);
            }
            if ready.stop {
                return false;
            }
            if std::mem::take(&mut ready.news) {
                return true;
            }
            let size = ready.size;
            drop(ready);
            if let Err(e) = self.fill(begun, size) {
                // Not fatal: whoever needs a file tries for itself.
                tracing::warn!(error = %e, "no further segment of the log can be prepared");
                // With no hurry: the next try is when a segment's worth has been appended.
                let mut ready = self.ready();
                ready.hurry = false;
                ready.awaited = ready.appended + u64::from(size);
            }
        }
    }

    /// Writes the next zeros of a file that is begun, or begins one of `size`.
    fn fill(&self, begun: &mut Option<Filling>, size: u32) -> io::Result<()> {
        let mut filling = match begun.take() {
            Some(filling) => filling,
            None => self.begin(size)?,
        };
        if self.write(&mut filling, true)? {
            self.give_back(filling.spare);
        } else {
            self.ready().pace(filling.spare.size - filling.filled);
            *begun = Some(filling);
        }
        Ok(())
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

    /// A file of `size`, now.
    fn prepare(&self, size: u32) -> io::Result<Spare> {
        let mut filling = self.begin(size)?;
        while !self.write(&mut filling, false)? {}
        Ok(filling.spare)
    }

    /// Makes a file that is to have `size`.
    fn begin(&self, size: u32) -> io::Result<Filling> {
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
        let file = self.directory.create(&name).map_err(|e| self.give_up(&name, e))?;
        let zeros = self.directory.open_to_fill(&name).map_err(|e| self.give_up(&name, e))?;
        Ok(Filling { spare: Spare { name, file, size }, zeros, filled: 0 })
    }

    /// Writes the next zeros. True when they were the last, and the file is on disk.
    fn write(&self, filling: &mut Filling, sync: bool) -> io::Result<bool> {
        let Filling { spare: Spare { name, file, size }, zeros, filled } = filling;
        let part = ZEROS.min((*size - *filled) as usize);
        let (bytes, offset) = (&files::zeros()[..part], u64::from(*filled));
        let written = match zeros.write_at(bytes, offset) {
            // Not in whole pages, or more than this file system can do.
            Err(e) if e.kind() == ErrorKind::InvalidInput => file.write_at(bytes, offset),
            other => other,
        };
        let written = written.and_then(|()| {
            *filled += u32::try_from(part).unwrap_or(u32::MAX);
            let last = filled == size;
            if sync || last {
                file.sync()?;
            }
            if last {
                self.directory.sync()?;
                self.ready().full_since = None;
            }
            Ok(last)
        });
        written.map_err(|e| self.give_up(name, e))
    }

    /// A file could not be filled.
    fn give_up(&self, name: &str, error: io::Error) -> io::Error {
        // What there is of it takes room. If it cannot be removed, the next start does.
        let _ = self.directory.remove(name);
        if is_full(&error) {
            self.ready().full_since = Some(Instant::now());
        }
        error
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::super::memory::Memory;
    use super::{Pool, Ready, ZEROS};
    use crate::serve::log::segment::sizes::Sizes;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const CHUNK: u32 = 256 * 1024;

    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    /// A pool with a thread that prepares files, of four pieces each.
    fn tended(test: impl FnOnce(&Pool, &Memory)) {
        assert_eq!(ZEROS, CHUNK as usize);
        let disk = Memory::default();
        let sizes = Sizes { smallest: 4 * CHUNK, largest: 4 * CHUNK };
        let directory = Arc::new(disk.clone());
        let mut found = found::find(&*directory, sizes).unwrap();
        let pool = Arc::new(Pool::new(directory, sizes, &mut found));
        let thread = {
            let pool = pool.clone();
            std::thread::spawn(move || {
                let mut begun = None;
                while pool.work(&mut begun) {}
            })
        };
        test(&pool, &disk);
        pool.stop();
        thread.join().unwrap();
    }

    fn zeros(disk: &Memory) -> usize {
        disk.names().iter().map(|name| disk.content(name).len()).sum()
    }

    #[test]
    fn zeros_are_written_in_step_with_what_is_appended() {
        tended(|pool, disk| {
            pool.written(4 * CHUNK, CHUNK);
            wait_until("zeros are not written", || zeros(disk) >= CHUNK as usize);
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(zeros(disk), CHUNK as usize, "no zeros before their time");
            for step in 1..=20 {
                pool.written(4 * CHUNK, CHUNK + step * CHUNK / 10);
            }
            wait_until("the file does not become ready", || pool.take_ready(1).is_some());
        });
    }

    #[test]
    fn a_file_is_ready_when_three_quarters_of_the_segment_before_it_are_full() {
        let mut ready = Ready { current: 8 * CHUNK, tail: 2 * CHUNK, appended: 1000, ..Ready::default() };
        // Four pieces to append, 16 to fill: one for each quarter of a piece.
        ready.pace(16 * CHUNK);
        assert_eq!(ready.awaited, 1000 + u64::from(CHUNK / 4));
        ready.tail = 6 * CHUNK;
        ready.pace(CHUNK);
        assert_eq!(ready.awaited, 1000, "late: at once");
    }

    #[test]
    fn whoever_needs_a_file_now_hurries_the_one_that_is_begun() {
        tended(|pool, disk| {
            pool.written(4 * CHUNK, CHUNK);
            wait_until("zeros are not written", || zeros(disk) >= CHUNK as usize);
            assert_eq!(pool.take(1).unwrap().size, 4 * CHUNK, "one of its own");
            wait_until("the one that was begun is not ready", || pool.take_ready(1).is_some());
        });
    }
}
