//! Reading: from any thread, beside the writer.
//!
//! What is looked at under the lock is small; the disk is read without it. A segment may be put to another use
//! meanwhile. Its bytes then fail their checks, and the event is looked for again where it is now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::{Entry, LogError, LogStats, Position, SinkId, Unsettled};
use super::Core;
use super::format::{ENTRY_BYTES, Indexed};
use super::reader::{Segment, Unreadable, in_memory, lower_bound};
use super::recover;
use super::state::State;

/// Index entries read at once.
const BATCH: u32 = 512;

/// A segment, and the event in it if it could be looked up.
type Place = (Arc<Segment>, Option<Indexed>);

/// Part of the index: from `start`, to `end`, of one segment. In between there is nothing else.
struct Part {
    events: Vec<Indexed>,
    start: Position,
    end: Position,
}

impl Core {
    pub(super) fn unsettled(&self, sink: SinkId, from: Position, limit: usize) -> Result<Unsettled, LogError> {
        let mut next = from;
        loop {
            let number = {
                let state = self.state();
                let end = state.ledger.end();
                let Some(number) = state.sinks.number(sink) else {
                    return Ok(Unsettled { entries: Vec::new(), next: end });
                };
                next = state.ledger.next_unsettled(number, next);
                if next >= end {
                    return Ok(Unsettled { entries: Vec::new(), next: end });
                }
                number
            };
            let Some(part) = self.part(next)? else { continue };
            let mut entries = Vec::new();
            let mut state = self.state();
            // Where nothing is, or nothing for this sink, it has nothing to settle.
            state.ledger.pass(number, next, part.start);
            next = next.max(part.start);
            for event in &part.events {
                if entries.len() == limit {
                    break;
                }
                state.ledger.pass(number, next, event.position);
                next = event.position + 1;
                if event.skip.contains(number) {
                    state.ledger.pass(number, event.position, next);
                } else if !state.ledger.is_settled(number, event.position) {
                    entries.push(event.entry());
                }
            }
            if entries.len() < limit {
                state.ledger.pass(number, next, part.end);
                next = next.max(part.end);
            }
            drop(state);
            if !entries.is_empty() {
                return Ok(Unsettled { entries, next });
            }
        }
    }

    pub(super) fn read(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        loop {
            let Some((segment, found)) = self.find(position)? else { return Ok(None) };
            let Some(event) = found else { continue };
            if !self.state().ledger.wanted(position, event.skip) {
                return Ok(None);
            }
            match segment.record(&event) {
                Ok(record) => return Ok(Some(record)),
                Err(Unreadable::Retired) => {}
                Err(Unreadable::Failed(e)) => return Err(e),
                Err(Unreadable::Damaged) => {
                    self.lose(&segment, &event.entry());
                    return Ok(None);
                }
            }
        }
    }

    pub(super) fn stats(&self) -> Result<LogStats, LogError> {
        let (mut stats, mut oldest) = {
            let state = self.state();
            (state.stats(), state.ledger.oldest().filter(|_| state.ledger.events() > 0))
        };
        while let Some(position) = oldest {
            let Some(part) = self.part(position)? else { continue };
            match part.events.first() {
                Some(event) => {
                    stats.oldest_accepted_at_us = Some(event.accepted_at_us);
                    break;
                }
                None => oldest = Some(part.end).filter(|&end| end > position && end < self.state().ledger.end()),
            }
        }
        Ok(stats)
    }

    pub(super) fn identities(&self, span_us: i64) -> Result<Vec<(i64, u128)>, LogError> {
        let leftovers = std::mem::take(&mut *self.leftovers());
        let mut segments: Vec<Arc<Segment>> =
            self.state().segments.iter().map(|live| live.segment.clone()).chain(leftovers).collect();
        segments.sort_by_key(|segment| (segment.header.first, segment.header.generation));
        segments.dedup_by_key(|segment| segment.header.generation);
        let mut all = Vec::new();
        let mut newest = None;
        for segment in segments.iter().rev() {
            let is_last = self.state().last().is_some_and(|last| Arc::ptr_eq(last, segment));
            let events = if is_last {
                let state = self.state();
                in_memory(&state.index, segment.header.salt, 0, u32::MAX)
            } else {
                match segment.entries(0, u32::MAX) {
                    Ok(events) => events,
                    Err(Unreadable::Failed(e)) => return Err(e),
                    Err(_) => Vec::new(),
                }
            };
            let Some(last) = events.last() else { continue };
            let newest = *newest.get_or_insert(last.accepted_at_us);
            if newest.saturating_sub(last.accepted_at_us) > span_us || all.len() > super::MAX_IDENTITIES {
                break;
            }
            all.extend(events.iter().map(|event| (event.position, event.accepted_at_us, event.identity)));
        }
        all.sort_unstable();
        all.dedup();
        Ok(all.into_iter().map(|(_, accepted_at_us, identity)| (accepted_at_us, identity)).collect())
    }

