//! Reads the frames of a segment one after the other, and decides what a bad one is: torn off, or damaged. Pure.
//!
//! A bad frame may be the end of what was written, or be followed by good ones. If one of those says that the log
//! was on disk beyond the bad place when it was written, then what is bad there was good once: it is damage, and
//! the rest counts. If none does, nothing from the bad place on was ever acknowledged: it is what a power cut left,
//! whatever parts of it made it to the disk. In a segment that was sealed everything was on disk.

use super::format::{Frame, HEADER, Kind, padded};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Where the good frames are, in order.
    pub(super) frames: Vec<u32>,
    /// Where to go on writing.
    pub(super) tail: u32,
    /// The last frame is there: the segment was sealed.
    pub(super) ended: bool,
    /// Places that are damaged.
    pub(super) damaged: u64,
    /// The generation of the last good frame.
    pub(super) generation: u32,
}

/// Scans the whole segment in `bytes`. `sealed`: it was followed by another, so all of it was on disk.
pub(super) fn scan(bytes: &[u8], salt: u32, generation: u32, sealed: bool) -> Scanned {
    let mut found = Scanned { generation, tail: HEADER, ..Scanned::default() };
    // Bad places of which it is not known yet what they are, with the number and generation of the frames before.
    let mut unclear: Vec<(u32, usize, u32)> = Vec::new();
    let mut at = HEADER;
    while let Some(frame) = frame_at(bytes, at, salt, found.generation).or_else(|| {
        let bad = at;
        at = next_good(bytes, bad, salt, found.generation)?;
        unclear.push((bad, found.frames.len(), found.generation));
        frame_at(bytes, at, salt, found.generation)
    }) {
        let before = unclear.len();
        unclear.retain(|&(bad, ..)| bad >= frame.durable);
        found.damaged += (before - unclear.len()) as u64;
        found.frames.push(at);
        found.generation = frame.generation;
        at += padded(frame.length);
        if frame.kind == Kind::End {
            found.ended = true;
            break;
        }
    }
    found.tail = at;
    if sealed || found.ended {
        found.damaged += unclear.len() as u64 + u64::from(!found.ended);
    } else if let Some(&(bad, frames, generation)) = unclear.first() {
        found.frames.truncate(frames);
        found.tail = bad;
        found.generation = generation;
    }
    if !found.ended && !sealed {
        drop_torn_group(bytes, salt, &mut found);
    }
    found
}

/// A group is stored whole or not at all: of one whose last event is missing at the end, the others go too.
fn drop_torn_group(bytes: &[u8], salt: u32, found: &mut Scanned) {
    let mut left = None;
    while let Some(&last) = found.frames.last()
        && let Some(frame) = frame_at(bytes, last, salt, 0)
        && frame.kind == Kind::Event
        && frame.left > left.unwrap_or(0)
    {
        left = Some(frame.left);
        found.frames.pop();
        found.tail = last;
    }
}

/// The good frame at `at`, if there is one that is not older than `generation`.
pub(super) fn frame_at(bytes: &[u8], at: u32, salt: u32, generation: u32) -> Option<Frame<'_>> {
    Frame::decode(bytes.get(at as usize..)?, salt, generation)
}

fn next_good(bytes: &[u8], bad: u32, salt: u32, generation: u32) -> Option<u32> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    (bad.saturating_add(8)..length).step_by(8).find(|&at| frame_at(bytes, at, salt, generation).is_some())
}
