//! The log on files that a fuzzer has made, for the fuzz target `segments` alone. In memory.
//!
//! Random bytes fail their checksums and are never looked at again. So the checksums are put right first, and what
//! is behind them has to cope with anything.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::super::{LogError, NewRecord, Position, ShardLog, SinkSet};
use super::files::{Directory, File};
use super::format::{ENTRY_BYTES, HEADER, MAGIC, TRAILER, VERSION, checksum, padded, u32_at};
use super::{SegmentLog, Sizes};

const SIZES: Sizes = Sizes { smallest: 4096, largest: 16 * 1024 };

#[derive(Clone, Default)]
struct Files(Arc<Mutex<BTreeMap<String, Arc<Content>>>>);

#[derive(Default)]
struct Content(Mutex<Vec<u8>>);

impl Files {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Content>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory for Files {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.lock().get(name).cloned().ok_or(ErrorKind::NotFound)?)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.lock().entry(name.to_owned()).or_default().clone())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn room(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl File for Content {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.lock();
        let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..));
        let found = rest.and_then(|rest| rest.get(..buffer.len())).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.lock();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let end = offset + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What was found in a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The position that the next event gets.
    pub end: Position,
    /// Per sink, the positions it has not settled, and of how many of them there is a record.
    pub sinks: Vec<(Vec<Position>, usize)>,
    /// Events that are not settled everywhere.
    pub events: u64,
}

/// A log on these files.
pub struct Fuzzed {
    files: Files,
    log: SegmentLog,
}

impl Fuzzed {
    /// Opens the log on files with such content. `repaired`: with their checksums put right.
    pub fn open(contents: &[(&[u8], bool)]) -> Result<Self, LogError> {
        let files = Files::default();
        for (at, (content, repaired)) in contents.iter().enumerate() {
            let mut content = content.to_vec();
            if *repaired {
                repair(&mut content);
            }
            files.lock().insert(format!("{at:08}.segment"), Arc::new(Content(Mutex::new(content))));
        }
        Self::on(files)
    }

    fn on(files: Files) -> Result<Self, LogError> {
        let names = ["a".to_owned(), "b".to_owned()];
        let log = SegmentLog::open_in(Arc::new(files.clone()), &names, SIZES, false)?;
        Ok(Self { files, log })
    }

    /// The process ends, and starts again.
    pub fn again(self) -> Result<Self, LogError> {
        drop(self.log);
        Self::on(self.files)
    }

    /// Reads all there is.
    pub fn read(&self) -> Result<Found, LogError> {
        let mut sinks = Vec::new();
        for sink in 0..2 {
            let (mut all, mut readable, mut from) = (Vec::new(), 0, 0);
            loop {
                let part = self.log.unsettled(sink, from, 7)?;
                if part.entries.is_empty() {
                    break;
                }
                for entry in part.entries {
                    readable += usize::from(self.log.read(entry.position)?.is_some());
                    all.push(entry.position);
                }
                from = part.next;
            }
            sinks.push((all, readable));
        }
        self.log.identities(i64::MAX)?;
        Ok(Found { end: self.log.end(), sinks, events: self.log.stats()?.events })
    }

    /// Settles everything, and appends some events.
    pub fn use_it(&self, events: usize) -> Result<Position, LogError> {
        for sink in 0..2 {
            let mut from = 0;
            loop {
                let part = self.log.unsettled(sink, from, 7)?;
                if part.entries.is_empty() {
                    break;
                }
                from = part.next;
                self.log.settle(&part.entries.into_iter().map(|entry| (sink, entry)).collect::<Vec<_>>())?;
            }
        }
        let record = Bytes::from_static(&[7; 300]);
        let new = NewRecord { accepted_at_us: 1, key: None, skip: SinkSet::default(), identity: 1, record };
        self.log.append(&vec![new; events])
    }

    /// All files, one after the other.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.files.lock().values().flat_map(|content| content.lock().clone()).collect()
    }
}

/// Puts the checksums in a file right, whatever else is in it.
fn repair(file: &mut [u8]) {
    let head = HEADER as usize;
    if file.len() < 2 * head {
        return;
    }
    file[..8].copy_from_slice(&MAGIC);
    file[8..12].copy_from_slice(&VERSION.to_le_bytes());
    // Nothing starts a process four thousand million times.
    file[19] = 0;
    let crc = checksum(0, &file[..32]);
    file[32..36].copy_from_slice(&crc.to_le_bytes());
    let salt = u32_at(file, 20);
    let (body, trailer) = file.split_at_mut(file.len() - TRAILER as usize);
    let seal = |block: &mut [u8]| {
        let crc = checksum(salt, &block[4..]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
    };
    seal(trailer);
    let mut at = head;
    while let Some(frame) = body.get_mut(at..at + u32_at(body, at + 4) as usize).filter(|frame| frame.len() >= 24) {
        frame[11] = 0;
        seal(frame);
        at += padded(u32::try_from(frame.len()).unwrap_or(0)) as usize;
        if frame[16] == 4 {
            break;
        }
    }
    for entry in body.get_mut(at..).unwrap_or_default().chunks_exact_mut(ENTRY_BYTES) {
        seal(entry);
    }
}
