//! The duplicate window: which events were stored lately, by their identity. Pure: the time is that of the events.
//!
//! It holds at most [`CAP`] identities, in about 40 MiB; the oldest are forgotten first, so above `CAP` events per
//! window it is shorter than configured. A clock that is set back makes nothing new look old: an identity counts as
//! known until an event comes that is younger than it by the window.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Most identities that are remembered: the table of the set doubles above this.
pub(super) const CAP: usize = 900_000;

/// An identity in the order of arrival. In two halves, because a whole one would be padded to 32 bytes.
struct Seen {
    high: u64,
    low: u64,
    accepted_at_us: i64,
}

impl Seen {
    fn identity(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// The identities of lately.
pub(super) struct Window {
    span_us: i64,
    known: HashSet<u128>,
    order: VecDeque<Seen>,
    /// At the end of `order`: those of the group that is being stored.
    undecided: usize,
}

impl Window {
    /// A window of this length. None when it has none.
    pub(super) fn new(span: Duration) -> Option<Self> {
        let span_us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        (span_us > 0).then(|| Self { span_us, known: HashSet::new(), order: VecDeque::new(), undecided: 0 })
    }

    /// Its length in microseconds.
    pub(super) fn span_us(&self) -> i64 {
        self.span_us
    }

    /// Takes in an event that was stored earlier.
    pub(super) fn remember(&mut self, identity: u128, accepted_at_us: i64) {
        if !self.is_duplicate(identity, accepted_at_us) {
            self.undecided = 0;
        }
    }

    /// Whether such an event was stored lately, or is of the group that is being stored. If not, it is from now on.
    pub(super) fn is_duplicate(&mut self, identity: u128, accepted_at_us: i64) -> bool {
        if identity == 0 {
            return false;
        }
        let span_us = self.span_us;
        self.forget_while(|oldest, _| accepted_at_us.saturating_sub(oldest.accepted_at_us) >= span_us);
        if !self.known.insert(identity) {
            return true;
        }
        let [high, low] =
            [identity >> 64, identity & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
        self.order.push_back(Seen { high, low, accepted_at_us });
        self.undecided += 1;
        self.forget_while(|_, seen| seen > CAP);
        false
    }

    /// Forgets the oldest as long as this holds for it, and for how many there are.
    fn forget_while(&mut self, is_over: impl Fn(&Seen, usize) -> bool) {
        while self.order.len() > self.undecided
            && let Some(oldest) = self.order.front()
            && is_over(oldest, self.order.len())
        {
            self.known.remove(&oldest.identity());
            self.order.pop_front();
        }
    }

    /// The group was stored, or was not: then its events are to be known no more.
    pub(super) fn decided(&mut self, stored: bool) {
        let undecided = std::mem::take(&mut self.undecided);
        if !stored {
            for seen in self.order.drain(self.order.len() - undecided..) {
                self.known.remove(&seen.identity());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CAP, Window};
    use proptest::prelude::*;
    use std::time::Duration;

    /// A clock that is right now and then.
    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![0..200_i64, Just(i64::MIN), Just(i64::MAX), any::<i64>()]
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_what_came_after_the_last_jump_is_known_and_what_is_over_is_forgotten(
            span in 1..100_u64,
            earlier in proptest::collection::vec((1..20_u128, time(), any::<bool>(), any::<bool>()), 0..60),
            now in time(),
        ) {
            let mut window = Window::new(Duration::from_micros(span)).unwrap();
            for (identity, at, ends_group, stored) in earlier {
                window.is_duplicate(identity, at);
                prop_assert!(window.is_duplicate(identity, at), "sent twice at once");
                if ends_group {
                    window.decided(stored);
                }
                prop_assert_eq!(window.known.len(), window.order.len());
            }
            window.decided(true);
            prop_assert!(!window.is_duplicate(100, now), "what is new is never taken for known");
            window.decided(true);
            let last = now.saturating_add_unsigned(span - 1);
            prop_assert!(window.is_duplicate(100, last), "and then it is known for as long as the window is");
            // Once the clock is past all that it ever said, nothing is left of it.
            let newest = window.order.iter().map(|seen| seen.accepted_at_us).max().unwrap();
            if let Some(later) = newest.checked_add_unsigned(span) {
                prop_assert!(!window.is_duplicate(101, later));
                prop_assert_eq!(window.order.len(), 1);
            }
        }
    }

    #[test]
    fn a_clock_that_was_ahead_for_one_event_does_not_make_the_window_grow_without_bound() {
        let mut window = Window::new(Duration::from_secs(1)).unwrap();
        window.remember(1, i64::MAX);
        for identity in 2..=CAP as u128 + 10 {
            window.remember(identity, i64::try_from(identity).unwrap() * 1_000_000);
        }
        assert!(window.order.len() <= CAP);
        let now = i64::try_from(CAP).unwrap() * 1_000_000 + 11_000_000;
        assert!(!window.is_duplicate(1, now), "what was of the future is forgotten in its turn");
        assert_eq!(window.order.len(), 1, "and then the window is as long as it should be");
    }

    #[test]
    fn without_a_length_there_is_no_window() {
        assert!(Window::new(Duration::ZERO).is_none());
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_duplicate_new() {
        let mut window = Window::new(Duration::from_micros(10)).unwrap();
        assert!(!window.is_duplicate(1, 1_000));
        assert!(window.is_duplicate(1, 0));
        assert!(!window.is_duplicate(2, 0));
        window.decided(true);
        assert!(window.is_duplicate(2, 1_009));
        assert!(!window.is_duplicate(1, 1_010));
    }

    #[test]
    fn a_full_window_forgets_the_oldest_first() {
        let mut window = Window::new(Duration::from_hours(1)).unwrap();
        for identity in 1..=CAP as u128 + 10 {
            window.remember(identity, 0);
        }
        assert_eq!(window.order.len(), CAP);
        assert!(window.is_duplicate(11, 0));
        assert!(!window.is_duplicate(10, 0));
    }

    #[test]
    fn what_was_not_stored_is_not_known() {
        let mut window = Window::new(Duration::from_hours(1)).unwrap();
        window.remember(1, 0);
        assert!(!window.is_duplicate(2, 0));
        window.decided(false);
        assert!(!window.is_duplicate(2, 0));
        window.decided(true);
        assert!(window.is_duplicate(1, 0) && window.is_duplicate(2, 0));
    }
}
