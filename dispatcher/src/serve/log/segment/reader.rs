//! One file of the log, for reading: its index, and the records that the index points to.
//!
//! The index of a sealed segment stays in the file: looking up an event reads 64 bytes, filling a window reads what
//! it needs in one go. So memory does not grow with the backlog. If the index is damaged it is made again from the
//! frames, and kept in memory for as long as the segment lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::super::{LogError, Position};
use super::files::File;
use super::format::{ENTRY, ENTRY_BYTES, Frame, Header, Indexed, Kind, RECORD, TRAILER, Trailer};
use super::scan::{frame_at, scan};

/// A file in use as a segment.
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    pub(super) header: Header,
    /// Bytes of the file.
    pub(super) size: u32,
    index: OnceLock<Trailer>,
    /// The index made again.
    remade: OnceLock<Vec<u8>>,
    retired: AtomicBool,
    /// The index was made again lately, and may have fewer events than before.
    shrunk: AtomicBool,
}

/// Why something could not be read from a segment.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The file serves another purpose by now: look again where the event is.
    Retired,
    /// It is damaged.
    Damaged,
    /// The disk failed.
    Failed(LogError),
}

impl Segment {
    pub(super) fn new(name: String, file: Arc<dyn File>, header: Header, size: u32) -> Self {
        let (index, remade) = (OnceLock::new(), OnceLock::new());
        let (retired, shrunk) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { name, file, header, size, index, remade, retired, shrunk }
    }

    /// From now on the index is read from the file.
    pub(super) fn sealed(&self, index: Trailer) {
        let _ = self.index.set(index);
    }

    /// From now on the index is this one, as it is not in the file.
    pub(super) fn sealed_in_memory(&self, index: Vec<u8>) {
        let _ = self.remade.set(index);
    }

    /// Where the index is, if it is in the file.
    pub(super) fn read_trailer(&self) -> Result<Option<Trailer>, LogError> {
        let mut bytes = [0; TRAILER as usize];
        self.file.read_at(&mut bytes, u64::from(self.size.saturating_sub(TRAILER))).map_err(|e| store(&e))?;
        let trailer = Trailer::decode(&bytes, self.header.salt);
        Ok(trailer.filter(|index| {
            u64::from(index.offset) + u64::from(index.count) * u64::from(ENTRY) <= u64::from(self.size - TRAILER)
        }))
    }

    /// The last event of the index, if the index is in the file and can be read there.
    pub(super) fn last_indexed(&self) -> Result<Option<Indexed>, LogError> {
        let Some(Trailer { offset, count }) = self.read_trailer()?.filter(|index| index.count > 0) else {
            return Ok(None);
        };
        let mut bytes = [0; ENTRY_BYTES];
        let at = u64::from(offset) + u64::from(count - 1) * u64::from(ENTRY);
        self.file.read_at(&mut bytes, at).map_err(|e| store(&e))?;
        Ok(Indexed::decode(&bytes, self.header.salt))
    }

    /// The file is about to be used for something else.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// How many events the index has.
    pub(super) fn count(&self) -> u32 {
        match (self.remade.get(), self.index.get()) {
            (Some(index), _) => u32::try_from(index.len() / ENTRY_BYTES).unwrap_or(u32::MAX),
            (None, index) => index.map_or(0, |index| index.count),
        }
    }

    /// Up to `limit` events of the index, from the `from`th on. None when there are no more.
    pub(super) fn entries(&self, from: u32, limit: u32) -> Result<Vec<Indexed>, Unreadable> {
        let limit = limit.min(self.count().saturating_sub(from));
        if limit == 0 {
            return Ok(Vec::new());
        }
        if self.remade.get().is_none()
            && let Some(index) = self.index.get()
        {
            let mut bytes = vec![0; limit as usize * ENTRY_BYTES];
            self.read(&mut bytes, u64::from(index.offset) + u64::from(from) * u64::from(ENTRY))?;
            let entries: Option<Vec<_>> =
                bytes.chunks_exact(ENTRY_BYTES).map(|entry| Indexed::decode(entry, self.header.salt)).collect();
            if let Some(entries) = entries {
                return Ok(entries);
            }
            self.remake()?;
        }
        Ok(in_memory(self.remade.get().map_or(&[], Vec::as_slice), self.header.salt, from, limit))
    }

