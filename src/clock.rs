//! The only place that reads the time.

use jiff::Timestamp;

/// Now, by the wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
