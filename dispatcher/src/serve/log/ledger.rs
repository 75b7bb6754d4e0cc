//! Who has settled what: a cursor per sink, and the ranges settled above it. Pure; every log keeps one in memory.
//!
//! The number of ranges is bounded by what is unsettled below the furthest settlement, which is what sinks hold in
//! their windows: a range ends only where an unsettled event stands.

use std::collections::BTreeMap;

use super::{Position, SinkId, SinkSet};

/// What a settlement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Nothing: it was settled there before.
    Before,
    /// This sink is done with it, others are not.
    Here,
    /// It was the last: the event may be trimmed.
    Everywhere,
}

/// How far one sink is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything below is settled.
    pub(super) cursor: Position,
    /// Start and end (exclusive) of what is settled above the cursor. Never touching each other or the cursor.
    pub(super) above: BTreeMap<Position, Position>,
    /// Events that it has still to settle.
    pub(super) unsettled: u64,
}

impl Progress {
    /// The progress of a sink that nobody has: everything is settled there, now and later.
    pub(super) fn nobody() -> Self {
        Self::at(Position::MAX)
    }

    /// The progress of a sink that has settled everything below.
    pub(super) fn at(cursor: Position) -> Self {
        Self { cursor, ..Self::default() }
    }

    fn has(&self, position: Position) -> bool {
        position < self.cursor || self.above.range(..=position).next_back().is_some_and(|(_, &end)| position < end)
    }

    fn next_unsettled(&self, from: Position) -> Position {
        let from = from.max(self.cursor);
        match self.above.range(..=from).next_back() {
            Some((_, &end)) if from < end => end,
            _ => from,
        }
    }

    /// Passes an event that is not for this sink, if that takes no memory. If it does, the reading that comes by
    /// later passes it: see [`Ledger::pass`].
    fn pass_cheaply(&mut self, position: Position) {
        if self.cursor == position {
            self.cursor += 1;
        } else if let Some(mut last) = self.above.last_entry()
            && *last.get() == position
        {
            *last.get_mut() += 1;
        }
    }

    fn mark(&mut self, start: Position, end: Position) {
        let mut start = start.max(self.cursor);
        let mut end = end;
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.above.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
            self.above.remove(&before);
        }
        while let Some((&after, &after_end)) = self.above.range(start..=end).next() {
            end = end.max(after_end);
            self.above.remove(&after);
        }
        if start == self.cursor {
            self.cursor = end;
        } else {
            self.above.insert(start, end);
        }
    }
}

/// The state of all sinks, and of the backlog as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    sinks: Vec<Progress>,
    end: Position,
    events: u64,
    bytes: u64,
}

impl Ledger {
    /// A ledger whose sinks have settled everything below these cursors.
    pub(super) fn new(cursors: &[Position], end: Position) -> Self {
        let sinks = cursors.iter().map(|&cursor| Progress { cursor, ..Progress::default() }).collect();
        Self { sinks, end, events: 0, bytes: 0 }
    }

    /// Takes in an event found in the log at start. To be called in order of position, from the lowest cursor up,
    /// with the sinks that have a marker for it. Tells whether any sink still wants it.
    pub(super) fn recover(&mut self, position: Position, bytes: u64, marked: &[SinkId]) -> bool {
        self.skip_to(position);
        let mut wanted = false;
        for (sink, progress) in self.sinks.iter_mut().enumerate() {
            if marked.contains(&sink) {
                progress.mark(position, position + 1);
            } else if position >= progress.cursor {
                progress.unsettled += 1;
                wanted = true;
            }
        }
        if wanted {
            self.events += 1;
            self.bytes += bytes;
        } else {
            for progress in &mut self.sinks {
                progress.mark(position, position + 1);
            }
        }
        self.end = self.end.max(position + 1);
        wanted
    }

    /// What is not in the log has been trimmed, so everyone had settled it.
    pub(super) fn skip_to(&mut self, position: Position) {
        let end = self.end;
        if end < position {
            for progress in &mut self.sinks {
                progress.mark(end, position);
            }
            self.end = position;
        }
    }

