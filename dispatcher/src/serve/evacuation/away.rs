//! Which slots are closed because another region delivers them, and which of them may be given to it. Pure. May import
//! `slots`.
//!
//! ```text
//! wanted --close_next--> closing --no attempt is under way--> quiet: may be given
//!    ^                                                        |
//!    '---- not wanted any more, and nothing of it on its way --'--open_next--> delivered here
//! ```

use crate::serve::slots::SlotSet;

/// See the documentation of this file.
#[derive(Debug, Default)]
pub(super) struct Away {
    wanted: SlotSet,
    closing: Option<SlotSet>,
    quiet: SlotSet,
}

impl Away {
    /// These are closed from the start, before anything was delivered.
    pub(super) fn new(closed: &SlotSet) -> Self {
        Self { wanted: *closed, closing: None, quiet: *closed }
    }

    /// These are to be another region's from now on, and no others.
    pub(super) fn want(&mut self, slots: &SlotSet) {
        self.wanted = *slots;
    }

    /// What to close now. Nothing while something is being closed.
    pub(super) fn close_next(&mut self) -> Option<SlotSet> {
        let slots = self.wanted.without(&self.quiet);
        if self.closing.is_some() || slots.is_empty() {
            return None;
        }
        self.closing = Some(slots);
        self.closing
    }

    /// No attempt is under way of what was being closed.
    pub(super) fn closed(&mut self) {
        self.quiet = self.quiet.union(&self.closing.take().unwrap_or_default());
    }

    /// What to deliver here again: of `flying` something is on its way to another region.
    pub(super) fn open_next(&mut self, flying: &SlotSet) -> SlotSet {
        let slots = self.quiet.without(&self.wanted).without(flying);
        self.quiet = self.quiet.without(&slots);
        slots
    }

    /// Those that may be given.
    pub(super) fn givable(&self) -> SlotSet {
        self.quiet.common(&self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::Away;
    use crate::serve::slots::SlotSet;
    use proptest::prelude::*;

    fn slots(all: &[usize]) -> SlotSet {
        all.iter().copied().collect()
    }

    #[test]
    fn a_slot_is_given_only_when_no_attempt_is_under_way_and_opened_only_when_nothing_is_on_its_way() {
        let mut away = Away::default();
        away.want(&slots(&[1, 2]));
        assert_eq!((away.close_next(), away.close_next()), (Some(slots(&[1, 2])), None));
        away.want(&slots(&[2, 3]));
        assert_eq!((away.close_next(), away.givable()), (None, slots(&[])));
        assert_eq!(away.open_next(&slots(&[])), slots(&[]), "it is not closed yet");
        away.closed();
        assert_eq!((away.givable(), away.close_next()), (slots(&[2]), Some(slots(&[3]))));
        assert_eq!(away.open_next(&slots(&[1])), slots(&[]));
        assert_eq!(away.open_next(&slots(&[])), slots(&[1]));
        away.want(&slots(&[]));
        assert_eq!(away.open_next(&slots(&[])), slots(&[2]));
        away.closed();
        assert_eq!(away.open_next(&slots(&[])), slots(&[3]));
    }

    proptest! {
        #[test]
        fn whatever_is_wanted_in_the_end_is_so(
            steps in proptest::collection::vec((0..4_u8, 0..64_u64, 0..64_u64), 1..40),
            last in 0..64_u64,
        ) {
            let set = |bits: u64| (0..6).filter(|bit| bits >> bit & 1 == 1).collect::<SlotSet>();
            let (mut away, mut shut) = (Away::default(), SlotSet::default());
            for (what, bits, flying) in steps {
                match what {
                    0 => away.want(&set(bits)),
                    1 => shut = shut.union(&away.close_next().unwrap_or_default()),
                    2 => away.closed(),
                    _ => {
                        let flying = set(flying).common(&away.quiet);
                        let opened = away.open_next(&flying);
                        prop_assert!(opened.without(&shut).is_empty() && opened.common(&flying).is_empty());
                        shut = shut.without(&opened);
                    }
                }
                prop_assert!(away.givable().without(&shut).is_empty(), "given and delivered here");
            }
            away.want(&set(last));
            for _ in 0..2 {
                away.closed();
                shut = shut.without(&away.open_next(&SlotSet::default()));
                shut = shut.union(&away.close_next().unwrap_or_default());
            }
            away.closed();
            prop_assert_eq!((shut, away.givable()), (set(last), set(last)));
        }
    }
}
