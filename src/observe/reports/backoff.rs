//! How long to wait before a shard is connected to again: longer each time, up to a limit, and never all at once.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// The first wait: a shard that restarts is back in a second.
const FIRST: Duration = Duration::from_millis(250);
/// The longest, so that a shard that is back is heard soon.
const LAST: Duration = Duration::from_secs(2);

/// The waits between attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait: between half of the exponential one and the whole.
    pub(super) fn next(&mut self) -> Duration {
        self.wait(fraction())
    }

    /// `fraction` is from 0 to 1.
    fn wait(&mut self, fraction: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        whole / 2 + (whole / 2).mul_f64(fraction)
    }

    /// It went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// From 0 to 1, drawn by what the standard library seeds its maps with: it need not be secret, only different.
pub(super) fn fraction() -> f64 {
    let drawn = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(drawn >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..6).map(|_| backoff.wait(1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 2000, 2000]);
        backoff.reset();
        assert_eq!(backoff.wait(0.0).as_millis(), 125);
    }
}
