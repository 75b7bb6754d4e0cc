//! Appending, settling, and going on in the next segment. One thread does this.
//!
//! A group is one write and one sync. A segment begins with a header and a checkpoint, twice in case one copy is
//! damaged, and both are on disk before anything is appended to it. With that checkpoint, what is settled in older
//! segments is known for good, so they may be used again from then on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::ledger::Settled;
use super::super::{Entry, LogError, NewRecord, Position, SinkId, SinkSet};
use super::Core;
use super::checkpoint::{Listed, get_number, put_number};
use super::format::{ENTRY, Frames, HEADER, Header, Indexed, Kind, PREFIX, TRAILER, Trailer, Use, event_bytes, padded};
use super::pool::Spare;
use super::reader::{Segment, store};
use super::state::Live;

/// Most events in one segment: bounds the index in memory.
const MAX_EVENTS: u32 = 128 * 1024;

/// What only the writing thread touches.
#[derive(Default)]
pub(super) struct Write {
    /// For the bytes of a group. Kept, so that a group allocates nothing.
    pub(super) buffer: Vec<u8>,
    index: Vec<u8>,
    events: Vec<Indexed>,
    /// Where the next frame goes.
    pub(super) tail: u32,
    /// Up to here everything is on disk.
    pub(super) durable: u32,
    pub(super) generation: u32,
    /// Events in the segment.
    pub(super) count: u32,
    /// A write has failed: what is on disk is unknown.
    pub(super) failed: bool,
}

impl Write {
    /// Going on at `tail` of a segment with so many events.
    pub(super) fn at(tail: u32, count: u32) -> Self {
        Self { tail, durable: tail, count, ..Self::default() }
    }

    fn frames(&mut self, salt: u32) -> Frames<'_> {
        self.buffer.clear();
        Frames { out: &mut self.buffer, salt, generation: self.generation, durable: self.durable }
    }

    /// Writes the buffer behind the last frame.
    fn put(&mut self, segment: &Segment) -> Result<(), LogError> {
        segment.file.write_at(&self.buffer, u64::from(self.tail)).map_err(|e| store(&e))?;
        self.tail += u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        Ok(())
    }

    /// Whether so many bytes of frames, with so many events, can be added and the segment still be sealed.
    fn fits(&self, bytes: u64, events: u64, size: u32) -> bool {
        let index = (u64::from(self.count) + events) * u64::from(ENTRY);
        u64::from(self.tail) + bytes + u64::from(PREFIX) + index + u64::from(TRAILER) <= u64::from(size)
    }
}

/// Room at the end of a segment that appends leave to settlements and a checkpoint, for when the disk is full.
fn reserve(size: u32) -> u64 {
    u64::from(size / 16).min(1024 * 1024)
}

impl Core {
    pub(super) fn append(&self, write: &mut Write, group: &[NewRecord]) -> Result<Position, LogError> {
        let bytes = group.iter().map(|new| event_bytes(new.record.len())).sum::<u64>();
        let events = group.len() as u64;
        let (mut segment, first) = self.here()?;
        let too_many = write.count > 0 && u64::from(write.count) + events > u64::from(MAX_EVENTS);
        if too_many || !write.fits(bytes + reserve(segment.size), events, segment.size) {
            // Who wants to know the identities has asked by now.
            self.leftovers().clear();
            self.roll(write, bytes, events)?;
            segment = self.here()?.0;
            if !write.fits(bytes, events, segment.size) {
                return Err(LogError::Store("a new segment has no room for the group".to_owned()));
            }
        }
        let salt = segment.header.salt;
        write.events.clear();
        let mut offset = write.tail;
        let mut left = group.len();
        let mut events = std::mem::take(&mut write.events);
        let mut frames = write.frames(salt);
        for (position, new) in (first..).zip(group) {
            left -= 1;
            let skip = if new.skip == SinkSet::default() { new.skip } else { self.state().sinks.numbers(new.skip) };
            let length = frames.event(position, new, skip, left);
            let NewRecord { accepted_at_us, key, identity, .. } = *new;
            events.push(Indexed { offset, length, position, accepted_at_us, key, skip, identity });
            offset += padded(length);
        }
        write.index.clear();
        for event in &events {
            event.encode(salt, &mut write.index);
        }
        segment.file.write_at(&write.buffer, u64::from(write.tail)).map_err(|e| store(&e))?;
        segment.file.sync().map_err(|e| store(&e))?;
        write.tail = offset;
        write.durable = offset;
        write.count += u32::try_from(events.len()).unwrap_or(u32::MAX);
        self.pool.written(segment.size, offset);
        let mut state = self.state();
        state.index.extend_from_slice(&write.index);
        for event in &events {
            state.append(event);
        }
        self.bytes.store(state.ledger.bytes(), Ordering::Relaxed);
        write.events = events;
        Ok(first)
    }

