//! The bytes of a segment. Pure.
//!
//! ```text
//! header 512 | frame | frame | ... | end frame | index entry 64 | ... | unused | trailer 32
//!
//! frame       crc u32, length u32, generation u32, durable u32, kind u8, flags u8, 0 u16, left u32, body
//! event body  position u64, accepted_at_us i64, key u64, identity u128, skip u64, record
//! entry       crc u32, offset u32, length u32, flags u32, position u64, accepted_at_us i64, key u64, skip u64,
//!             identity u128
//! ```
//!
//! All little endian; a frame begins at a multiple of 8. Every checksum begins with the salt of the segment, a
//! random number in its header. So what an earlier use of the file has left is never taken for a frame, nor is
//! anything that a producer puts into an event.
//!
//! `generation` grows with each segment and each start of the process. Within a segment it never falls: what was
//! torn off by a crash is not read again once the next process has written over its beginning. `durable` says up to
//! where the segment was known to be on disk when the frame was written: damage below that is damage, above it is
//! what a power cut leaves. `left` counts how many more events the group has.

use crc32fast::Hasher;

use super::super::{Entry, NewRecord, OVERHEAD_BYTES, Position, SinkSet};

/// Bytes before the first frame: one sector, so that a header is whole or not there.
pub(super) const HEADER: u32 = 512;
/// Bytes of a frame before its body.
pub(super) const PREFIX: u32 = 24;
/// Bytes of an event's body before its record.
const EVENT_HEAD: u32 = 48;
/// Bytes of an index entry.
pub(super) const ENTRY: u32 = 64;
/// [`ENTRY`] for sizes in memory.
pub(super) const ENTRY_BYTES: usize = 64;
/// Bytes at the very end of a sealed segment.
pub(super) const TRAILER: u32 = 32;

/// No position, and no sum, is larger: adding to it never overflows.
pub(super) const LIMIT: u64 = 1 << 62;

pub(super) const MAGIC: [u8; 8] = *b"SGNLBXLG";
pub(super) const VERSION: u32 = 1;
const HAS_KEY: u8 = 1;

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Events as they were appended, settlements, checkpoints.
    Log,
    /// What was left of several segments, copied together. No settlements, no checkpoints.
    Leftovers,
}

/// The first sector of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) purpose: Use,
    pub(super) generation: u32,
    pub(super) salt: u32,
    /// The position that its first event has, or may have.
    pub(super) first: Position,
}

/// A segment of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OtherVersion;

impl Header {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(u32::from(self.purpose == Use::Leftovers).to_le_bytes());
        out.extend(self.generation.to_le_bytes());
        out.extend(self.salt.to_le_bytes());
        out.extend(self.first.to_le_bytes());
        let crc = checksum(0, &out[start..]);
        out.extend(crc.to_le_bytes());
        out.resize(start + HEADER as usize, 0);
    }

    /// Nothing if there is none: the segment is not in use.
    pub(super) fn decode(block: &[u8]) -> Result<Option<Self>, OtherVersion> {
        if block.get(..8) != Some(&MAGIC) || u32_at(block, 32) != checksum(0, block.get(..32).unwrap_or_default()) {
            return Ok(None);
        }
        if u32_at(block, 8) != VERSION {
            return Err(OtherVersion);
        }
        if u64_at(block, 24) > LIMIT {
            return Ok(None);
        }
        Ok(Some(Self {
            purpose: if u32_at(block, 12) == 0 { Use::Log } else { Use::Leftovers },
            generation: u32_at(block, 16),
            salt: u32_at(block, 20),
            first: u64_at(block, 24),
        }))
    }
}

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Settled,
    Checkpoint,
    /// The last frame: the index follows.
    End,
}

/// Where frames are written to: they are put behind one another, for one write.
pub(super) struct Frames<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) salt: u32,
    pub(super) generation: u32,
    pub(super) durable: u32,
}

