//! Some slots, as a set of bits. Pure. May import the crate's `slots`.
//!
//! Besides the 1024 slots of keys there is one more bucket here, [`KEYLESS`]: the events without a key. They have no
//! order, and yet they have to be let go of, and handed over, by a shard that leaves.

use crate::slots;

/// Where events without a key are counted.
pub(super) const KEYLESS: usize = slots::SLOTS as usize;

/// All buckets.
pub(super) const BUCKETS: usize = KEYLESS + 1;

const WORDS: usize = BUCKETS.div_ceil(64);

/// The slot of an event by the hash of its key: from 0 to 1023, or [`KEYLESS`].
pub(super) fn slot_of(key: Option<u64>) -> usize {
    key.map_or(KEYLESS, |hash| usize::from(slots::slot_of(hash)))
}

/// A set of slots, [`KEYLESS`] among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotSet([u64; WORDS]);

impl SlotSet {
    /// Every bucket.
    pub(super) fn all() -> Self {
        (0..BUCKETS).collect()
    }

    /// Whether `slot` is in it.
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.0.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Adds a slot.
    pub(super) fn insert(&mut self, slot: usize) {
        if let Some(word) = self.0.get_mut(slot / 64).filter(|_| slot < BUCKETS) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Those of this set, and of the other.
    pub(super) fn union(self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// Those of this set that are not in the other.
    pub(super) fn without(self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// Those of this set that are in the other.
    pub(super) fn common(self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..BUCKETS).filter(|&slot| self.contains(slot))
    }

    fn zip(mut self, other: &Self, both: impl Fn(u64, u64) -> u64) -> Self {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word = both(*word, *other);
        }
        self
    }
}

impl FromIterator<usize> for SlotSet {
    fn from_iter<I: IntoIterator<Item = usize>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, KEYLESS, SlotSet, slot_of};

    #[test]
    fn what_has_no_key_is_apart_from_every_slot() {
        assert_eq!((slot_of(Some(u64::MAX)), slot_of(Some(1024)), slot_of(None)), (1023, 0, KEYLESS));
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set: SlotSet = [0, 63, 64, 1023, KEYLESS, BUCKETS].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 1023, KEYLESS]);
        let other: SlotSet = [64, 7].into_iter().collect();
        assert_eq!(set.without(&other).iter().collect::<Vec<_>>(), [0, 63, 1023, KEYLESS]);
        assert_eq!(set.common(&other).iter().collect::<Vec<_>>(), [64]);
        assert_eq!(set.union(&other).iter().count(), 6);
        assert!(SlotSet::default().is_empty() && !set.is_empty());
        assert_eq!(SlotSet::all().iter().count(), BUCKETS);
    }
}
