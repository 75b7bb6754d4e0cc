//! Under which epoch the events of the own log were accepted: a mark where each epoch begins. Pure. May import `log`'s
//! positions, and the crate's `claims`.
//!
//! ```text
//! positions  0 .. 41 | 42 .. 99 | 100 ..
//! epochs        0    |    3     |   4            marks (3, 42), (4, 100)
//! ```
//!
//! What is below every mark was accepted before there were tables, or is settled.

use serde::{Deserialize, Serialize};

use crate::claims::Epoch;
use crate::serve::log::Position;

/// Where epochs begin, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Marks(Vec<(Epoch, Position)>);

impl Marks {
    /// From `position` on, events are accepted under `epoch`. Epochs and positions only grow; what does not is passed
    /// over.
    pub(super) fn push(&mut self, epoch: Epoch, position: Position) {
        match self.0.last_mut() {
            Some((last, at)) if *last >= epoch || *at > position => {}
            // Nothing was accepted under the one before.
            Some((last, at)) if *at == position => *last = epoch,
            _ => self.0.push((epoch, position)),
        }
    }

    /// The epoch of the event at `position`. 0: of no table.
    pub(super) fn label(&self, position: Position) -> Epoch {
        let after = self.0.partition_point(|&(_, at)| at <= position);
        after.checked_sub(1).and_then(|last| self.0.get(last)).map_or(0, |&(epoch, _)| epoch)
    }

    /// Where the events end that were accepted under an older epoch than this. Nothing: not yet.
    pub(super) fn end_of_older(&self, epoch: Epoch) -> Option<Position> {
        self.0.iter().find(|&&(of, _)| of >= epoch).map(|&(_, at)| at)
    }

    /// Forgets what is of no use: below `lowest` all is settled, for good.
    pub(super) fn prune(&mut self, lowest: Position) {
        let after = self.0.partition_point(|&(_, at)| at <= lowest);
        self.0.drain(..after.saturating_sub(1));
    }

    /// Forgets marks above `end`, which are of another log.
    pub(super) fn truncate(&mut self, end: Position) {
        self.0.retain(|&(_, at)| at <= end);
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_of_the_last_epoch_that_began_at_or_before_it() {
        let mut marks = Marks::default();
        assert_eq!(marks.label(7), 0);
        marks.push(3, 42);
        marks.push(4, 100);
        assert_eq!([0, 41, 42, 99, 100, 1 << 62].map(|at| marks.label(at)), [0, 0, 3, 3, 4, 4]);
        assert_eq!([3, 4, 5].map(|epoch| marks.end_of_older(epoch)), [Some(42), Some(100), None]);
        marks.push(6, 100);
        assert_eq!([99, 100].map(|at| marks.label(at)), [3, 6]);
        marks.push(6, 200);
        marks.push(5, 300);
        assert_eq!(marks.label(400), 6, "what is said twice, or late, changes nothing");
        marks.truncate(99);
        assert_eq!(marks.label(400), 3);
    }

    proptest! {
        #[test]
        fn whatever_is_forgotten_labels_of_what_is_not_settled_stay(
            steps in proptest::collection::vec((0..3_u64, 0..4_u64), 1..30),
            lowest in 0..60_u64,
        ) {
            let (mut marks, mut plain) = (Marks::default(), Vec::new());
            let (mut epoch, mut end) = (0, 0);
            for (epochs, events) in steps {
                epoch += epochs + 1;
                marks.push(epoch, end);
                plain.extend((0..events).map(|_| epoch));
                end += events;
            }
            let mut pruned = marks.clone();
            pruned.prune(lowest);
            for (at, &label) in (0..).zip(&plain) {
                prop_assert_eq!(marks.label(at), label);
                if at >= lowest {
                    prop_assert_eq!(pruned.label(at), label);
                }
            }
            prop_assert!(pruned.0.iter().filter(|(_, at)| *at <= lowest).count() <= 1);
        }
    }
}