    /// An event was appended at [`Ledger::end`]. It is not for the sinks in `skip`.
    pub(super) fn append(&mut self, bytes: u64, skip: SinkSet) {
        let position = self.end;
        self.end += 1;
        self.events += 1;
        self.bytes += bytes;
        for (sink, progress) in self.sinks.iter_mut().enumerate() {
            if skip.contains(sink) {
                progress.pass_cheaply(position);
            } else {
                // A sink that nobody has gets nothing: its cursor is beyond every end.
                progress.unsettled += u64::from(progress.cursor <= position);
            }
        }
    }

    /// `sink` is done with the event at `position`, which is not for those in `skip`.
    pub(super) fn settle(&mut self, sink: SinkId, position: Position, bytes: u64, skip: SinkSet) -> Settled {
        let end = self.end;
        let Some(progress) = self
            .sinks
            .get_mut(sink)
            .filter(|progress| position < end && !skip.contains(sink) && !progress.has(position))
        else {
            return Settled::Before;
        };
        progress.mark(position, position + 1);
        progress.unsettled = progress.unsettled.saturating_sub(1);
        if self.wanted(position, skip) {
            Settled::Here
        } else {
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
            Settled::Everywhere
        }
    }

    /// Whether any sink has still to settle the event at `position`, which is not for those in `skip`.
    pub(super) fn wanted(&self, position: Position, skip: SinkSet) -> bool {
        self.sinks.iter().enumerate().any(|(sink, progress)| !skip.contains(sink) && !progress.has(position))
    }

    pub(super) fn is_settled(&self, sink: SinkId, position: Position) -> bool {
        self.sinks.get(sink).is_none_or(|progress| progress.has(position))
    }

    /// The first position at or after `from` that `sink` has not settled. May be the end.
    pub(super) fn next_unsettled(&self, sink: SinkId, from: Position) -> Position {
        self.sinks.get(sink).map_or(self.end, |progress| progress.next_unsettled(from)).min(self.end)
    }

    /// Everything below is settled at `sink`.
    pub(super) fn cursor(&self, sink: SinkId) -> Position {
        self.sinks.get(sink).map_or(self.end, |progress| progress.cursor)
    }

    /// The oldest event of the backlog, unless it is empty.
    pub(super) fn oldest(&self) -> Option<Position> {
        self.sinks.iter().map(|progress| progress.cursor).min().filter(|&cursor| cursor < self.end)
    }

