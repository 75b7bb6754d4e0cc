//! Which slots may be delivered: told to the tasks of all sinks, and what they answer. May import `log` and `slots`.
//!
//! ```text
//! Hold --close(slots)--> every sink: let go of them, answer when nothing of them is in flight
//!      --open(slots)---> every sink: read what both logs have of them, the inherited log first
//! ```
//!
//! Two decide, and a slot is delivered only if it is open for both: the claims, by the routing table of the region, and the
//! evacuation, by the traffic table of the fleet. The claims come first: what they close, the evacuation lets go of as
//! the sinks do, and answers when nothing of it is on its way to another region.
//!
//! As long as no slot was ever closed and nothing inherited, this is one comparison of two numbers.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::log::Position;
use super::slots::{BUCKETS, SlotSet};

/// What the sinks' tasks go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates {
    /// Grows with every change.
    pub(super) version: u64,
    /// Slots of which no attempt may be begun, whoever closed them.
    pub(super) closed: SlotSet,
    /// Those that are others', or whose claim is not complete.
    pub(super) unclaimed: SlotSet,
    /// Those that are delivered by another region.
    away: SlotSet,
    /// By slot, the version at which it was closed last. Empty: none ever was.
    closings: Vec<u64>,
    /// The end of the inherited log. Nothing: nothing ever was inherited.
    pub(super) inherited_end: Option<Position>,
}

impl Gates {
    /// These slots are closed by the claims from the start.
    pub(super) fn new(unclaimed: &SlotSet, inherited_end: Option<Position>) -> Self {
        let mut gates = Self { inherited_end, ..Self::default() };
        if !unclaimed.is_empty() {
            gates.close(unclaimed);
        }
        gates
    }

    /// Slots that were closed after `version`, even if they are open again.
    pub(super) fn closed_since(&self, version: u64) -> SlotSet {
        (0..).zip(&self.closings).filter(|&(_, &at)| at > version).map(|(slot, _)| slot).collect()
    }

    /// The claims close slots.
    pub(super) fn close(&mut self, slots: &SlotSet) {
        self.unclaimed = self.unclaimed.union(slots);
        self.changed(slots);
    }

    /// The claims open slots.
    pub(super) fn open(&mut self, slots: &SlotSet, inherited_end: Option<Position>) {
        self.unclaimed = self.unclaimed.without(slots);
        self.inherited_end = inherited_end;
        self.changed(&SlotSet::default());
    }

    /// The evacuation closes slots.
    fn close_away(&mut self, slots: &SlotSet) {
        self.away = self.away.union(slots);
        self.changed(slots);
    }

    /// The evacuation opens slots.
    fn open_away(&mut self, slots: &SlotSet, inherited_end: Option<Position>) {
        self.away = self.away.without(slots);
        self.inherited_end = inherited_end;
        self.changed(&SlotSet::default());
    }

    /// Something has changed, and these slots were closed.
    fn changed(&mut self, shut: &SlotSet) {
        self.version += 1;
        self.closed = self.unclaimed.union(&self.away);
        if !shut.is_empty() {
            self.closings.resize(BUCKETS, 0);
        }
        for slot in shut.iter() {
            if let Some(at) = self.closings.get_mut(slot) {
                *at = self.version;
            }
        }
    }
}

/// The end of a sink's task.
pub(super) struct Gate {
    pub(super) gates: watch::Receiver<Gates>,
    /// The version up to which nothing is in flight of what was closed.
    pub(super) done: watch::Sender<u64>,
}

/// The end of whoever decides.
pub(super) struct Hold {
    gates: watch::Sender<Gates>,
    done: Vec<watch::Receiver<u64>>,
    /// Of the evacuation, once there is one.
    evacuation: OnceLock<watch::Receiver<u64>>,
}

impl Hold {
    /// Gates for so many sinks. These slots are closed from the start.
    pub(super) fn new(sinks: usize, closed: &SlotSet, inherited_end: Option<Position>) -> (Self, Vec<Gate>) {
        let (gates, receiver) = watch::channel(Gates::new(closed, inherited_end));
        let (ends, done) = (0..sinks)
            .map(|_| {
                let (done, answer) = watch::channel(0);
                (Gate { gates: receiver.clone(), done }, answer)
            })
            .unzip();
        (Self { gates, done, evacuation: OnceLock::new() }, ends)
    }

    /// The evacuation's end: it answers as sinks do. There is one.
    pub(super) fn evacuation(&self) -> Gate {
        let (done, answer) = watch::channel(0);
        let _ = self.evacuation.set(answer);
        Gate { gates: self.gates.subscribe(), done }
    }

    /// Closes slots for the claims, at once. What it returns waits until nothing of theirs is under way, to any sink or to
    /// another region.
    pub(super) fn close(&self, slots: &SlotSet) -> impl Future<Output = ()> + Send + use<> {
        let version = self.change(|gates| gates.close(slots));
        quiet(self.done.iter().chain(self.evacuation.get()).cloned().collect(), version)
    }

