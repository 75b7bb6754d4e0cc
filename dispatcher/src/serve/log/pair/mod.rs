//! Two logs that look like one to readers: what this shard accepted itself, and what it has inherited.
//!
//! ```text
//! append -----> own log        [ 0 | 1 | 2 ...          positions as ever
//! inherit ----> inherited log  [ 0 | 1 | 2 ...          positions with the highest bit set
//! settle, read, stats: both
//! ```
//!
//! The inherited log is made when something is inherited for the first time. Until then this is the own log, and one
//! look at a word. Beyond the contract of [`ShardLog`], which it keeps for the own log:
//!
//! 1. **Positions** of inherited events begin at [`INHERITED`], so an [`Entry`] names one event of both. A reading from
//!    below it reads the own log, one from it on the inherited log.
//! 2. **Inherited once.** An event whose origin is there is not stored again.
//! 3. **No older event comes back after a younger one.** A settlement of the own log is written only once those of the
//!    inherited log of the same slot and sink are on disk. So after a power cut an inherited event is not offered again
//!    to a sink for which a later one of its slot has stayed settled.
//! 4. **Full is no failure**, for inheriting as for appending.
//!
//! `origin` is what an inherited event brings along, `inherited` the log of those, `held` what a log still holds,
//! `give` the reading of it for others, `id` the number that a log is known by. May import `slots`.

mod give;
mod held;
mod id;
mod inherited;
mod origin;
#[cfg(test)]
pub(in crate::serve) mod tests;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use super::segment::files::{Directory, Real};
use super::segment::{self, SegmentLog};
use super::{Entry, LogError, LogStats, NewRecord, Position, ShardLog, SinkId, Unsettled};
use crate::serve::slots::{SlotSet, slot_of};
pub(in crate::serve) use give::Gifts;
pub(in crate::serve) use inherited::Bequest;
use inherited::Inherited;
pub(in crate::serve) use origin::Origin;

/// The position of the first inherited event. Positions of a log are far below it.
pub(in crate::serve) const INHERITED: Position = 1 << 63;

/// Whether this is the position of an inherited event.
pub(in crate::serve) fn is_inherited(position: Position) -> bool {
    position >= INHERITED
}

/// Opens the inherited log, or makes it.
type Open = Box<dyn Fn() -> Result<Arc<dyn ShardLog>, LogError> + Send + Sync>;

/// Both logs.
pub(in crate::serve) struct PairLog {
    own: Arc<dyn ShardLog>,
    inherited: OnceLock<Inherited>,
    open: Open,
    sinks: usize,
    /// Where the own log is.
    directory: Arc<dyn Directory>,
    id: Mutex<Option<u64>>,
    /// What was settled in the inherited log since its last sync: slots and sinks.
    unsynced: Mutex<HashSet<(usize, SinkId)>>,
    /// See [`LogStats::departed`].
    departed: AtomicU64,
}

impl PairLog {
    /// Opens the own log in the data directory `dir`, or makes it; and the inherited one if it is there.
    pub(in crate::serve) fn open(dir: &Path, sink_names: &[String]) -> Result<Self, LogError> {
        let own = Arc::new(SegmentLog::open(dir, sink_names)?);
        let is_there = SegmentLog::has_inherited(dir);
        let (path, names) = (dir.to_owned(), sink_names.to_vec());
        let open: Open = Box::new(move || Ok(Arc::new(SegmentLog::open_inherited(&path, &names)?)));
        let directory = Arc::new(Real::new(&dir.join(segment::FOLDER)));
        Self::of(own, is_there, open, sink_names.len(), directory)
    }

    fn of(
        own: Arc<dyn ShardLog>,
        is_there: bool,
        open: Open,
        sinks: usize,
        directory: Arc<dyn Directory>,
    ) -> Result<Self, LogError> {
        let (inherited, id, unsynced) = (OnceLock::new(), Mutex::default(), Mutex::default());
        let pair = Self { own, inherited, open, sinks, directory, id, unsynced, departed: AtomicU64::new(0) };
        if is_there {
            pair.inherited()?;
        }
        Ok(pair)
    }

