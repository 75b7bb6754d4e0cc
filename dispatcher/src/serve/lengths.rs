//! How long the longest lane is, without looking at them all. Pure. May import nothing of this crate.

/// How many lanes there are of each length. Lanes change by one event at a time, so the longest is always at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lengths {
    /// By length, less one. The last is never 0.
    lanes: Vec<usize>,
}

impl Lengths {
    /// A lane has one event more: so many now.
    pub(super) fn grown(&mut self, length: usize) {
        if self.lanes.len() < length {
            self.lanes.resize(length, 0);
        }
        self.change(length, 1);
        self.change(length.saturating_sub(1), -1);
    }

    /// A lane has one event less: so many now.
    pub(super) fn shrunk(&mut self, length: usize) {
        self.change(length, 1);
        self.change(length + 1, -1);
        while self.lanes.last() == Some(&0) {
            self.lanes.pop();
        }
    }

    /// The events of the longest lane.
    pub(super) fn largest(&self) -> usize {
        self.lanes.len()
    }

    fn change(&mut self, length: usize, by: isize) {
        if let Some(lanes) = length.checked_sub(1).and_then(|at| self.lanes.get_mut(at)) {
            *lanes = lanes.saturating_add_signed(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lengths;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_longest_is_known_whatever_grows_and_shrinks(
            steps in proptest::collection::vec((0..5_usize, any::<bool>()), 0..200),
        ) {
            let (mut lengths, mut lanes) = (Lengths::default(), [0_usize; 5]);
            for (lane, grows) in steps {
                if grows {
                    lanes[lane] += 1;
                    lengths.grown(lanes[lane]);
                } else if lanes[lane] > 0 {
                    lanes[lane] -= 1;
                    lengths.shrunk(lanes[lane]);
                }
                prop_assert_eq!(lengths.largest(), lanes.into_iter().max().unwrap());
            }
        }
    }
}
