//! Stragglers: segments of which little is still waited for, as when one sink is stuck that takes few of the
//! events, are copied together, so that they do not each hold on to a whole file.
//!
//! Only neighbours are copied together, so segments go on being in order of position without overlapping, and
//! nothing but the list of segments is kept in memory. What is copied is never more than a quarter of what becomes
//! free. The old files are used again only after a checkpoint that lists the new one.

use std::sync::Arc;

use super::super::{LogError, Position};
use super::Core;
use super::checkpoint::Listed;
use super::format::{ENTRY_BYTES, Frames, HEADER, Header, Indexed, Kind, TRAILER, Trailer, Use, padded};
use super::pool::Spare;
use super::reader::{Segment, Unreadable, store};
use super::state::{Live, State};

/// Bytes that are collected before they are written.
const CHUNK: usize = 1024 * 1024;

/// Index entries that are looked at at once.
const BATCH: u32 = 512;

/// Segments to be copied together.
struct Run {
    segments: Vec<Arc<Segment>>,
    first: Position,
    end: Position,
}

/// A file that is being filled.
struct Copy {
    spare: Spare,
    header: Header,
    buffer: Vec<u8>,
    index: Vec<u8>,
    offset: u32,
}

impl Core {
    /// Copies one run of stragglers together, if there is one worth it. True if there was.
    pub(super) fn compact(&self) -> Result<bool, LogError> {
        let size = u64::from(self.pool.size());
        let Some(run) = choose(&self.state(), size) else { return Ok(false) };
        let spare = match self.pool.take(size) {
            // Without room for a copy they stay where they are.
            Err(LogError::Full) => return Ok(false),
            other => other?,
        };
        let generation = self.next_generation();
        let header = Header { purpose: Use::Leftovers, generation, salt: super::salt(), first: run.first };
        let mut copy = Copy { spare, header, buffer: Vec::new(), index: Vec::new(), offset: 0 };
        header.encode(&mut copy.buffer);
        for segment in &run.segments {
            self.copy(segment, &mut copy)?;
        }
        let (spare, segment) = copy.finish()?;
        if !self.replace(&run, Arc::new(segment)) {
            self.pool.give_back(spare);
        }
        Ok(true)
    }

    fn copy(&self, segment: &Segment, copy: &mut Copy) -> Result<(), LogError> {
        let mut from = 0;
        loop {
            let events = match segment.entries_from(from, BATCH) {
                Ok(events) => events,
                Err(Unreadable::Failed(e)) => return Err(e),
                // In use for something else: then all of it has been settled.
                Err(_) => return Ok(()),
            };
            self.count_if_shrunk(segment)?;
            let Some(last) = events.last() else { return Ok(()) };
            if last.position < from {
                return Err(LogError::Store("the index of a segment is out of order".to_owned()));
            }
            from = last.position + 1;
            for event in events {
                if !self.state().ledger.wanted(event.position, event.skip) {
                    continue;
                }
                match segment.frame(&event) {
                    Ok(frame) => copy.add(&event, &frame)?,
                    Err(Unreadable::Retired) => return Ok(()),
                    Err(Unreadable::Failed(e)) => return Err(e),
                    Err(Unreadable::Damaged) => self.lose(segment, &event.entry()),
                }
            }
        }
    }

    /// Puts the copy into the list. False if by now nobody waits for anything in it.
    fn replace(&self, run: &Run, copy: Arc<Segment>) -> bool {
        let Ok(events) = copy.entries(0, u32::MAX) else { return false };
        let mut state = self.state();
        let is_in_run = |live: &Live| run.segments.iter().any(|segment| Arc::ptr_eq(segment, &live.segment));
        let Some(at) = state.segments.iter().position(is_in_run) else { return false };
        let wanted = events.iter().filter(|event| state.ledger.wanted(event.position, event.skip));
        let (live, live_bytes) = wanted.fold((0, 0), |(n, bytes), event| (n + 1, bytes + event.entry().bytes));
        let generation = copy.header.generation;
        let listed = Listed { generation, first: run.first, end: run.end, live, live_bytes };
        let old: Vec<_> = state.segments.extract_if(.., |live| is_in_run(live)).map(|live| live.segment).collect();
        state.replaced.extend(old);
        state.segments.insert(at, Live { segment: copy, listed });
        true
    }
}

impl Copy {
    fn add(&mut self, event: &Indexed, frame: &[u8]) -> Result<(), LogError> {
        let offset = self.offset + u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        let end = u64::from(offset) + u64::from(padded(event.length)) + self.index.len() as u64;
        if end + ENTRY_BYTES as u64 + u64::from(HEADER + TRAILER) > u64::from(self.spare.size) {
            return Err(LogError::Store("leftovers do not fit into a segment".to_owned()));
        }
        let Header { salt, generation, .. } = self.header;
        let mut frames = Frames { out: &mut self.buffer, salt, generation, durable: 0 };
        frames.copy(frame);
        Indexed { offset, ..*event }.encode(salt, &mut self.index);
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.spare.file.write_at(&self.buffer, u64::from(self.offset)).map_err(|e| store(&e))?;
        self.offset += u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest, and makes all of it durable.
    fn finish(mut self) -> Result<(Spare, Segment), LogError> {
        let Header { salt, generation, .. } = self.header;
        Frames { out: &mut self.buffer, salt, generation, durable: 0 }.add(Kind::End, &[]);
        let offset = self.offset + u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        let count = u32::try_from(self.index.len() / ENTRY_BYTES).unwrap_or(u32::MAX);
        self.buffer.append(&mut self.index);
        self.flush()?;
        let Spare { name, file, size } = &self.spare;
        let trailer = Trailer { offset, count };
        file.write_at(&trailer.encode(salt), u64::from(size - TRAILER)).map_err(|e| store(&e))?;
        file.sync().map_err(|e| store(&e))?;
        let segment = Segment::new(name.clone(), file.clone(), self.header, *size);
        segment.sealed(trailer);
        Ok((self.spare, segment))
    }
}

/// The first run of neighbours that is worth it. The one that is written to and the one before are let alone: what
/// is waited for there is about to be settled. `size`: of the file that it is copied to.
fn choose(state: &State, size: u64) -> Option<Run> {
    let sealed = state.segments.len().saturating_sub(2);
    let mut run: &[Live] = &[];
    for (at, live) in state.segments[..sealed].iter().enumerate() {
        let longer = &state.segments[at - run.len()..=at];
        let has_little = live.listed.live_bytes <= size.min(u64::from(live.segment.size)) / 4;
        let fits = total(longer) <= size / 2 && has_little;
        if fits {
            run = longer;
            continue;
        }
        if is_worth_it(run, size) {
            break;
        }
        run = if has_little { &state.segments[at..=at] } else { &[] };
    }
    let (first, last) = (run.first()?, run.last()?);
    is_worth_it(run, size).then(|| Run {
        segments: run.iter().map(|live| live.segment.clone()).collect(),
        first: first.listed.first,
        end: last.listed.end,
    })
}

fn is_worth_it(run: &[Live], size: u64) -> bool {
    let with_events = run.iter().filter(|live| live.listed.live > 0);
    let freed = with_events.map(|live| u64::from(live.segment.size)).sum::<u64>().saturating_sub(size);
    freed > 0 && total(run) <= freed / 4
}

fn total(run: &[Live]) -> u64 {
    run.iter().map(|live| live.listed.live_bytes).sum()
}
