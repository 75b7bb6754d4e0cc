//! What the log keeps in memory: the ledger, the sinks, the list of segments, and the index of the one that is
//! written to. No input or output.

use std::sync::Arc;

use super::super::ledger::{Ledger, Settled};
use super::super::{Entry, LogStats, Position};
use super::checkpoint::{self, Listed};
use super::format::Indexed;
use super::reader::Segment;
use super::sinks::Sinks;

/// A segment of the list.
pub(super) struct Live {
    pub(super) segment: Arc<Segment>,
    pub(super) listed: Listed,
}

/// The log at this moment.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) sinks: Sinks,
    /// In order of position, never overlapping. The last is the one that is written to.
    pub(super) segments: Vec<Live>,
    /// The index of the last segment.
    pub(super) index: Vec<u8>,
    /// Segments whose events are elsewhere by now. They may be used again after the next checkpoint.
    pub(super) replaced: Vec<Arc<Segment>>,
    /// Events lost to damage.
    pub(super) lost: u64,
}

impl State {
    /// The segment that is written to.
    pub(super) fn last(&self) -> Option<&Arc<Segment>> {
        self.segments.last().map(|live| &live.segment)
    }

    /// Where in the list the first segment is that has events at or after `position`.
    pub(super) fn at_or_after(&self, position: Position) -> usize {
        // The end of the last one moves: it is the ledger's.
        let sealed = self.segments.len().saturating_sub(1);
        self.segments[..sealed].partition_point(|live| live.listed.end <= position)
    }

    /// An event was appended.
    pub(super) fn append(&mut self, event: &Indexed) {
        let entry = event.entry();
        self.ledger.append(entry.bytes, entry.skip);
        if let Some(Live { listed, .. }) = self.segments.last_mut() {
            listed.end = self.ledger.end();
            listed.live += 1;
            listed.live_bytes += entry.bytes;
        }
    }

    /// A sink, by its number, is done with an event.
    pub(super) fn settle(&mut self, number: usize, entry: &Entry) -> Settled {
        let settled = self.ledger.settle(number, entry.position, entry.bytes, entry.skip);
        if settled == Settled::Everywhere {
            let at = self.at_or_after(entry.position);
            if let Some(Live { listed, .. }) = self.segments.get_mut(at) {
                listed.live = listed.live.saturating_sub(1);
                listed.live_bytes = listed.live_bytes.saturating_sub(entry.bytes);
            }
        }
        settled
    }

    /// An event is damaged: nobody waits for it any more.
    pub(super) fn lose(&mut self, entry: &Entry) {
        if self.ledger.wanted(entry.position, entry.skip) {
            self.lost += 1;
            for number in 0..self.ledger.sinks().len() {
                self.settle(number, entry);
            }
        }
    }

    /// Takes out of the list what nobody waits for. It may be used again after the next checkpoint.
    pub(super) fn take_settled(&mut self) -> Vec<Arc<Segment>> {
        let sealed = self.segments.len().saturating_sub(1);
        let settled = self.segments.extract_if(..sealed, |live| live.listed.live == 0).map(|live| live.segment);
        let mut free: Vec<_> = settled.collect();
        free.append(&mut self.replaced);
        free
    }

    /// Whether there is something that nobody waits for.
    pub(super) fn has_settled(&self) -> bool {
        let sealed = self.segments.len().saturating_sub(1);
        !self.replaced.is_empty() || self.segments[..sealed].iter().any(|live| live.listed.live == 0)
    }

    /// Takes one segment of at least so many bytes out of the list that nobody waits for.
    pub(super) fn take_one_settled(&mut self, bytes: u64) -> Option<Arc<Segment>> {
        let sealed = self.segments.len().saturating_sub(1);
        let fits = |live: &Live| live.listed.live == 0 && u64::from(live.segment.size) >= bytes;
        let at = self.segments[..sealed].iter().position(fits)?;
        Some(self.segments.remove(at).segment)
    }

    /// A checkpoint of this moment.
    pub(super) fn checkpoint(&self) -> Vec<u8> {
        checkpoint::encode(&self.ledger, &self.sinks, self.segments.iter().map(|live| live.listed))
    }

    /// Counts, but for the age of the oldest event.
    pub(super) fn stats(&self) -> LogStats {
        LogStats {
            events: self.ledger.events(),
            bytes: self.ledger.bytes(),
            oldest_accepted_at_us: None,
            sinks: self.sinks.pick(&self.ledger.unsettled()),
            lost: self.lost,
            end: self.ledger.end(),
            departed: 0,
        }
    }
}