    /// The number that the own log is known by: see [`Origin`]. Made when it is asked for first.
    pub(in crate::serve) fn id(&self) -> Result<u64, LogError> {
        let mut id = self.id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = *id {
            return Ok(id);
        }
        let found = id::load_or_make(&*self.directory).map_err(|e| LogError::Store(e.to_string()))?;
        Ok(*id.insert(found))
    }

    /// Stores events that are handed over, durably. Returns the slots of those that were not there. To be called by the
    /// writer.
    pub(in crate::serve) fn inherit(&self, bequests: &[Bequest]) -> Result<SlotSet, LogError> {
        self.inherited()?.inherit(bequests)
    }

    /// Puts what was inherited of these slots in order, durably: their claims are complete, and no sink reads them yet.
    /// To be called by the writer.
    pub(in crate::serve) fn order(&self, slots: &SlotSet) -> Result<(), LogError> {
        match self.inherited.get() {
            Some(inherited) => self.depart(inherited.log.stats()?.events, || inherited.order(slots).map(|_| ())),
            None => Ok(()),
        }
    }

    /// Settles these events at every sink, durably: they are with another shard. To be called by the writer.
    pub(in crate::serve) fn moved(&self, entries: &[Entry]) -> Result<(), LogError> {
        let sinks = 0..self.sinks;
        let all: Vec<_> = entries.iter().flat_map(|&entry| sinks.clone().map(move |sink| (sink, entry))).collect();
        self.depart(entries.len() as u64, || {
            self.settle(&all)?;
            self.sync()
        })
    }

    /// Does what takes events out of the backlog though no sink settled them, `most` at most, and counts them: before they
    /// are gone, so that nobody takes them for settled.
    fn depart(&self, most: u64, take: impl FnOnce() -> Result<(), LogError>) -> Result<(), LogError> {
        let before = self.both()?;
        self.departed.fetch_add(most, Ordering::AcqRel);
        take()?;
        let after = self.both()?;
        let gone = (before.events + after.end.saturating_sub(before.end)).saturating_sub(after.events);
        self.departed.fetch_sub(most.saturating_sub(gone), Ordering::AcqRel);
        Ok(())
    }

    /// Everything of the own log below this is settled.
    pub(in crate::serve) fn lowest(&self) -> Result<Position, LogError> {
        let first = |sink| {
            let found = self.own.unsettled(sink, 0, 1)?;
            Ok(found.entries.first().map_or(found.next, |entry| entry.position))
        };
        (0..self.sinks).map(first).try_fold(self.own.end(), |lowest, first| Ok(lowest.min(first?)))
    }

    /// The position that the next inherited event will get. Nothing if nothing ever was inherited.
    pub(in crate::serve) fn inherited_end(&self) -> Option<Position> {
        self.inherited.get().map(|inherited| inherited.log.end() | INHERITED)
    }

    /// The slots of which something inherited is waited for. Reads the index of the inherited log.
    pub(in crate::serve) fn inherited_slots(&self) -> Result<SlotSet, LogError> {
        self.inherited.get().map_or(Ok(SlotSet::default()), Inherited::slots)
    }

    /// The inherited log.
    fn inherited(&self) -> Result<&Inherited, LogError> {
        if let Some(inherited) = self.inherited.get() {
            return Ok(inherited);
        }
        let opened = Inherited::new((self.open)()?, self.sinks);
        // Only the writer gets here, and before it there is no other thread.
        Ok(self.inherited.get_or_init(|| opened))
    }