    /// The index from `position` on, as far as it comes in one go. Nothing if it has to be asked for again.
    fn part(&self, position: Position) -> Result<Option<Part>, LogError> {
        let (segment, start, end) = {
            let state = self.state();
            let at = state.at_or_after(position);
            let Some(live) = state.segments.get(at) else {
                let end = state.ledger.end();
                return Ok(Some(Part { events: Vec::new(), start: end, end }));
            };
            let start = position.max(live.listed.first);
            if at + 1 == state.segments.len() {
                let end = state.ledger.end();
                let events = in_memory(&state.index, live.segment.header.salt, in_index(&state, start), BATCH);
                return Ok(Some(whole(events, start, end)));
            }
            (live.segment.clone(), start, live.listed.end)
        };
        let found = segment.entries_from(start, BATCH);
        self.count_if_shrunk(&segment)?;
        match found {
            Ok(events) => Ok(Some(whole(events, start, end))),
            Err(Unreadable::Failed(e)) => Err(e),
            Err(Unreadable::Retired | Unreadable::Damaged) => Ok(None),
        }
    }

    /// The segment that has `position`, and the event if it could be looked up. Nothing if there is none.
    fn find(&self, position: Position) -> Result<Option<Place>, LogError> {
        let segment = {
            let state = self.state();
            if position >= state.ledger.end() {
                return Ok(None);
            }
            let at = state.at_or_after(position);
            let Some(live) = state.segments.get(at).filter(|live| live.listed.first <= position) else {
                return Ok(None);
            };
            if at + 1 == state.segments.len() {
                let salt = live.segment.header.salt;
                let found = in_memory(&state.index, salt, in_index(&state, position), 1).first().copied();
                let found = found.filter(|event| event.position == position);
                return Ok(found.map(|event| (live.segment.clone(), Some(event))));
            }
            live.segment.clone()
        };
        let found = segment.find(position);
        self.count_if_shrunk(&segment)?;
        match found {
            Ok(None) => Ok(None),
            Ok(event) => Ok(Some((segment, event))),
            Err(Unreadable::Failed(e)) => Err(e),
            Err(Unreadable::Retired | Unreadable::Damaged) => Ok(Some((segment, None))),
        }
    }

    /// If an index had to be made again, events may be missing: then everything is counted anew.
    pub(super) fn count_if_shrunk(&self, segment: &Segment) -> Result<(), LogError> {
        if segment.has_shrunk() {
            let mut state = self.state();
            let before = state.ledger.events();
            recover::count_anew(&mut state)?;
            state.lost += before.saturating_sub(state.ledger.events());
            self.bytes.store(state.ledger.bytes(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// An event is damaged: it is counted, and said.
    pub(super) fn lose(&self, segment: &Segment, entry: &Entry) {
        tracing::warn!(
            position = entry.position,
            segment = segment.name,
            "an event in the log is damaged and cannot be read: it is lost, and counts as settled"
        );
        let mut state = self.state();
        state.lose(entry);
        self.bytes.store(state.ledger.bytes(), Ordering::Relaxed);
    }
}

/// Part of an index, as it was read, that goes on to `end` if these are its last events. Whoever reads on goes by its
/// positions: of events that are out of order, which no log has written, those that go back are left out, or reading
/// would never end.
fn whole(mut events: Vec<Indexed>, start: Position, end: Position) -> Part {
    let full = events.len() == BATCH as usize;
    let mut next = start;
    events.retain(|event| {
        let ahead = event.position >= next;
        next = next.max(event.position.saturating_add(1));
        ahead
    });
    let end = events.last().filter(|_| full).map_or(end, |last| last.position.saturating_add(1));
    Part { events, start, end: end.max(start) }
}

/// Where in the index in memory the first event at or after `position` is.
fn in_index(state: &State, position: Position) -> u32 {
    let Some(last) = state.last() else { return 0 };
    let count = u32::try_from(state.index.len() / ENTRY_BYTES).unwrap_or(u32::MAX);
    let at = |at: u32| {
        let found = in_memory(&state.index, last.header.salt, at, 1);
        Ok::<_, std::convert::Infallible>(found.first().map_or(Position::MAX, |event| event.position))
    };
    match lower_bound(count, last.header.first, position, at) {
        Ok(at) => at,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::SinkSet;
    use super::*;

    #[test]
    fn a_part_of_an_index_never_goes_back_whatever_is_in_it() {
        let event = |position| Indexed {
            position,
            accepted_at_us: 0,
            identity: 0,
            key: None,
            skip: SinkSet::default(),
            offset: 0,
            length: 0,
        };
        let positions = |part: &Part| part.events.iter().map(|event| event.position).collect::<Vec<_>>();

        let part = whole([7, 5, 8, 8, 6, 9].map(event).to_vec(), 6, 20);
        assert_eq!((positions(&part), part.end), (vec![7, 8, 9], 20));
        let part = whole(vec![event(3); BATCH as usize], 6, 20);
        assert_eq!((positions(&part), part.end), (vec![], 20));
        let part = whole(vec![event(8); BATCH as usize], 6, 20);
        assert_eq!((positions(&part), part.end), (vec![8], 9));
    }
}