    pub(super) fn settle(&self, write: &mut Write, settlements: &[(SinkId, Entry)]) -> Result<(), LogError> {
        let mut body = Vec::with_capacity(settlements.len() * 6);
        let segment = {
            let mut state = self.state();
            let mut before = 0;
            for (sink, entry) in settlements {
                let Some(number) = state.sinks.number(*sink) else { continue };
                let settled = state.settle(number, entry);
                if settled != Settled::Before {
                    put_settled(&mut body, number, &mut before, entry, settled == Settled::Everywhere);
                }
            }
            self.bytes.store(state.ledger.bytes(), Ordering::Relaxed);
            state.last().cloned().ok_or_else(nowhere)?
        };
        if body.is_empty() {
            return Ok(());
        }
        write.frames(segment.header.salt).add(Kind::Settled, &body);
        if write.fits(write.buffer.len() as u64 + reserve(segment.size) / 2, 0, segment.size) {
            return write.put(&segment);
        }
        // The checkpoint of the next segment has them. On a full disk they wait for one in memory: forgetting them
        // is harmless.
        match self.roll(write, 0, 0) {
            Err(LogError::Full) => Ok(()),
            other => other,
        }
    }

    /// Goes on in another segment, with room for so many bytes of frames with so many events.
    pub(super) fn roll(&self, write: &mut Write, bytes: u64, events: u64) -> Result<(), LogError> {
        // Readers may make the ledger a little longer meanwhile.
        let checkpoint = self.state().checkpoint().len() as u64 * 5 / 4 + 256 + u64::from(PREFIX);
        let fixed = u64::from(HEADER + PREFIX + TRAILER);
        // The reserve is a sixteenth of the whole.
        let needed = (fixed + 2 * checkpoint + bytes + events * u64::from(ENTRY)) * 16 / 15 + 64;
        let spare = self.spare(write, needed)?;
        let last = self.state().last().cloned();
        if let Some(segment) = last {
            self.seal(write, &segment)?;
        }
        self.begin(write, spare)
    }

    /// Writes the index behind the last frame.
    fn seal(&self, write: &mut Write, segment: &Segment) -> Result<(), LogError> {
        let salt = segment.header.salt;
        write.frames(salt).add(Kind::End, &[]);
        let offset = write.tail + u32::try_from(write.buffer.len()).unwrap_or(u32::MAX);
        write.buffer.extend_from_slice(&self.state().index);
        let trailer = Trailer { offset, count: write.count };
        segment.file.write_at(&write.buffer, u64::from(write.tail)).map_err(|e| store(&e))?;
        segment.file.write_at(&trailer.encode(salt), u64::from(segment.size - TRAILER)).map_err(|e| store(&e))?;
        segment.file.sync().map_err(|e| store(&e))?;
        segment.sealed(trailer);
        Ok(())
    }

    /// Makes this file the segment that is written to.
    pub(super) fn begin(&self, write: &mut Write, spare: Spare) -> Result<(), LogError> {
        write.generation = self.next_generation();
        let salt = super::salt();
        let Spare { name, file, size } = spare;
        let (free, checkpoint) = {
            let mut state = self.state();
            let first = state.ledger.end();
            let header = Header { purpose: Use::Log, generation: write.generation, salt, first };
            let listed = Listed { generation: write.generation, first, end: first, live: 0, live_bytes: 0 };
            let segment = Arc::new(Segment::new(name, file.clone(), header, size));
            state.segments.push(Live { segment, listed });
            state.index = Vec::new();
            write.buffer.clear();
            header.encode(&mut write.buffer);
            (state.take_settled(), state.checkpoint())
        };
        write.durable = 0;
        let Write { buffer, generation, .. } = write;
        let mut frames = Frames { out: buffer, salt, generation: *generation, durable: 0 };
        frames.add(Kind::Checkpoint, &checkpoint);
        frames.add(Kind::Checkpoint, &checkpoint);
        file.write_at(&write.buffer, 0).map_err(|e| store(&e))?;
        file.sync().map_err(|e| store(&e))?;
        write.tail = u32::try_from(write.buffer.len()).unwrap_or(u32::MAX);
        write.durable = write.tail;
        write.count = 0;
        self.pool.written(size, write.tail);
        self.pool.give(free).map_err(|e| store(&e))?;
        self.rolled();
        Ok(())
    }

