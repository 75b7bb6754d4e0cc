//! What happens when the log is opened: the newest checkpoint is found, and what happened after it is gone through
//! once more.
//!
//! Damage is said, counted, and never the end: what is good before and after it is kept. If no checkpoint can be
//! read, everything that is in the log is delivered again.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::ledger::Ledger;
use super::super::{LogError, Position};
use super::checkpoint::{self, Checkpoint, Listed};
use super::format::{ENTRY_BYTES, Header, Kind};
use super::found::Found;
use super::reader::{Segment, Unreadable};
use super::scan::{Scanned, frame_at, scan};
use super::sinks::Sinks;
use super::state::{Live, State};
use super::write::{Write, settled};

/// What was recovered.
pub(super) struct Recovered {
    pub(super) state: State,
    /// Where to go on in the last segment. If that is sealed, it is to be followed by another.
    pub(super) write: Option<Write>,
    pub(super) generation: u32,
    /// Files that are in use no more.
    pub(super) free: Vec<Arc<Segment>>,
}

/// The log as the last process has left it.
struct Replay {
    checkpoint: Option<Checkpoint>,
    state: Checkpoint,
    lost: u64,
    damaged: bool,
    indexes: HashMap<u32, Vec<u8>>,
}

/// Recovers the log for these sinks.
pub(super) fn recover(found: &Found, configured: &[String]) -> Result<Recovered, LogError> {
    // From the newest on, until one has a checkpoint.
    let mut scans = Vec::new();
    for (at, segment) in found.logs.iter().enumerate().rev() {
        let bytes = segment.bytes()?;
        let Header { salt, generation, .. } = segment.header;
        let scanned = scan(&bytes, salt, generation, at + 1 < found.logs.len());
        let has_checkpoint = checkpoints(&bytes, &scanned, salt).next().is_some();
        scans.push((segment, scanned));
        if has_checkpoint {
            break;
        }
    }
    scans.reverse();
    let first = scans.first().map_or(0, |(segment, _)| segment.header.first);
    let nothing = Checkpoint { ledger: Ledger::new(&[], first), sinks: Sinks::default(), segments: Vec::new() };
    let mut replay = Replay { checkpoint: None, state: nothing, lost: 0, damaged: false, indexes: HashMap::new() };
    for (segment, scanned) in &scans {
        replay.segment(segment, scanned)?;
    }
    let last = scans.pop();
    let is_rebuilt = replay.checkpoint.is_none() && replay.state.ledger.end() > first;
    replay.finish(found, configured, last, is_rebuilt.then_some(first))
}

/// The checkpoints among the frames of a segment.
fn checkpoints<'a>(bytes: &'a [u8], scanned: &'a Scanned, salt: u32) -> impl Iterator<Item = Checkpoint> + 'a {
    let frames = scanned.frames.iter().filter_map(move |&at| frame_at(bytes, at, salt, 0));
    frames.filter(|frame| frame.kind == Kind::Checkpoint).filter_map(|frame| checkpoint::decode(frame.body))
}

impl Replay {
    /// Goes through a segment.
    fn segment(&mut self, segment: &Segment, scanned: &Scanned) -> Result<(), LogError> {
        let bytes = segment.bytes()?;
        let Header { salt, generation, first, .. } = segment.header;
        let mut index = Vec::new();
        self.lose_until(first);
        self.list(generation, first);
        if scanned.damaged > 0 {
            tracing::warn!(
                segment = segment.name,
                places = scanned.damaged,
                "the log is damaged: what can be read before and after is kept"
            );
            self.damaged = true;
        }
        for &at in &scanned.frames {
            let Some(frame) = frame_at(&bytes, at, salt, 0) else { continue };
            match frame.kind {
                Kind::Event => {
                    let event = frame.indexed(at);
                    let entry = event.entry();
                    if event.position < self.state.ledger.end() {
                        // Of an earlier part of a segment whose checkpoint came later.
                        event.encode(salt, &mut index);
                        continue;
                    }
                    self.lose_until(event.position);
                    self.state.ledger.append(entry.bytes, entry.skip);
                    if let Some(listed) = self.state.segments.last_mut() {
                        listed.end = event.position + 1;
                        listed.live += 1;
                        listed.live_bytes += entry.bytes;
                    }
                    event.encode(salt, &mut index);
                }
                Kind::Settled => {
                    for (number, position, bytes) in settled(frame.body) {
                        self.settle(number, position, bytes);
                    }
                }
                Kind::Checkpoint => {
                    if let Some(checkpoint) = checkpoint::decode(frame.body) {
                        // What it has beyond what was read is damaged.
                        let ahead = checkpoint.ledger.end().saturating_sub(self.state.ledger.end());
                        if self.checkpoint.is_some() && ahead > 0 {
                            self.lost = self.lost.saturating_add(ahead);
                            self.damaged = true;
                        }
                        self.state = checkpoint.clone();
                        self.checkpoint = Some(checkpoint);
                        self.list(generation, first);
                    }
                }
                Kind::End => {}
            }
        }
        self.indexes.insert(generation, index);
        // The index knows of events at the end that are damaged. Their positions are not given again.
        if let Some(last) = segment.last_indexed()?.filter(|last| last.position >= self.state.ledger.end()) {
            self.lose_until(last.position + 1);
            if let Some(listed) = self.state.segments.last_mut() {
                listed.end = last.position + 1;
            }
        }
        Ok(())
    }

