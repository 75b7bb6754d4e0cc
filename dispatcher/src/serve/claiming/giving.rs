//! What is given to one shard: gathered from both logs, kept until that shard has it, then settled here.
//!
//! ```text
//! Give --> gather from the cursor on --> batch, kept --Transfer--> the other's disk
//! Drop --> settle the batch, durably --> Give
//! ```
//!
//! What this shard gives to itself goes the same way: what its own log has of a slot from before the tenure. May import
//! `transfers`, `log`, `slots`, `marks`, `parcel`, and the crate's `claims`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::marks::Marks;
use super::parcel::Handed;
use crate::claims::{Epoch, Slot, Slots};
use crate::serve::log::{Entry, LogError, PairLog, Position, is_inherited};
use crate::serve::slots::{KEYLESS, SlotSet, slot_of};
use crate::serve::transfers::Transfers;

/// Bytes of events in one batch, unless a single one is larger.
pub(in crate::serve) const BATCH_BYTES: usize = 1024 * 1024;

/// Events that travel together, and the names of the giver's sinks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) sinks: Vec<String>,
    pub(super) events: Vec<Handed>,
}

/// What is to be found for one shard, as it is under one epoch.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The slots of that shard.
    pub(super) slots: Slots,
    /// Whether events without a key go along, as if they were of its lowest slot.
    pub(super) keyless: bool,
    /// For the shard itself: when the tenures of its slots began. What is older is looked for, in the own log alone.
    pub(super) before: Option<BTreeMap<Slot, Epoch>>,
    pub(super) marks: Arc<Marks>,
    /// Where the own log has no more of it.
    pub(super) own_until: Position,
}

impl Wanted {
    /// Where to begin.
    pub(super) fn first(&self) -> Position {
        if self.before.is_some() { 0 } else { PairLog::FIRST }
    }

    /// For the shard itself: whether an event here is to be given to anybody. What it inherited of its own slots is not.
    fn is_to_give(&self, slot: usize, position: Position) -> bool {
        let mine = u16::try_from(slot).is_ok_and(|slot| self.slots.contains(&slot));
        !mine || !is_inherited(position) && self.label(slot, position).is_some()
    }

    fn buckets(&self) -> SlotSet {
        let keyless = self.keyless.then_some(KEYLESS);
        self.slots.iter().map(|&slot| usize::from(slot)).chain(keyless).collect()
    }

    /// The epoch of an own event that is wanted.
    fn label(&self, slot: usize, position: Position) -> Option<Epoch> {
        let label = self.marks.label(position);
        let Some(before) = &self.before else { return Some(label) };
        let since = u16::try_from(slot).ok().and_then(|slot| before.get(&slot)).copied().unwrap_or(0);
        (label < since).then_some(label)
    }
}

/// The slots of which something is to be given to anybody, `own` being what is wanted for this shard itself: looked for
/// once for all under one epoch, as most shards get nothing of most.
#[derive(Debug)]
pub(super) struct Survey {
    own: Wanted,
    found: Mutex<Option<SlotSet>>,
}

impl Survey {
    pub(super) fn new(own: Wanted) -> Self {
        Self { own, found: Mutex::default() }
    }

    /// Whether there is something for a shard. Reads from disk when it is asked first.
    fn has(&self, transfers: &Transfers, wanted: &Wanted) -> Result<bool, LogError> {
        // Others wait for the one that looks.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = match *found {
            Some(slots) => slots,
            None => *found.insert(transfers.survey(|slot, position| self.own.is_to_give(slot, position))?),
        };
        Ok(!wanted.buckets().common(&slots).is_empty())
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) load: Arc<Load>,
    /// The same events, as they are here.
    pub(super) entries: Vec<Entry>,
    /// Their slots.
    pub(super) slots: Slots,
    /// Slots of which nothing is here, in this batch either.
    pub(super) emptied: Slots,
    /// Where to go on. Nothing: there is no more.
    pub(super) next: Option<Position>,
}