    /// Settles in the inherited log, and then in the own one.
    fn settle_both(&self, inherited: &Inherited, settlements: &[(SinkId, Entry)]) -> Result<(), LogError> {
        let (theirs, own): (Vec<_>, Vec<_>) =
            settlements.iter().copied().partition(|(_, entry)| is_inherited(entry.position));
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        if !theirs.is_empty() {
            unsynced.extend(theirs.iter().map(|(sink, entry)| (slot_of(entry.key), *sink)));
            let theirs: Vec<_> = theirs.into_iter().map(|(sink, entry)| (sink, untagged(entry))).collect();
            inherited.log.settle(&theirs)?;
        }
        if own.is_empty() {
            return Ok(());
        }
        if own.iter().any(|(sink, entry)| unsynced.contains(&(slot_of(entry.key), *sink))) {
            inherited.log.sync()?;
            unsynced.clear();
        }
        self.own.settle(&own)
    }
}

fn tagged(entry: Entry) -> Entry {
    Entry { position: entry.position | INHERITED, ..entry }
}

fn untagged(entry: Entry) -> Entry {
    Entry { position: entry.position & !INHERITED, ..entry }
}

impl ShardLog for PairLog {
    fn append(&self, group: &[NewRecord]) -> Result<Position, LogError> {
        self.own.append(group)
    }

    fn settle(&self, settlements: &[(SinkId, Entry)]) -> Result<(), LogError> {
        match self.inherited.get() {
            None => self.own.settle(settlements),
            Some(inherited) => self.settle_both(inherited, settlements),
        }
    }

    fn sync(&self) -> Result<(), LogError> {
        if let Some(inherited) = self.inherited.get() {
            inherited.log.sync()?;
            self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        self.own.sync()
    }

    fn unsettled(&self, sink: SinkId, from: Position, limit: usize) -> Result<Unsettled, LogError> {
        if !is_inherited(from) {
            return self.own.unsettled(sink, from, limit);
        }
        let Some(inherited) = self.inherited.get() else {
            return Ok(Unsettled { entries: Vec::new(), next: from });
        };
        let found = inherited.log.unsettled(sink, from & !INHERITED, limit)?;
        let entries = found.entries.into_iter().map(tagged).collect();
        Ok(Unsettled { entries, next: found.next | INHERITED })
    }

    fn read(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        if !is_inherited(position) {
            return self.own.read(position);
        }
        let Some(inherited) = self.inherited.get() else { return Ok(None) };
        Ok(inherited.record(position & !INHERITED)?.map(|wrapped| wrapped.event))
    }

    fn identities(&self, span_us: i64) -> Result<Vec<(i64, u128)>, LogError> {
        let own = self.own.identities(span_us)?;
        let Some(inherited) = self.inherited.get() else { return Ok(own) };
        // The window forgets what came first first.
        let mut all = inherited.log.identities(span_us)?;
        all.extend(own);
        all.sort_by_key(|(accepted_at_us, _)| *accepted_at_us);
        Ok(all)
    }

    fn end(&self) -> Position {
        self.own.end()
    }

    fn stats(&self) -> Result<LogStats, LogError> {
        let stats = self.both()?;
        // After the rest: what is missing from that is counted by now.
        Ok(LogStats { departed: self.departed.load(Ordering::Acquire), ..stats })
    }

    fn backlog_bytes(&self) -> u64 {
        self.own.backlog_bytes() + self.inherited.get().map_or(0, |inherited| inherited.log.backlog_bytes())
    }
}

impl PairLog {
    /// What both logs say of themselves.
    fn both(&self) -> Result<LogStats, LogError> {
        let own = self.own.stats()?;
        let Some(inherited) = self.inherited.get() else { return Ok(own) };
        let other = inherited.log.stats()?;
        let oldest = [own.oldest_accepted_at_us, other.oldest_accepted_at_us];
        Ok(LogStats {
            events: own.events + other.events,
            bytes: own.bytes + other.bytes,
            oldest_accepted_at_us: oldest.into_iter().flatten().min(),
            sinks: own.sinks.iter().zip(&other.sinks).map(|(own, other)| own + other).collect(),
            lost: own.lost + other.lost,
            end: own.end + other.end,
            departed: 0,
        })
    }
}