impl Frames<'_> {
    /// Adds a frame with this body. Returns its length, without padding.
    pub(super) fn add(&mut self, kind: Kind, body: &[u8]) -> u32 {
        let start = self.begin(kind, 0, 0);
        self.out.extend(body);
        self.finish(start)
    }

    /// Adds an event, of whose group `left` more follow. Returns its length, without padding.
    pub(super) fn event(&mut self, position: Position, new: &NewRecord, skip: SinkSet, left: usize) -> u32 {
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let start = self.begin(Kind::Event, if new.key.is_some() { HAS_KEY } else { 0 }, left);
        self.out.extend(position.to_le_bytes());
        self.out.extend(new.accepted_at_us.to_le_bytes());
        self.out.extend(new.key.unwrap_or_default().to_le_bytes());
        self.out.extend(new.identity.to_le_bytes());
        self.out.extend(skip.0.to_le_bytes());
        self.out.extend_from_slice(&new.record);
        self.finish(start)
    }

    /// Adds a whole frame of another segment.
    pub(super) fn copy(&mut self, frame: &[u8]) {
        let start = self.out.len();
        self.out.extend_from_slice(frame);
        self.out[start + 8..start + 12].copy_from_slice(&self.generation.to_le_bytes());
        self.out[start + 12..start + 16].copy_from_slice(&self.durable.to_le_bytes());
        self.finish(start);
    }

    fn begin(&mut self, kind: Kind, flags: u8, left: u32) -> usize {
        let start = self.out.len();
        let kind = match kind {
            Kind::Event => 1,
            Kind::Settled => 2,
            Kind::Checkpoint => 3,
            Kind::End => 4,
        };
        self.out.extend([0; 8]);
        self.out.extend(self.generation.to_le_bytes());
        self.out.extend(self.durable.to_le_bytes());
        self.out.extend([kind, flags, 0, 0]);
        self.out.extend(left.to_le_bytes());
        start
    }

    fn finish(&mut self, start: usize) -> u32 {
        let length = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        let frame = &mut self.out[start..];
        frame[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(self.salt, &frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        self.out.resize(start + padded(length) as usize, 0);
        length
    }
}

/// Bytes from one frame to the next.
pub(super) fn padded(length: u32) -> u32 {
    length.saturating_add(7) & !7
}

/// Bytes that an event with such a record takes among the frames.
pub(super) fn event_bytes(record: usize) -> u64 {
    (record as u64 + u64::from(PREFIX + EVENT_HEAD) + 7) & !7
}

/// A frame that was found whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) generation: u32,
    pub(super) durable: u32,
    pub(super) kind: Kind,
    pub(super) left: u32,
    pub(super) length: u32,
    flags: u8,
    pub(super) body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of `bytes`, if it is whole and not older than `generation`.
    pub(super) fn decode(bytes: &'a [u8], salt: u32, generation: u32) -> Option<Self> {
        let length = u32_at(bytes, 4);
        let found = u32_at(bytes, 8);
        if length < PREFIX || found < generation {
            return None;
        }
        let frame = bytes.get(..length as usize)?;
        // Before the checksum, so that looking for a frame among other bytes is quick.
        if frame[18..20] != [0, 0] {
            return None;
        }
        let kind = match frame[16] {
            1 if length >= PREFIX + EVENT_HEAD => Kind::Event,
            2 => Kind::Settled,
            3 => Kind::Checkpoint,
            4 => Kind::End,
            _ => return None,
        };
        if u32_at(frame, 0) != checksum(salt, &frame[4..]) {
            return None;
        }
        let body = &frame[PREFIX as usize..];
        if kind == Kind::Event && u64_at(body, 0) > LIMIT {
            return None;
        }
        let (durable, left, flags) = (u32_at(frame, 12), u32_at(frame, 20), frame[17]);
        Some(Self { generation: found, durable, kind, left, length, flags, body })
    }

    /// Of an event: what the index says of it when it is at `offset`.
    pub(super) fn indexed(&self, offset: u32) -> Indexed {
        Indexed {
            offset,
            length: self.length,
            position: u64_at(self.body, 0),
            accepted_at_us: u64_at(self.body, 8).cast_signed(),
            key: (self.flags & HAS_KEY != 0).then(|| u64_at(self.body, 16)),
            identity: u128_at(self.body, 24),
            skip: SinkSet(u64_at(self.body, 40)),
        }
    }
}

/// Where the record of an event begins in its frame.
pub(super) const RECORD: usize = (PREFIX + EVENT_HEAD) as usize;

/// What the index has of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) position: Position,
    pub(super) accepted_at_us: i64,
    pub(super) key: Option<u64>,
    pub(super) skip: SinkSet,
    pub(super) identity: u128,
}

impl Indexed {
    pub(super) fn encode(&self, salt: u32, out: &mut Vec<u8>) {
        let mut entry = [0; ENTRY_BYTES];
        entry[4..8].copy_from_slice(&self.offset.to_le_bytes());
        entry[8..12].copy_from_slice(&self.length.to_le_bytes());
        entry[12..16].copy_from_slice(&u32::from(self.key.is_some()).to_le_bytes());
        entry[16..24].copy_from_slice(&self.position.to_le_bytes());
        entry[24..32].copy_from_slice(&self.accepted_at_us.to_le_bytes());
        entry[32..40].copy_from_slice(&self.key.unwrap_or_default().to_le_bytes());
        entry[40..48].copy_from_slice(&self.skip.0.to_le_bytes());
        entry[48..].copy_from_slice(&self.identity.to_le_bytes());
        let crc = checksum(salt, &entry[4..]);
        entry[..4].copy_from_slice(&crc.to_le_bytes());
        out.extend(entry);
    }

    pub(super) fn decode(entry: &[u8], salt: u32) -> Option<Self> {
        if entry.len() != ENTRY_BYTES || u32_at(entry, 0) != checksum(salt, &entry[4..]) || u64_at(entry, 16) > LIMIT {
            return None;
        }
        Some(Self {
            offset: u32_at(entry, 4),
            length: u32_at(entry, 8),
            position: u64_at(entry, 16),
            accepted_at_us: u64_at(entry, 24).cast_signed(),
            key: (u32_at(entry, 12) != 0).then(|| u64_at(entry, 32)),
            skip: SinkSet(u64_at(entry, 40)),
            identity: u128_at(entry, 48),
        })
    }

    /// What the outside knows of it.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            position: self.position,
            accepted_at_us: self.accepted_at_us,
            key: self.key,
            bytes: u64::from(self.length.saturating_sub(PREFIX + EVENT_HEAD)) + OVERHEAD_BYTES,
            skip: self.skip,
        }
    }
}

/// Where the index of a sealed segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) offset: u32,
    pub(super) count: u32,
}

impl Trailer {
    pub(super) fn encode(self, salt: u32) -> [u8; TRAILER as usize] {
        let mut out = [0; TRAILER as usize];
        out[4..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.count.to_le_bytes());
        let crc = checksum(salt, &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        let valid = bytes.len() == TRAILER as usize && u32_at(bytes, 0) == checksum(salt, &bytes[4..]);
        valid.then(|| Self { offset: u32_at(bytes, 4), count: u32_at(bytes, 8) })
    }
}

pub(super) fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    bytes.get(at..at + 16).and_then(|part| part.try_into().ok()).map_or(0, u128::from_le_bytes)
}