    /// A file of so many bytes to go on in. On a full disk one is made free, if there is one that is settled.
    fn spare(&self, write: &mut Write, needed: u64) -> Result<Spare, LogError> {
        match self.pool.take(needed) {
            Err(LogError::Full) => {}
            other => return other,
        }
        if !self.state().has_settled() {
            return Err(LogError::Full);
        }
        if needed <= u64::from(self.pool.sizes.largest) && self.add_checkpoint(write)? {
            return self.pool.take(needed);
        }
        // There is no room for a checkpoint either. What the settlements say is on disk then says the same.
        self.sync(write)?;
        let segment = self.state().take_one_settled(needed).ok_or(LogError::Full)?;
        segment.retire();
        Ok(Spare { name: segment.name.clone(), file: segment.file.clone(), size: segment.size })
    }

    /// Adds a frame that says nothing, so that this generation has been used for good.
    pub(super) fn add_mark(&self, write: &mut Write) -> Result<(), LogError> {
        let segment = self.here()?.0;
        write.frames(segment.header.salt).add(Kind::Settled, &[]);
        if !write.fits(write.buffer.len() as u64, 0, segment.size) {
            return Err(LogError::Full);
        }
        write.put(&segment)?;
        self.sync(write)
    }

    /// Adds a checkpoint to the segment, and makes it durable. False if there is no room for it.
    pub(super) fn add_checkpoint(&self, write: &mut Write) -> Result<bool, LogError> {
        let (free, checkpoint, segment) = {
            let mut state = self.state();
            let segment = state.last().cloned().ok_or_else(nowhere)?;
            let length = u64::from(PREFIX) + state.checkpoint().len() as u64 + 8;
            if !write.fits(length, 0, segment.size) {
                return Ok(false);
            }
            (state.take_settled(), state.checkpoint(), segment)
        };
        write.frames(segment.header.salt).add(Kind::Checkpoint, &checkpoint);
        write.put(&segment)?;
        self.sync(write)?;
        self.pool.give(free).map_err(|e| store(&e))?;
        Ok(true)
    }

    pub(super) fn sync(&self, write: &mut Write) -> Result<(), LogError> {
        self.here()?.0.file.sync().map_err(|e| store(&e))?;
        write.durable = write.tail;
        Ok(())
    }

    /// The segment that is written to, and the end of the log.
    fn here(&self) -> Result<(Arc<Segment>, Position), LogError> {
        let state = self.state();
        Ok((state.last().cloned().ok_or_else(nowhere)?, state.ledger.end()))
    }
}

fn nowhere() -> LogError {
    LogError::Store("there is no segment to write to".to_owned())
}

/// One settlement: the number of the sink, twice, plus whether it was the last; how far the position is from the
/// one before, in zigzag; the bytes that are free now, if it was the last.
fn put_settled(body: &mut Vec<u8>, number: usize, before: &mut Position, entry: &Entry, last: bool) {
    put_number(body, (number as u64) << 1 | u64::from(last));
    let step = entry.position.wrapping_sub(*before).cast_signed();
    put_number(body, (step << 1 ^ step >> 63).cast_unsigned());
    if last {
        put_number(body, entry.bytes);
    }
    *before = entry.position;
}

/// Reads what `put_settled` has written: number of the sink, position, and the bytes if it was the last.
pub(super) fn settled(mut body: &[u8]) -> Vec<(usize, Position, Option<u64>)> {
    let mut all = Vec::new();
    let mut position: Position = 0;
    while let Ok(head) = get_number(&mut body)
        && let Ok(step) = get_number(&mut body)
    {
        position = position.wrapping_add(step >> 1 ^ (step & 1).wrapping_neg());
        let bytes = if head & 1 == 1 { get_number(&mut body).ok() } else { None };
        all.push((usize::try_from(head >> 1).unwrap_or(usize::MAX), position, bytes));
    }
    all
}
