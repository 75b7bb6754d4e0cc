//! Requests, for a caller who has many: answered without looking at anything else that may follow from what is known.
//!
//! ```text
//! admit --> Admit(epoch), counted --> appended(epoch) --> was it the last one of an older epoch? then follow
//! ```

use signalbox_contract::RoutingTable;

use super::shard::Claims;
use super::types::{Answer, Effect, Epoch, Slot};

impl Claims {
    /// What becomes of an event of `slot`, as with [`super::Input::Accept`]: what is admitted is counted, until
    /// [`Claims::appended`].
    pub fn admit(&mut self, slot: Slot, routed: Option<Epoch>) -> Answer {
        let answer = self.answer(slot, routed);
        self.count(answer)
    }

    /// The same for an event without a key, which every shard takes that owns slots by a table on its disk. Of those
    /// that do, `any` picks one, by its remainder.
    pub fn admit_keyless(&mut self, routed: Option<Epoch>, any: u32) -> Answer {
        let epoch = self.now.epoch();
        let shards = owners(self.now.table.as_deref());
        let answer = match routed {
            _ if shards == 0 => Answer::Hold,
            _ if self.me < shards && self.me < owners(self.safe.table.as_deref()) => Answer::Admit(self.safe.epoch()),
            // The table that makes it an owner is being written.
            _ if self.me < shards => Answer::Hold,
            None => Answer::HandOver(any % shards, epoch),
            Some(routed) if routed < epoch => Answer::Redirect,
            Some(_) => Answer::Hold,
        };
        self.count(answer)
    }

    /// An event that was admitted under this epoch is on disk, or was given up before it was written. Returns whether
    /// it was the last of an epoch that is not the present one: then something may follow, and [`super::Input::Appended`]
    /// of this epoch says what.
    pub fn appended(&mut self, epoch: Epoch) -> bool {
        self.uncount(epoch) && epoch < self.now.epoch()
    }

    /// Everything that follows from what is known, if it was not asked for yet.
    pub fn follow(&mut self) -> Vec<Effect> {
        self.advance();
        std::mem::take(&mut self.out)
    }

    /// Whether an event was admitted that is not on disk yet.
    pub fn is_appending(&self) -> bool {
        !self.appending.is_empty()
    }

    fn count(&mut self, answer: Answer) -> Answer {
        if let Answer::Admit(epoch) = answer {
            *self.appending.entry(epoch).or_default() += 1;
        }
        answer
    }

    /// Whether there is none left under this epoch, and there was one.
    fn uncount(&mut self, epoch: Epoch) -> bool {
        let Some(count) = self.appending.get_mut(&epoch) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.appending.remove(&epoch);
        }
        last
    }
}

/// How many shards own slots.
fn owners(table: Option<&RoutingTable>) -> u32 {
    table.map_or(0, |table| table.shards)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use signalbox_contract::{Peer, RoutingTable};

    use super::super::{Answer, Claims, Durable, Effect, Input, Message, Slot};
    use crate::slots::owner;

    fn table(epoch: u64, shards: u32) -> Arc<RoutingTable> {
        let peers = (0..3).map(|ordinal| Peer { ordinal, ..Peer::default() }).collect();
        Arc::new(RoutingTable { epoch, shards, peers, ..RoutingTable::default() })
    }

    fn fresh(me: u32) -> Claims {
        let all = Arc::new((0..1024).collect());
        Claims::restart(me, 7, 1, all, Durable::default(), &BTreeSet::new()).0
    }

    /// A shard that is on its own, and accepts what table 1 gives to it.
    fn alone(shards: u32) -> Claims {
        let mut claims = fresh(0);
        claims.step(Input::Table(table(1, shards)));
        claims.step(Input::Written);
        for peer in [1, 2] {
            claims.step(Input::Message(peer, Message::Sealed(1)));
        }
        claims.step(Input::Written);
        claims
    }

    #[test]
    fn an_old_epoch_is_drained_with_its_last_event_and_then_the_seal_follows() {
        let mut claims = alone(1);
        let moving: Slot = (0..1024).find(|&slot| owner(slot, 2) == 1).unwrap();
        assert_eq!(claims.admit(moving, None), Answer::Admit(1));
        assert_eq!(claims.admit_keyless(None, 5), Answer::Admit(1));
        claims.step(Input::Message(1, Message::Seal(table(2, 2))));
        claims.step(Input::Written);
        assert_eq!(claims.admit(moving, None), Answer::HandOver(1, 2));
        assert!(claims.is_appending() && !claims.appended(1), "one is left");
        assert!(claims.appended(1) && !claims.is_appending());
        let sealed = Effect::Send(1, Message::Sealed(2));
        assert!(claims.follow().contains(&sealed));
        assert!(!claims.follow().contains(&sealed), "it is said once");
    }

    #[test]
    fn events_of_the_present_epoch_wake_nobody() {
        let mut claims = alone(1);
        assert_eq!(claims.admit(3, None), Answer::Admit(1));
        assert!(!claims.appended(1));
        assert!(!claims.appended(1), "more ends than beginnings are no fault");
    }

    #[test]
    fn what_has_no_key_is_taken_by_whoever_owns_slots_and_goes_to_all_of_them_alike() {
        let mut claims = fresh(0);
        assert_eq!(claims.admit_keyless(None, 0), Answer::Hold, "there is no table");
        claims.step(Input::Table(table(1, 2)));
        assert_eq!(claims.admit_keyless(None, 0), Answer::Hold, "it is not on disk");
        claims.step(Input::Written);
        assert_eq!(claims.admit_keyless(None, 0), Answer::Admit(1), "no slot need be open for it");
        assert_eq!(claims.admit_keyless(Some(9), 0), Answer::Admit(1));

        let mut leaving = fresh(2);
        leaving.step(Input::Table(table(4, 2)));
        leaving.step(Input::Written);
        let answers = [4, 7].map(|any| leaving.admit_keyless(None, any));
        assert_eq!(answers, [Answer::HandOver(0, 4), Answer::HandOver(1, 4)]);
        let answers = [3, 4, 5].map(|routed| leaving.admit_keyless(Some(routed), 0));
        assert_eq!(answers, [Answer::Redirect, Answer::Hold, Answer::Hold]);
    }

    #[test]
    fn a_batch_that_could_not_be_stored_is_as_if_it_had_not_come() {
        let mut claims = fresh(0);
        claims.step(Input::Table(table(1, 1)));
        claims.step(Input::Written);
        let batch = super::super::Batch { incarnation: 9, number: 0 };
        let transfer = || Input::Message(1, Message::Transfer(1, batch, [5].into()));
        let store = Effect::Store { from: 1, epoch: 1, batch, slots: [5].into() };
        assert!(claims.step(transfer()).contains(&store));
        assert!(!claims.step(transfer()).contains(&store), "it is being stored");
        claims.step(Input::NotStored { from: 1, epoch: 1, batch });
        assert!(claims.step(transfer()).contains(&store));
    }
}
