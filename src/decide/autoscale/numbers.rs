//! Between counts and rates. Pure.

/// The nearest whole number: 0 for what is below, or no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(super) fn whole(rate: f64) -> u64 {
    (rate + 0.5) as u64
}

/// A count to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts are looked at to two digits")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
