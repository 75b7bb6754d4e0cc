//! One step of a replay: which letters go back together. May import the router of `claiming`, and `log`'s overhead.

use bytes::Bytes;

use super::letter::{LetterHead, LetterKey};
use crate::serve::claiming::{Admission, Router, Way};
use crate::serve::log::OVERHEAD_BYTES;

/// Letters that go back together.
pub(super) struct Step {
    /// Where the next step begins.
    pub(super) after: LetterKey,
    pub(super) letters: Vec<(LetterKey, LetterHead, Bytes)>,
    /// Letters of the same stretch that do not go back.
    pub(super) failed: u64,
}

impl Step {
    /// What it will take in the log.
    pub(super) fn bytes(&self) -> u64 {
        self.letters.iter().map(|(_, _, record)| record.len() as u64 + OVERHEAD_BYTES).sum()
    }

    /// Leaves out letters of keys that are another shard's now: what this shard would accept of them would be delivered
    /// by nobody. They are kept. An error says what to wait for.
    pub(super) fn admit(&mut self, claims: &dyn Router) -> Result<Option<Admission>, String> {
        let keys: Vec<Option<u64>> = self.letters.iter().map(|(_, head, _)| head.key).collect();
        let routes = claims.route(&keys, None);
        if routes.ways.contains(&Way::Hold) {
            return Err("the slots of this shard to be claimed".to_owned());
        }
        let (before, mut ways) = (self.letters.len(), routes.ways.iter());
        self.letters.retain(|_| ways.next() == Some(&Way::Here));
        self.failed += (before - self.letters.len()) as u64;
        Ok(routes.admission)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use signalbox_contract::RoutingTable;

    use super::*;
    use crate::claims::{Epoch, Ordinal};
    use crate::serve::claiming::{Parcel, Routes};
    use crate::serve::dead_letters::NewDeadLetter;
    use crate::serve::dead_letters::tests::letter as letter_of;

    /// Key 1 is this shard's, key 2 is being claimed, all others are another's.
    #[derive(Default)]
    struct Map(Arc<AtomicBool>);

    impl Router for Map {
        fn route(&self, keys: &[Option<u64>], _: Option<Epoch>) -> Routes {
            let way = |key: &Option<u64>| match key {
                Some(1) => Way::Here,
                Some(2) => Way::Hold,
                _ => Way::Owner(7),
            };
            let ended = self.0.clone();
            let admission = Some(Admission::new(move || ended.store(true, Ordering::Relaxed)));
            Routes { ways: keys.iter().map(way).collect(), epoch: 1, admission, seen: 0 }
        }

        fn changed(&self, _: u64) -> BoxFuture<'static, ()> {
            std::future::pending().boxed()
        }

        fn heard(&self, _: Ordinal, _: Parcel) {}

        fn table(&self) -> Option<Arc<RoutingTable>> {
            None
        }
    }

    fn step(keys: &[Option<u64>]) -> Step {
        let letter = |(serial, key): (u64, &Option<u64>)| {
            let at = LetterKey { sink: "a".to_owned(), position: serial };
            let head = LetterHead::new(&NewDeadLetter { key: *key, ..letter_of("a", serial) }, serial, 1);
            (at, head, Bytes::new())
        };
        let after = LetterKey { sink: "a".to_owned(), position: 9 };
        Step { after, letters: (0..).zip(keys).map(letter).collect(), failed: 1 }
    }

    #[test]
    fn letters_of_keys_that_are_anothers_are_left_and_those_being_claimed_are_waited_for() {
        let map = Map::default();
        let mut mixed = step(&[Some(1), Some(3), None, Some(1)]);
        let admission = mixed.admit(&map).unwrap();
        let left: Vec<_> = mixed.letters.iter().map(|(at, ..)| at.position).collect();
        assert_eq!((left, mixed.failed), (vec![0, 3], 3));
        assert!(!map.0.load(Ordering::Relaxed));
        drop(admission);
        assert!(map.0.load(Ordering::Relaxed));
        assert!(step(&[Some(1), Some(2)]).admit(&map).unwrap_err().contains("claimed"));
    }
}