    /// Closes slots for the evacuation, at once. What it returns waits until nothing of theirs is under way to any sink.
    pub(super) fn close_away(&self, slots: &SlotSet) -> impl Future<Output = ()> + Send + use<> {
        let version = self.change(|gates| gates.close_away(slots));
        quiet(self.done.clone(), version)
    }

    /// Changes the gates. Returns their version.
    fn change(&self, change: impl FnOnce(&mut Gates)) -> u64 {
        let mut version = 0;
        self.gates.send_modify(|gates| {
            change(gates);
            version = gates.version;
        });
        version
    }

    /// Those of these slots that the claims have closed.
    pub(super) fn closed_of(&self, slots: &SlotSet) -> SlotSet {
        slots.common(&self.gates.borrow().unclaimed)
    }

    /// Whether the claims have closed all of these slots.
    pub(super) fn are_closed(&self, slots: &SlotSet) -> bool {
        slots.without(&self.gates.borrow().unclaimed).is_empty()
    }

    /// Opens slots for the claims, and says where the inherited log ends.
    pub(super) fn open(&self, slots: &SlotSet, inherited_end: Option<Position>) {
        self.gates.send_modify(|gates| gates.open(slots, inherited_end));
    }

    /// Opens slots for the evacuation, and says where the inherited log ends.
    pub(super) fn open_away(&self, slots: &SlotSet, inherited_end: Option<Position>) {
        self.gates.send_modify(|gates| gates.open_away(slots, inherited_end));
    }
}

/// Waits until all have answered to this version.
async fn quiet(all: Vec<watch::Receiver<u64>>, version: u64) {
    for mut done in all {
        // A task that has ended has nothing under way.
        let _ = done.wait_for(|&done| done >= version).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Gates, Hold};
    use crate::serve::slots::SlotSet;
    use futures::FutureExt as _;
    use proptest::prelude::*;

    fn slots(all: &[usize]) -> SlotSet {
        all.iter().copied().collect()
    }

    #[test]
    fn a_slot_is_open_only_when_both_have_opened_it() {
        let mut gates = Gates::new(&slots(&[1, 2]), None);
        gates.close_away(&slots(&[2, 3]));
        assert_eq!(gates.closed, slots(&[1, 2, 3]));
        gates.open(&slots(&[1, 2]), None);
        assert_eq!((gates.closed, gates.unclaimed), (slots(&[2, 3]), slots(&[])));
        gates.close(&slots(&[3]));
        gates.open_away(&slots(&[2, 3]), Some(7));
        assert_eq!((gates.closed, gates.inherited_end), (slots(&[3]), Some(7)));
        assert_eq!(gates.closed_since(3), slots(&[3]));
    }

    #[test]
    fn the_claims_wait_for_the_evacuation_and_it_waits_for_sinks_only() {
        let (hold, sinks) = Hold::new(1, &SlotSet::default(), None);
        assert!(hold.close(&slots(&[1])).now_or_never().is_none(), "the sink has not answered");
        let evacuation = hold.evacuation();
        let answer = |gate: &Gate| gate.done.send_replace(gate.gates.borrow().version);
        let away = hold.close_away(&slots(&[2]));
        answer(&sinks[0]);
        assert!(away.now_or_never().is_some());
        let closed = hold.close(&slots(&[2]));
        answer(&sinks[0]);
        let mut closed = closed.boxed();
        assert!((&mut closed).now_or_never().is_none(), "it is on its way to another region");
        answer(&evacuation);
        assert!(closed.now_or_never().is_some());
        let closed = hold.close(&slots(&[4]));
        answer(&sinks[0]);
        drop(evacuation);
        assert!(closed.now_or_never().is_some(), "an evacuation that has ended has nothing under way");
    }

    proptest! {
        #[test]
        fn whatever_was_closed_after_a_version_is_known_to_have_been(
            steps in proptest::collection::vec((0..4_u8, 0..9_usize), 1..40),
        ) {
            let mut gates = Gates::default();
            let (mut at, mut shut) = (vec![SlotSet::default()], Vec::new());
            for (what, slot) in steps {
                let one = slots(&[slot]);
                match what {
                    0 => gates.close(&one),
                    1 => gates.close_away(&one),
                    2 => gates.open(&one, None),
                    _ => gates.open_away(&one, None),
                }
                shut.push(if what < 2 { one } else { SlotSet::default() });
                at.push(gates.closed);
                prop_assert_eq!(gates.version, shut.len() as u64);
                for version in 0..=shut.len() {
                    let since = shut[version..].iter().fold(SlotSet::default(), SlotSet::union);
                    prop_assert_eq!(gates.closed_since(version as u64), since);
                    prop_assert!(gates.closed.without(&at[version]).without(&since).is_empty());
                }
            }
        }
    }
}
