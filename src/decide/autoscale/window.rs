//! The stabilisation window: shards go down to the largest size that was called for in it. Pure.
//!
//! It remembers only sizes that fell out of use: each size above the one called for now, with when it was last called
//! for. A region whose size suits its load has nothing to remember, so nothing is written for it. Times are rounded up
//! to a tenth of the window: a load that flutters between two sizes is written down once in that time, and a window lasts
//! up to a tenth longer than the spec says, never shorter.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::fleet::{Called, WINDOW_ENTRIES};

/// The size after `called` was called for, where `wanted` was wanted before and is not less; and what to remember.
pub(super) fn stabilized(
    window: &[Called],
    wanted: u32,
    called: u32,
    span: Duration,
    now: Timestamp,
) -> (u32, Vec<Called>) {
    if called >= wanted && !is_covered(window, called, now) {
        return (wanted, Vec::new());
    }
    if span.is_zero() {
        return (called.min(wanted), Vec::new());
    }
    let mut entries = window.to_vec();
    if !is_covered(window, called, now) {
        call(&mut entries, wanted, called, stamp(now, span));
    }
    let passed = |entry: &Called| entry.until.is_some_and(|until| now.duration_since(until) >= signed(span));
    entries.retain(|entry| !passed(entry));
    let size = entries.first().map_or(called, |entry| entry.shards).min(wanted);
    if entries.first().is_some_and(|entry| entry.until.is_none()) {
        entries.clear();
    }
    (size, entries)
}

/// Whether a larger size is on record for a time that is still to come: then there is nothing to note.
fn is_covered(window: &[Called], called: u32, now: Timestamp) -> bool {
    let lowest = window.last().filter(|entry| entry.until.is_none()).map_or(u32::MAX, |entry| entry.shards);
    called >= lowest
        && window.iter().any(|entry| entry.shards >= called && entry.until.is_some_and(|until| until >= now))
}

fn call(entries: &mut Vec<Called>, wanted: u32, called: u32, until: Timestamp) {
    if entries.is_empty() {
        entries.push(Called { shards: wanted, until: Some(until) });
    }
    if let Some(last) = entries.last_mut().filter(|last| last.until.is_none() && last.shards > called) {
        last.until = Some(until);
    }
    while entries.last().is_some_and(|last| last.shards <= called) {
        entries.pop();
    }
    entries.push(Called { shards: called, until: None });
    while entries.len() > WINDOW_ENTRIES {
        // The larger size until the later time: never too few.
        let next = entries.remove(2);
        if let Some(joined) = entries.get_mut(1) {
            joined.until = next.until;
        }
    }
}

/// Rounded up to a tenth of the window, in whole seconds.
fn stamp(now: Timestamp, span: Duration) -> Timestamp {
    let step = i64::try_from(span.as_secs() / 10).unwrap_or(i64::MAX).max(1);
    let rounded = (now.as_second() / step).saturating_add(1).saturating_mul(step);
    Timestamp::from_second(rounded).unwrap_or(now)
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}