    pub(super) fn end(&self) -> Position {
        self.end
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn unsettled(&self) -> Vec<u64> {
        self.sinks.iter().map(|progress| progress.unsettled).collect()
    }

    /// A settlement that was written earlier happens once more. `freed`: it was the last, and made so many bytes free.
    /// False if it is known.
    pub(super) fn replay(&mut self, sink: SinkId, position: Position, freed: Option<u64>) -> bool {
        let end = self.end;
        let Some(progress) = self.sinks.get_mut(sink).filter(|progress| position < end && !progress.has(position))
        else {
            return false;
        };
        progress.mark(position, position + 1);
        progress.unsettled = progress.unsettled.saturating_sub(1);
        if let Some(bytes) = freed {
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        true
    }

    /// There is nothing for `sink` from `from` until `to`.
    pub(super) fn pass(&mut self, sink: SinkId, from: Position, to: Position) {
        if let Some(progress) = self.sinks.get_mut(sink) {
            progress.mark(from, to);
        }
    }

    /// How far each sink is, for what keeps it.
    pub(super) fn sinks(&self) -> &[Progress] {
        &self.sinks
    }

    /// The ledger that was kept.
    pub(super) fn restored(sinks: Vec<Progress>, end: Position, events: u64, bytes: u64) -> Self {
        Self { sinks, end, events, bytes }
    }

    /// Puts a sink in place of another, or in a new place. What it counts has to be counted anew.
    pub(super) fn put(&mut self, sink: SinkId, progress: Progress) {
        if self.sinks.len() <= sink {
            self.sinks.resize_with(sink + 1, Progress::nobody);
        }
        if let Some(place) = self.sinks.get_mut(sink) {
            *place = progress;
        }
    }

    /// Begins to count anew: [`Ledger::count`] is to be called for every event of the log.
    pub(super) fn count_anew(&mut self) {
        self.events = 0;
        self.bytes = 0;
        for progress in &mut self.sinks {
            progress.unsettled = 0;
        }
    }

    /// Counts an event. Tells whether any sink wants it.
    pub(super) fn count(&mut self, position: Position, bytes: u64, skip: SinkSet) -> bool {
        let mut wanted = false;
        for (sink, progress) in self.sinks.iter_mut().enumerate() {
            if !skip.contains(sink) && !progress.has(position) {
                progress.unsettled += 1;
                wanted = true;
            }
        }
        self.events += u64::from(wanted);
        self.bytes += if wanted { bytes } else { 0 };
        wanted
    }

    #[cfg(test)]
    fn ranges(&self, sink: SinkId) -> usize {
        self.sinks[sink].above.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Settled};
    use crate::serve::log::SinkSet;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_trimmed_when_the_last_sink_settles_it() {
        let mut ledger = Ledger::new(&[0, 0], 0);
        ledger.append(10, SinkSet::default());
        ledger.append(20, SinkSet::default());
        assert_eq!(ledger.settle(0, 1, 20, SinkSet::default()), Settled::Here);
        assert_eq!(ledger.settle(0, 1, 20, SinkSet::default()), Settled::Before);
        assert_eq!(ledger.settle(1, 1, 20, SinkSet::default()), Settled::Everywhere);
        assert_eq!((ledger.events(), ledger.bytes(), ledger.oldest()), (1, 10, Some(0)));
        assert_eq!(ledger.cursor(0), 0);
        ledger.settle(0, 0, 10, SinkSet::default());
        ledger.settle(1, 0, 10, SinkSet::default());
        assert_eq!((ledger.events(), ledger.bytes(), ledger.oldest(), ledger.cursor(0)), (0, 0, None, 2));
    }

    #[test]
    fn a_hole_in_the_log_is_settled_everywhere() {
        let mut ledger = Ledger::new(&[2, 4], 2);
        assert!(ledger.recover(3, 5, &[]));
        assert!(!ledger.recover(6, 5, &[0, 1]));
        assert!(ledger.recover(7, 5, &[1]));
        assert_eq!(ledger.unsettled(), [2, 0]);
        assert_eq!((ledger.cursor(0), ledger.cursor(1), ledger.end()), (3, 8, 8));
        assert_eq!(ledger.next_unsettled(0, 4), 7);
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_settling_it_agrees_with_a_plain_set(
            settles in proptest::collection::vec((0..2_usize, 0..40_u64), 0..120)
        ) {
            let mut ledger = Ledger::new(&[0, 0], 0);
            for _ in 0..40 {
                ledger.append(1, SinkSet::default());
            }
            let mut plain = [[false; 40]; 2];
            for (sink, position) in settles {
                let at = usize::try_from(position).unwrap();
                let expected = match (plain[sink][at], plain[1 - sink][at]) {
                    (true, _) => Settled::Before,
                    (false, false) => Settled::Here,
                    (false, true) => Settled::Everywhere,
                };
                prop_assert_eq!(ledger.settle(sink, position, 1, SinkSet::default()), expected);
                plain[sink][at] = true;
            }
            for (sink, settled) in plain.iter().enumerate() {
                for from in 0..40 {
                    let next = (from..40).find(|&p| !settled[p]).unwrap_or(40);
                    prop_assert_eq!(ledger.next_unsettled(sink, from as u64), next as u64);
                    prop_assert_eq!(ledger.is_settled(sink, from as u64), settled[from]);
                }
                prop_assert_eq!(ledger.unsettled()[sink], settled.iter().filter(|done| !**done).count() as u64);
                prop_assert!(ledger.ranges(sink) <= 20);
            }
            let left = (0..40).filter(|&p| !(plain[0][p] && plain[1][p])).count() as u64;
            prop_assert_eq!((ledger.events(), ledger.bytes()), (left, left));
        }
    }
}
