//! A directory in memory that behaves as badly as a disk may: what was not synced can be lost at a power cut, whole
//! or in sectors, in any order; writes and syncs fail; there is no room.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::files::{Directory, File};

const SECTOR: usize = 512;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Cut {
    /// Nothing.
    Nothing,
    /// Whole writes, each with even chance.
    Writes,
    /// Sectors, each with even chance.
    Sectors,
    /// All of it: only the process has ended.
    All,
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Arc<Content>>,
    /// Names as they are after a power cut.
    durable_names: BTreeMap<String, Arc<Content>>,
    room: Option<usize>,
    /// Operations until one fails.
    fails_in: Option<u32>,
    writes_are_short: bool,
    syncs: u64,
}

#[derive(Default)]
struct Content(Mutex<Bytes>);

#[derive(Default, Clone)]
struct Bytes {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync.
    writes: Vec<(usize, Vec<u8>)>,
}

/// A disk that outlives the log. Clones are the same disk.
#[derive(Clone, Default)]
pub(in crate::serve::log) struct Memory(Arc<Mutex<Disk>>);

struct Open {
    disk: Memory,
    content: Arc<Content>,
}

impl Memory {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// From now on this many bytes can be added.
    pub(in crate::serve::log) fn room(&self, bytes: Option<usize>) {
        self.disk().room = bytes;
    }

    /// After so many operations, one fails. A write that fails may have been done in part.
    pub(in crate::serve::log) fn fail_in(&self, operations: Option<u32>, writes_are_short: bool) {
        let mut disk = self.disk();
        disk.fails_in = operations;
        disk.writes_are_short = writes_are_short;
    }

    /// Syncs so far.
    pub(in crate::serve::log) fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// Bytes of all files.
    pub(in crate::serve::log) fn bytes(&self) -> usize {
        self.disk().files.values().map(|content| content.0.lock().unwrap().now.len()).sum()
    }

    /// Names of all files.
    pub(in crate::serve::log) fn names(&self) -> Vec<String> {
        self.disk().files.keys().cloned().collect()
    }

    /// Changes what is in a file, as only damage does.
    pub(in crate::serve::log) fn damage(&self, name: &str, change: impl FnOnce(&mut [u8])) {
        let disk = self.disk();
        let mut content = disk.files[name].0.lock().unwrap();
        change(&mut content.now);
        content.durable = content.now.clone();
        content.writes.clear();
    }

    /// What is in a file.
    pub(in crate::serve::log) fn content(&self, name: &str) -> Vec<u8> {
        self.disk().files[name].0.lock().unwrap().now.clone()
    }

    /// The power fails, and comes back. `draw` gives random numbers.
    pub(in crate::serve::log) fn cut(&self, cut: Cut, mut draw: impl FnMut() -> u64) -> Self {
        let disk = self.disk();
        let names = match cut {
            Cut::All => &disk.files,
            _ if draw().is_multiple_of(2) => &disk.files,
            _ => &disk.durable_names,
        };
        let mut after = Disk::default();
        for (name, content) in names {
            let bytes = content.0.lock().unwrap();
            let mut left = bytes.durable.clone();
            for (offset, written) in &bytes.writes {
                match cut {
                    Cut::All => put(&mut left, *offset, written),
                    Cut::Writes if draw().is_multiple_of(2) => put(&mut left, *offset, written),
                    Cut::Nothing | Cut::Writes => {}
                    Cut::Sectors => {
                        let mut at = 0;
                        while at < written.len() {
                            let part = (SECTOR - (offset + at) % SECTOR).min(written.len() - at);
                            if draw().is_multiple_of(2) {
                                put(&mut left, offset + at, &written[at..at + part]);
                            }
                            at += part;
                        }
                    }
                }
            }
            let bytes = Bytes { now: left.clone(), durable: left, writes: Vec::new() };
            after.files.insert(name.clone(), Arc::new(Content(Mutex::new(bytes))));
        }
        after.durable_names = after.files.clone();
        Self(Arc::new(Mutex::new(after)))
    }
}

impl Disk {
    fn count_down(&mut self) -> io::Result<()> {
        match &mut self.fails_in {
            Some(0) => Err(io::Error::other("the disk failed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Directory for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let content = self.disk().files.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(Open { disk: self.clone(), content }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        disk.count_down()?;
        assert!(!disk.files.contains_key(name), "{name} is there");
        let content = Arc::new(Content::default());
        disk.files.insert(name.to_owned(), content.clone());
        Ok(Arc::new(Open { disk: self.clone(), content }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.count_down()?;
        let content = disk.files.remove(name).ok_or(ErrorKind::NotFound)?;
        let bytes = content.0.lock().unwrap().now.len();
        disk.room = disk.room.map(|room| room + bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.count_down()?;
        disk.durable_names = disk.files.clone();
        Ok(())
    }

    fn room(&self) -> io::Result<u64> {
        Ok(self.disk().room.map_or(u64::MAX, |room| room as u64))
    }
}

impl File for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.0.lock().unwrap().now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.content.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let found = content.now.get(offset..offset + buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let mut content = self.content.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let failed = disk.count_down();
        let mut bytes = bytes;
        if failed.is_err() {
            if !disk.writes_are_short {
                return failed;
            }
            bytes = &bytes[..bytes.len() / 2];
        }
        let more = (offset + bytes.len()).saturating_sub(content.now.len());
        if let Some(room) = &mut disk.room {
            *room = room.checked_sub(more).ok_or(ErrorKind::StorageFull)?;
        }
        put(&mut content.now, offset, bytes);
        content.writes.push((offset, bytes.to_owned()));
        failed
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.count_down()?;
        disk.syncs += 1;
        let mut content = self.content.0.lock().unwrap();
        let writes = std::mem::take(&mut content.writes);
        for (offset, bytes) in writes {
            put(&mut content.durable, offset, &bytes);
        }
        Ok(())
    }
}
