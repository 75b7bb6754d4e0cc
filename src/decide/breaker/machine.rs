//! One region's breaker. Pure and total: the signs, the time and what is remembered come in, what is to be remembered
//! goes out.
//!
//! | phase | when | becomes |
//! | --- | --- | --- |
//! | Serving | hard evidence, or inferred evidence that has held | Tripped, one trip more |
//! | Serving | anything else | Serving |
//! | Tripped | its time is not over | Tripped |
//! | Tripped | its time is over, nobody is reached there | Tripped |
//! | Tripped | its time is over, a shard is ready and heard | Probing, first step |
//! | Probing | hard evidence, or a row of failures | Tripped, one trip more |
//! | Probing, first step | a large share fails | Tripped, one trip more |
//! | Probing, later step | a large share fails | Probing, one step down |
//! | Probing | clean, and at this step for a window | Probing, one step up |
//! | Probing, last step | clean, and at this step for a window | Serving |
//! | Probing | anything else, also what cannot be told | Probing |
//!
//! A trip lasts `base_trip_time`, doubled for each trip before it that nothing has made up for, up to `max_trip_time`; then
//! something from half of that to the whole, drawn by a hash, so that regions that tripped together do not come back
//! together. Each `max_trip_time` of Serving makes up for one trip.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::since;
use crate::fleet::{BreakerIntent, BreakerMemory, TripCause, whole_second};

/// Trips that are counted at most.
const MOST_TRIPS: u32 = 16;

/// What a look at a region comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Serving: it has to be tripped for this. Probing: it has relapsed, and for this at once.
    pub(super) trip: Option<TripCause>,
    /// Probing: more fails or is refused than should be at this step.
    pub(super) relapse: Option<TripCause>,
    /// Probing: this step went well.
    pub(super) clean: bool,
    /// A shard is ready and heard.
    pub(super) reachable: bool,
}

/// What becomes of a breaker. `draw` is any number, the same for the same region and memory.
pub(super) fn next(
    before: &BreakerMemory,
    signs: Signs,
    intent: &BreakerIntent,
    draw: impl Fn(u32) -> u64,
    now: Timestamp,
) -> BreakerMemory {
    let trip = |cause| tripped(before, cause, intent, &draw, now);
    match before.phase {
        BreakerPhase::Serving => signs.trip.map_or(*before, trip),
        BreakerPhase::Tripped => {
            if comes_back(before, signs.reachable, now) {
                at_step(before, 0, now)
            } else {
                *before
            }
        }
        BreakerPhase::Probing => match (signs.trip, signs.relapse) {
            (Some(cause), _) => trip(cause),
            (None, Some(cause)) if before.step == 0 => trip(cause),
            (None, Some(_)) => at_step(before, before.step - 1, now),
            (None, None) if signs.clean && since(before.since, now) >= intent.window => {
                if before.step >= last_step(intent) {
                    serving(before, now)
                } else {
                    at_step(before, before.step + 1, now)
                }
            }
            (None, None) => *before,
        },
    }
}

/// Whether the time of one that is Tripped is over, and somebody is there.
pub(super) fn comes_back(before: &BreakerMemory, reachable: bool, now: Timestamp) -> bool {
    before.until.is_none_or(|until| until <= now) && reachable
}

/// What is remembered, as far as it can be: a status may say anything, and clocks are set back.
pub(super) fn sane(remembered: &BreakerMemory, intent: &BreakerIntent, now: Timestamp) -> BreakerMemory {
    let mut memory = *remembered;
    memory.trips = memory.trips.min(MOST_TRIPS);
    if memory.since > now {
        memory.since = whole_second(now);
    }
    match memory.phase {
        BreakerPhase::Serving => (memory.until, memory.step, memory.cause) = (None, 0, None),
        BreakerPhase::Tripped => {
            memory.step = 0;
            memory.cause.get_or_insert(TripCause::Unreachable);
            // A trip without an end is over: a status that says none would be taken for no trip at all.
            memory.until.get_or_insert(memory.since);
            // No trip lasts longer. How long somebody's will does is theirs to say.
            if memory.cause.is_some_and(|cause| !cause.is_manual()) {
                let longest = after(now, intent.max_trip_time);
                memory.until = memory.until.map(|until| until.min(longest));
            }
        }
        BreakerPhase::Probing => {
            memory.step = memory.step.min(last_step(intent));
            memory.cause.get_or_insert(TripCause::Unreachable);
        }
    }
    memory
}

/// Probing, at this step from now on.
pub(super) fn at_step(before: &BreakerMemory, step: u32, now: Timestamp) -> BreakerMemory {
    let (phase, since) = (BreakerPhase::Probing, whole_second(now));
    BreakerMemory { phase, since, until: None, step, ..*before }
}

/// Serving from now on.
pub(super) fn serving(before: &BreakerMemory, now: Timestamp) -> BreakerMemory {
    BreakerMemory { trips: before.trips, ..BreakerMemory::serving(whole_second(now)) }
}

fn tripped(
    before: &BreakerMemory,
    cause: TripCause,
    intent: &BreakerIntent,
    draw: impl Fn(u32) -> u64,
    now: Timestamp,
) -> BreakerMemory {
    let trips = unmade(before, intent, now);
    let doubled = intent.base_trip_time.saturating_mul(1 << trips.min(MOST_TRIPS));
    let whole = doubled.min(intent.max_trip_time).max(Duration::from_secs(1));
    let half_ms = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
    let lasts = Duration::from_millis(half_ms + draw(trips) % (half_ms + 1));
    BreakerMemory {
        phase: BreakerPhase::Tripped,
        since: whole_second(now),
        until: Some(after(now, lasts)),
        step: 0,
        trips: trips.saturating_add(1).min(MOST_TRIPS),
        cause: Some(cause),
    }
}

/// The trips that nothing has made up for.
fn unmade(before: &BreakerMemory, intent: &BreakerIntent, now: Timestamp) -> u32 {
    if before.phase != BreakerPhase::Serving {
        return before.trips;
    }
    let makes_up = intent.max_trip_time.as_secs().max(1);
    let made = u32::try_from(since(before.since, now).as_secs() / makes_up).unwrap_or(u32::MAX);
    before.trips.saturating_sub(made)
}

/// The end of a span, to the second that is not before it.
fn after(now: Timestamp, span: Duration) -> Timestamp {
    // A time that no calendar has: as late as can be said.
    let end = now.checked_add(span).unwrap_or(Timestamp::MAX);
    let whole = whole_second(end);
    if whole == end { end } else { whole.checked_add(Duration::from_secs(1)).unwrap_or(whole) }
}

fn last_step(intent: &BreakerIntent) -> u32 {
    u32::try_from(intent.ramp.len().saturating_sub(1)).unwrap_or(u32::MAX)
}