    /// Up to `limit` events of the index, in one go, from the first at or after `position` on.
    pub(super) fn entries_from(&self, position: Position, limit: u32) -> Result<Vec<Indexed>, Unreadable> {
        loop {
            let is_remade = self.remade.get().is_some();
            let from = lower_bound(self.count(), self.header.first, position, |at| {
                Ok(self.entries(at, 1)?.first().map_or(Position::MAX, |found| found.position))
            })?;
            let entries = self.entries(from, limit)?;
            // If the index was made again meanwhile, fewer events may be before this one: it has to be looked up
            // again, or some would be passed over. That happens once in a segment's life.
            if is_remade || self.remade.get().is_none() {
                return Ok(entries);
            }
        }
    }

    /// The event at `position`, if there is one.
    pub(super) fn find(&self, position: Position) -> Result<Option<Indexed>, Unreadable> {
        Ok(self.entries_from(position, 1)?.first().copied().filter(|found| found.position == position))
    }

    /// The whole frame of an event, and its record in it.
    pub(super) fn frame(&self, event: &Indexed) -> Result<Bytes, Unreadable> {
        if u64::from(event.offset) + u64::from(event.length) > u64::from(self.size) {
            return Err(Unreadable::Damaged);
        }
        let mut bytes = vec![0; event.length as usize];
        self.read(&mut bytes, u64::from(event.offset))?;
        match Frame::decode(&bytes, self.header.salt, self.header.generation) {
            Some(frame) if frame.kind == Kind::Event && frame.indexed(event.offset).position == event.position => {
                Ok(Bytes::from(bytes))
            }
            _ if self.retired.load(Ordering::Acquire) => Err(Unreadable::Retired),
            _ => Err(Unreadable::Damaged),
        }
    }

    /// The record of an event.
    pub(super) fn record(&self, event: &Indexed) -> Result<Bytes, Unreadable> {
        Ok(self.frame(event)?.slice(RECORD..))
    }

    /// Everything in the file.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; self.size as usize];
        self.file.read_at(&mut bytes, 0).map_err(|e| store(&e))?;
        Ok(bytes)
    }

    /// Makes the index again from the frames.
    pub(super) fn remake(&self) -> Result<(), Unreadable> {
        let bytes = self.bytes().map_err(Unreadable::Failed)?;
        if self.retired.load(Ordering::Acquire) {
            return Err(Unreadable::Retired);
        }
        tracing::warn!(segment = self.name, "the index of this segment is damaged: it was made again from the events");
        let Header { salt, generation, .. } = self.header;
        let mut index = Vec::new();
        for at in scan(&bytes, salt, generation, true).frames {
            if let Some(frame) = frame_at(&bytes, at, salt, generation).filter(|frame| frame.kind == Kind::Event) {
                frame.indexed(at).encode(salt, &mut index);
            }
        }
        let _ = self.remade.set(index);
        self.shrunk.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the index was made again since this was asked last.
    pub(super) fn has_shrunk(&self) -> bool {
        self.shrunk.load(Ordering::Relaxed) && self.shrunk.swap(false, Ordering::AcqRel)
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Unreadable> {
        self.file.read_at(bytes, offset).map_err(|e| Unreadable::Failed(store(&e)))
    }
}

/// Up to `limit` events of an index in memory, from the `from`th on.
pub(super) fn in_memory(index: &[u8], salt: u32, from: u32, limit: u32) -> Vec<Indexed> {
    let entries = index.chunks_exact(ENTRY_BYTES).skip(from as usize).take(limit as usize);
    entries.filter_map(|entry| Indexed::decode(entry, salt)).collect()
}

/// Where the first of `count` events in order is whose position is at least `position`. Nearly always positions
/// have no holes: then the first look finds it.
pub(super) fn lower_bound<E>(
    count: u32,
    first: Position,
    position: Position,
    mut at: impl FnMut(u32) -> Result<Position, E>,
) -> Result<u32, E> {
    let guess = u32::try_from(position.saturating_sub(first)).unwrap_or(u32::MAX);
    // The event at an index is never below it: holes only push it up.
    let (mut low, mut high) = (0, count.min(guess));
    if guess < count && at(guess)? == position {
        return Ok(guess);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if at(middle)? < position { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// An error of the disk as one of the log.
pub(super) fn store(error: &std::io::Error) -> LogError {
    LogError::Store(error.to_string())
}