    /// What was before `position` and has not been read is damaged.
    fn lose_until(&mut self, position: Position) {
        let end = self.state.ledger.end();
        if position > end {
            self.lost = self.lost.saturating_add(position - end);
            self.damaged = true;
            self.state.ledger.skip_to(position);
        }
    }

    /// Makes sure that the segment is the last of the list.
    fn list(&mut self, generation: u32, first: u64) {
        let end = self.state.ledger.end();
        if self.state.segments.last().is_none_or(|listed| listed.generation != generation) {
            let first = first.min(end);
            self.state.segments.push(Listed { generation, first, end, live: 0, live_bytes: 0 });
        }
    }

    fn settle(&mut self, number: usize, position: u64, bytes: Option<u64>) {
        let Checkpoint { ledger, segments, .. } = &mut self.state;
        if ledger.replay(number, position, bytes)
            && let Some(bytes) = bytes
            && let Some(listed) = segments.iter_mut().find(|listed| position < listed.end)
        {
            listed.live = listed.live.saturating_sub(1);
            listed.live_bytes = listed.live_bytes.saturating_sub(bytes);
        }
    }

    fn finish(
        mut self,
        found: &Found,
        configured: &[String],
        last: Option<(&Arc<Segment>, Scanned)>,
        rebuilt_from: Option<u64>,
    ) -> Result<Recovered, LogError> {
        let mut files: HashMap<u32, &Arc<Segment>> =
            found.logs.iter().chain(&found.leftovers).map(|segment| (segment.header.generation, segment)).collect();
        let mut segments = Vec::new();
        for listed in self.state.segments.drain(..) {
            match files.remove(&listed.generation) {
                Some(segment) => segments.push(Live { segment: segment.clone(), listed }),
                None if listed.live == 0 => {}
                None => {
                    tracing::warn!(events = listed.live, "a segment of the log is missing: its events are lost");
                    self.lost = self.lost.saturating_add(listed.live);
                    self.damaged = true;
                }
            }
        }
        let mut free = Vec::new();
        for segment in files.into_values() {
            if let Some(index) = segment.read_trailer()? {
                segment.sealed(index);
            }
            free.push(segment.clone());
        }
        free.sort_by_key(|segment| segment.header.generation);
        let Checkpoint { ledger, sinks, .. } = self.state;
        let mut state = State { ledger, sinks, segments, index: Vec::new(), replaced: Vec::new(), lost: self.lost };
        let mut generation = found.generation;
        let mut write = None;
        if let Some((segment, scanned)) = last {
            generation = generation.max(scanned.generation);
            state.index = self.indexes.remove(&segment.header.generation).unwrap_or_default();
            if !scanned.ended {
                let count = u32::try_from(state.index.len() / ENTRY_BYTES).unwrap_or(u32::MAX);
                write = Some(Write::at(scanned.tail, count));
            }
        }
        let sealed = state.segments.len().saturating_sub(usize::from(write.is_some()));
        for live in &state.segments[..sealed] {
            match (live.segment.read_trailer()?, self.indexes.remove(&live.listed.generation)) {
                (Some(index), _) => live.segment.sealed(index),
                (None, Some(index)) => live.segment.sealed_in_memory(index),
                (None, None) => match live.segment.remake() {
                    Err(Unreadable::Failed(e)) => return Err(e),
                    _ => self.damaged = true,
                },
            }
        }
        let start = rebuilt_from.unwrap_or(state.ledger.end());
        let gone = state.sinks.square(configured, start, &mut state.ledger);
        if rebuilt_from.is_some() {
            tracing::warn!("no checkpoint of the log can be read: every event in it is delivered again to every sink");
        }
        if gone || self.damaged || rebuilt_from.is_some() {
            count_anew(&mut state)?;
        }
        Ok(Recovered { state, write, generation, free })
    }
}

/// Counts what is waited for, from the indexes of all segments.
pub(super) fn count_anew(state: &mut State) -> Result<(), LogError> {
    let State { ledger, segments, index, .. } = state;
    ledger.count_anew();
    let last = segments.len().saturating_sub(1);
    for (at, Live { segment, listed }) in segments.iter_mut().enumerate() {
        (listed.live, listed.live_bytes) = (0, 0);
        let events = if at == last && !index.is_empty() {
            super::reader::in_memory(index, segment.header.salt, 0, u32::MAX)
        } else {
            match segment.entries(0, u32::MAX) {
                Ok(events) => events,
                Err(Unreadable::Failed(e)) => return Err(e),
                Err(_) => Vec::new(),
            }
        };
        for event in events {
            let entry = event.entry();
            if ledger.count(entry.position, entry.bytes, entry.skip) {
                listed.live += 1;
                listed.live_bytes += entry.bytes;
            }
        }
    }
    Ok(())
}
