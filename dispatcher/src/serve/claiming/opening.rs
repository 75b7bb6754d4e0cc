//! Slots on their way to being delivered: put in order, one group after another, then opened, unless they were closed
//! meanwhile. Pure. May import `slots`.
//!
//! ```text
//! want --> wanted --next--> being ordered --ordered--> to open
//!            keep_only: what is not kept is wanted no more, and will not be opened
//! ```

use crate::serve::slots::SlotSet;

/// See the documentation of this file.
#[derive(Debug, Default)]
pub(super) struct Opening {
    wanted: SlotSet,
    /// Those of what is being put in order that may still be opened.
    ordering: Option<SlotSet>,
}

impl Opening {
    /// This slot is to be delivered.
    pub(super) fn want(&mut self, slot: usize) {
        self.wanted.insert(slot);
    }

    /// All others are closed.
    pub(super) fn keep_only(&mut self, kept: &SlotSet) {
        self.wanted = self.wanted.common(kept);
        self.ordering = self.ordering.map(|slots| slots.common(kept));
    }

    /// What to put in order now. Nothing while something is.
    pub(super) fn next(&mut self) -> Option<SlotSet> {
        if self.ordering.is_some() || self.wanted.is_empty() {
            return None;
        }
        self.ordering = Some(std::mem::take(&mut self.wanted));
        self.ordering
    }

    /// They are in order. Returns those to open.
    pub(super) fn ordered(&mut self) -> SlotSet {
        self.ordering.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Opening;
    use crate::serve::slots::SlotSet;

    fn slots(all: &[usize]) -> SlotSet {
        all.iter().copied().collect()
    }

    #[test]
    fn one_group_is_put_in_order_at_a_time() {
        let mut opening = Opening::default();
        assert_eq!(opening.next(), None);
        opening.want(1);
        opening.want(2);
        assert_eq!(opening.next(), Some(slots(&[1, 2])));
        opening.want(3);
        assert_eq!(opening.next(), None);
        assert_eq!(opening.ordered(), slots(&[1, 2]));
        assert_eq!(opening.next(), Some(slots(&[3])));
    }

    #[test]
    fn what_was_closed_meanwhile_is_not_opened_until_it_was_put_in_order_once_more() {
        let mut opening = Opening::default();
        opening.want(1);
        opening.want(2);
        opening.next();
        opening.want(3);
        opening.keep_only(&slots(&[2]));
        opening.want(1);
        assert_eq!(opening.ordered(), slots(&[2]));
        assert_eq!(opening.next(), Some(slots(&[1])));
    }
}
