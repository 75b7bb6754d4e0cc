//! Wall-clock time in microseconds, for what must mean the same after a restart. Everything that only measures a
//! span within this process uses `Instant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// From `then` to `now`, and nothing when the clock was set back in between.
pub(super) fn since(then_us: i64, now_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(now_us.saturating_sub(then_us)).unwrap_or(0))
}
