//! How long something has been so, in all. Pure: time is an argument. May import nothing of this crate.

use std::time::{Duration, Instant};

/// Adds up the time in which something is so.
///
/// **Invariant:** [`Stopwatch::total`] never gets less while the time it is asked for does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stopwatch {
    total: Duration,
    since: Option<Instant>,
}

impl Stopwatch {
    /// From now on it is so since `since`, which may be yet to come, or not so. What is so already goes on being so
    /// without a gap.
    pub(super) fn set(&mut self, since: Option<Instant>, now: Instant) {
        if self.runs(now) && since.is_some_and(|since| since <= now) {
            return;
        }
        self.total = self.total(now);
        self.since = since.map(|since| since.max(now));
    }

    /// How long it has been so until `now`.
    pub(super) fn total(&self, now: Instant) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether it is so.
    pub(super) fn runs(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| since <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::Stopwatch;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    #[test]
    fn time_counts_from_its_beginning_to_its_end_and_what_goes_on_has_no_gap() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Stopwatch::default();
        assert_eq!(watch.total(at(5)), Duration::ZERO);
        watch.set(Some(at(10)), at(10));
        watch.set(Some(at(20)), at(20));
        assert_eq!(watch.total(at(25)), Duration::from_millis(15), "what goes on is counted before it ends");
        watch.set(None, at(30));
        watch.set(None, at(40));
        assert_eq!(watch.total(at(50)), Duration::from_millis(20));
    }

    #[test]
    fn what_begins_later_counts_from_then() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Stopwatch::default();
        watch.set(Some(at(100)), at(0));
        assert_eq!((watch.total(at(60)), watch.total(at(130))), (Duration::ZERO, Duration::from_millis(30)));
        watch.set(None, at(90));
        assert_eq!(watch.total(at(200)), Duration::ZERO, "it never came to be so");
    }

    proptest! {
        #[test]
        fn it_counts_each_millisecond_in_which_it_is_so(
            steps in proptest::collection::vec((1..20_u64, proptest::option::of(0..30_u64)), 1..50),
        ) {
            let start = Instant::now();
            let (mut watch, mut ms, mut so, mut expected) = (Stopwatch::default(), 0, None::<u64>, 0);
            for (passes, since) in steps {
                let since = since.map(|ahead| ms + ahead);
                // It goes on being so if it is, else from when it is said to.
                so = match (so, since) {
                    (Some(old), Some(new)) if old <= ms && new <= ms => Some(old),
                    (_, new) => new,
                };
                watch.set(since.map(|ms| start + Duration::from_millis(ms)), start + Duration::from_millis(ms));
                for _ in 0..passes {
                    expected += u64::from(so.is_some_and(|so| so <= ms));
                    ms += 1;
                }
                prop_assert_eq!(watch.total(start + Duration::from_millis(ms)), Duration::from_millis(expected));
            }
        }
    }
}