/// Gathers the next batch, from `from` on. Nothing: what was there has all been gathered. Reads from disk.
pub(super) fn gather(
    transfers: &Transfers,
    survey: &Survey,
    wanted: &Wanted,
    from: Option<Position>,
    most_bytes: usize,
) -> Result<Batch, LogError> {
    let Some(from) = from else { return Ok(nothing(wanted)) };
    if from == wanted.first() && !survey.has(transfers, wanted)? {
        return Ok(nothing(wanted));
    }
    let label = |slot, position| wanted.label(slot, position);
    let found = transfers.gifts(&wanted.buckets(), from, wanted.own_until, most_bytes, label)?;
    let mut batch = Batch { next: found.next, ..Batch::default() };
    let mut events = Vec::with_capacity(found.gifts.len());
    for gift in found.gifts {
        batch.slots.extend(carried(gift.entry.key, &wanted.slots));
        batch.entries.push(gift.entry);
        events.push(Handed {
            origin: gift.origin,
            accepted_at_us: gift.entry.accepted_at_us,
            key: gift.entry.key,
            waiting: gift.waiting,
            identity: gift.identity,
            record: gift.record,
        });
    }
    if batch.next.is_none() {
        batch.emptied = wanted.slots.difference(&batch.slots).copied().collect();
    }
    batch.load = Arc::new(Load { sinks: transfers.sinks().to_vec(), events });
    Ok(batch)
}

fn nothing(wanted: &Wanted) -> Batch {
    Batch { emptied: wanted.slots.clone(), ..Batch::default() }
}

/// As which of these slots, those of its new owner, an event travels: its own, or without a key the lowest.
pub(super) fn carried(key: Option<u64>, slots: &Slots) -> Option<Slot> {
    match key {
        Some(_) => u16::try_from(slot_of(key)).ok(),
        None => slots.first().copied(),
    }
}

/// What is being given to one shard under one epoch.
#[derive(Debug)]
pub(super) struct Giving {
    pub(super) epoch: Epoch,
    pub(super) wanted: Arc<Wanted>,
    /// Where to go on. Nothing: at the end.
    pub(super) next: Option<Position>,
    /// What is on its way.
    pub(super) load: Arc<Load>,
    pub(super) entries: Vec<Entry>,
    /// What the other shard has, and is to be settled before more is gathered.
    pub(super) given: Vec<Entry>,
}

impl Giving {
    pub(super) fn new(epoch: Epoch, wanted: Wanted) -> Self {
        let next = Some(wanted.first());
        let (load, entries, given) = (Arc::default(), Vec::new(), Vec::new());
        Self { epoch, wanted: Arc::new(wanted), next, load, entries, given }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(slots: &[Slot], before: Option<&[(Slot, Epoch)]>) -> Wanted {
        let mut marks = Marks::default();
        marks.push(2, 10);
        marks.push(3, 20);
        let before = before.map(|before| before.iter().copied().collect());
        Wanted { slots: slots.iter().copied().collect(), keyless: false, before, marks: Arc::new(marks), own_until: 99 }
    }

    #[test]
    fn what_has_no_key_travels_as_the_lowest_slot_of_its_new_owner() {
        let slots = [7, 9].into();
        assert_eq!(
            (carried(Some(1033), &slots), carried(None, &slots), carried(None, &[].into())),
            (Some(9), Some(7), None)
        );
    }

    #[test]
    fn another_shard_gets_all_of_its_slots_and_the_shard_itself_what_is_from_before_its_tenure() {
        let theirs = wanted(&[1, 2], None);
        assert_eq!([0, 10, 20].map(|at| theirs.label(1, at)), [Some(0), Some(2), Some(3)]);
        let own = wanted(&[3, 4], Some(&[(3, 3), (4, 0)]));
        assert_eq!([0, 10, 20].map(|at| own.label(3, at)), [Some(0), Some(2), None]);
        assert_eq!([0, 10, 20].map(|at| own.label(4, at)), [None; 3]);
        assert_eq!((own.first(), theirs.first()), (0, PairLog::FIRST));
    }

    #[test]
    fn what_was_inherited_of_the_own_slots_is_given_to_nobody() {
        let own = wanted(&[3], Some(&[(3, 3)]));
        assert!(own.is_to_give(5, PairLog::FIRST) && own.is_to_give(5, 30) && own.is_to_give(KEYLESS, 30));
        assert!(own.is_to_give(3, 19) && !own.is_to_give(3, 20) && !own.is_to_give(3, PairLog::FIRST));
    }
}
