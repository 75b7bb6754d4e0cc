//! Which slots may be delivered: told to the tasks of all sinks, and what they answer. May import `log` and `slots`.
//!
//! ```text
//! Hold --close(slots)--> every sink: let go of them, answer when nothing of them is in flight
//!      --open(slots)---> every sink: read what both logs have of them, the inherited log first
//! ```
//!
//! As long as no slot was ever closed and nothing inherited, this is one comparison of two numbers.

use tokio::sync::watch;

use super::log::Position;
use super::slots::{BUCKETS, SlotSet};

/// What the sinks' tasks go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates {
    /// Grows with every change.
    pub(super) version: u64,
    /// Slots of which no attempt may be begun: they are others', or their claim is not complete.
    pub(super) closed: SlotSet,
    /// By slot, the version at which it was closed last. Empty: none ever was.
    closings: Vec<u64>,
    /// The end of the inherited log. Nothing: nothing ever was inherited.
    pub(super) inherited_end: Option<Position>,
}

impl Gates {
    /// These slots are closed from the start.
    pub(super) fn new(closed: &SlotSet, inherited_end: Option<Position>) -> Self {
        let mut gates = Self { inherited_end, ..Self::default() };
        if !closed.is_empty() {
            gates.close(closed);
        }
        gates
    }

    /// Slots that were closed after `version`, even if they are open again.
    pub(super) fn closed_since(&self, version: u64) -> SlotSet {
        (0..).zip(&self.closings).filter(|&(_, &at)| at > version).map(|(slot, _)| slot).collect()
    }

    /// Closes slots.
    pub(super) fn close(&mut self, slots: &SlotSet) {
        self.version += 1;
        self.closed = self.closed.union(slots);
        self.closings.resize(BUCKETS, 0);
        for slot in slots.iter() {
            if let Some(at) = self.closings.get_mut(slot) {
                *at = self.version;
            }
        }
    }

    /// Opens slots.
    pub(super) fn open(&mut self, slots: &SlotSet, inherited_end: Option<Position>) {
        self.version += 1;
        self.closed = self.closed.without(slots);
        self.inherited_end = inherited_end;
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
        (Self { gates, done }, ends)
    }

    /// Closes slots, at once. What it returns waits until no attempt of theirs is under way at any sink.
    pub(super) fn close(&self, slots: &SlotSet) -> impl Future<Output = ()> + Send + use<> {
        let mut version = 0;
        self.gates.send_modify(|gates| {
            gates.close(slots);
            version = gates.version;
        });
        let all = self.done.clone();
        async move {
            for mut done in all {
                // A task that has ended has nothing under way.
                let _ = done.wait_for(|&done| done >= version).await;
            }
        }
    }

    /// Those of these slots that are closed.
    pub(super) fn closed_of(&self, slots: &SlotSet) -> SlotSet {
        let open = slots.without(&self.gates.borrow().closed);
        slots.without(&open)
    }

    /// Whether all of these slots are closed.
    pub(super) fn are_closed(&self, slots: &SlotSet) -> bool {
        slots.without(&self.gates.borrow().closed).is_empty()
    }

    /// Opens slots, and says where the inherited log ends.
    pub(super) fn open(&self, slots: &SlotSet, inherited_end: Option<Position>) {
        self.gates.send_modify(|gates| gates.open(slots, inherited_end));
    }
}
