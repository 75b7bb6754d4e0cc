//! Random numbers that need not be secret: jitter, names of runs, made-up failures.
//!
//! `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014), seeded by what the
//! standard library seeds its hash maps with.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

static STATE: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish()));

/// From one state to the next.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The next number, uniform over all of `u64`.
pub(crate) fn next() -> u64 {
    mixed(STATE.fetch_add(STEP, Ordering::Relaxed))
}

/// The next number of a row of its own, which a seed begins.
#[cfg(test)]
pub(crate) fn next_of(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    mixed(*state)
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The next number, uniform from 0 to below 1.
pub(crate) fn fraction() -> f64 {
    // 32 bits are exact in an f64, and fine enough.
    f64::from(u32::try_from(next() >> 32).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}
