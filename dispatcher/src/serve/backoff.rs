//! How long to wait before the next attempt. Pure: randomness is an argument.

use std::time::Duration;

use signalbox_contract::RetryConfig;

/// Longest `Retry-After` that is honoured. A sink that asks for more is asked again after this.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

/// The wait after `failures` failed attempts in a row (at least 1): a point of the upper half of
/// `min(initial × 2^(failures-1), max)`, as the contract's `RetryConfig` has it. `random` is any number; it is
/// reduced to that range. Half is kept so that a wait is never near zero; half is drawn so that lanes that failed
/// together do not come back together.
pub(super) fn wait(retry: &RetryConfig, failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(63);
    let whole = retry.initial_backoff_ms.saturating_mul(1 << doublings).min(retry.max_backoff_ms).max(1);
    let half = whole / 2;
    Duration::from_millis(whole - half + random % (half + 1))
}

#[cfg(test)]
mod tests {
    use super::wait;
    use proptest::prelude::*;
    use signalbox_contract::RetryConfig;

    proptest! {
        #[test]
        fn a_wait_is_in_the_upper_half_of_the_doubled_and_capped_backoff(
            initial in 1..10_000_u64, max in 1..1_000_000_u64, failures in 0..100_u32, random in any::<u64>()
        ) {
            let retry = RetryConfig { initial_backoff_ms: initial, max_backoff_ms: max, max_attempts: None };
            let waited = u64::try_from(wait(&retry, failures, random).as_millis()).unwrap();
            let doubled = u128::from(initial) << failures.saturating_sub(1).min(64);
            let whole = u64::try_from(doubled.min(u128::from(max))).unwrap();
            prop_assert!(waited <= whole && waited >= whole / 2, "{waited} of {whole}");
        }
    }
}
