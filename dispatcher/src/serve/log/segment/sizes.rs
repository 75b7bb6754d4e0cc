//! How large segments are, and how many are kept ready. Pure.
//!
//! Segments begin small and double, so that a log that nothing is appended to takes little, and one that is busy
//! seldom has to go on in another. They do not become smaller again, but on a disk that is full.

/// The sizes that segments have: the smallest, twice that, and so on to the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) smallest: u32,
    /// The smallest, doubled some times.
    pub(super) largest: u32,
}

impl Sizes {
    /// The size of the segment that follows one of `size`.
    pub(super) fn after(self, size: u32) -> u32 {
        let twice = self.at_least(u64::from(size) + 1);
        u32::try_from(twice).map_or(self.largest, |twice| twice.min(self.largest))
    }

    /// The size for so many bytes. More than the largest only if it has to be.
    pub(super) fn at_least(self, bytes: u64) -> u64 {
        let mut size = u64::from(self.smallest);
        while size < bytes && size < u64::from(self.largest) {
            size *= 2;
        }
        size.max(bytes)
    }

    /// Whether a file of this size can be used again for any segment.
    pub(super) fn has(self, size: u32) -> bool {
        size <= self.largest && self.at_least(u64::from(size)) == u64::from(size)
    }

    /// How many files are to be ready while a segment of `size` is written to, and full up to `tail`.
    pub(super) fn spares(self, size: u32, tail: u32) -> usize {
        if size <= self.smallest && tail < size / 4 {
            return 0;
        }
        // One to go on with. At the end of the growth also one to copy leftovers to: before, it would soon be too
        // small.
        if size < self.largest { 1 } else { MOST_SPARES }
    }
}

/// Most files that are kept ready.
pub(super) const MOST_SPARES: usize = 2;

#[cfg(test)]
mod tests {
    use super::Sizes;

    const SIZES: Sizes = Sizes { smallest: 4, largest: 64 };

    #[test]
    fn segments_double_up_to_the_largest() {
        let grown: Vec<u32> = std::iter::successors(Some(4), |&size| Some(SIZES.after(size))).take(7).collect();
        assert_eq!(grown, [4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(SIZES.after(0), 4);
        assert_eq!(SIZES.after(5), 8);
        assert_eq!(SIZES.after(100), 64, "after one for a large group");
        assert_eq!(SIZES.after(u32::MAX), 64);
        assert_eq!(Sizes { smallest: 8, largest: 8 }.after(8), 8);
    }

    #[test]
    fn a_large_group_gets_the_next_size_that_holds_it_or_its_own() {
        let sizes = [0, 4, 5, 33, 64, 65, u64::MAX].map(|bytes| SIZES.at_least(bytes));
        assert_eq!(sizes, [4, 4, 8, 64, 64, 65, u64::MAX]);
        assert_eq!(
            [0, 3, 4, 6, 64, 65, 128].map(|size| SIZES.has(size)),
            [false, false, true, false, true, false, false]
        );
    }

    #[test]
    fn nothing_is_prepared_before_a_quarter_of_the_first_segment_is_full() {
        let sizes = Sizes { smallest: 400, largest: 1600 };
        assert_eq!([0, 99, 100, 400].map(|tail| sizes.spares(400, tail)), [0, 0, 1, 1]);
        assert_eq!([sizes.spares(800, 0), sizes.spares(1600, 0), sizes.spares(9999, 0)], [1, 2, 2]);
    }
}
