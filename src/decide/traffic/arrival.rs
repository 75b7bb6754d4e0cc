//! How much arrives at all regions together. Pure.
//!
//! It is held: higher at once, lower only after it was clearly lower for a while. So neither a gap in the reports nor the
//! seconds in which traffic is on its way from one region to another move what is decided by it. A region that was Tripped
//! and cannot be reached says nothing any more; what arrives at the others stands for all, by their shares.

use std::time::Duration;

use signalbox_contract::BreakerPhase;

use super::Situation;
use crate::fleet::{Known, TrafficHistory, round_to_two_digits};

/// What differs by less is the same, in percent.
const MARGIN_PERCENT: u64 = 10;
/// For so long it must have been less: several times what rates look back.
const LESS: Duration = Duration::from_secs(30);

/// What arrives at one region.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::decide) struct Arriving {
    /// Events a second, without what other regions handed over. `None`: not known.
    pub(in crate::decide) per_second: Option<f64>,
    /// Some shard is heard, of which rates will be known in a moment.
    pub(in crate::decide) soon: bool,
}

/// What arrives at all together, to two digits, and what to know of it next time. `spec` are the shares by weights.
pub(super) fn total(situation: &Situation<'_>, spec: &[u32]) -> (Known<u64>, TrafficHistory) {
    let (held, now) = (situation.history.arrival, situation.now);
    let mut history = situation.history.clone();
    let Some(seen) = seen(situation, spec) else {
        let soon = situation.regions.iter().any(|region| region.arriving.soon);
        history.less_since = None;
        let otherwise = if soon { Known::NotYet } else { Known::Unknown };
        return (held.map_or(otherwise, Known::Is), history);
    };
    let arrival = match held {
        Some(held) if seen >= below(held) && seen <= above(held) => {
            history.less_since = None;
            held
        }
        Some(held) if seen < held => {
            // A clock that was set back: it is not known for how long it has been less.
            let since = history.less_since.filter(|since| *since <= now).unwrap_or(now);
            history.less_since = Some(since);
            if now.duration_since(since).unsigned_abs() < LESS { held } else { seen }
        }
        Some(_) | None => seen,
    };
    if held != Some(arrival) {
        (history.arrival, history.less_since) = (Some(arrival), None);
    }
    (Known::Is(arrival), history)
}

fn seen(situation: &Situation<'_>, spec: &[u32]) -> Option<u64> {
    let (mut sum, mut shares, mut all) = (0.0, 0, true);
    for (region, spec) in situation.regions.iter().zip(spec) {
        let share = region.before.unwrap_or(*spec);
        let gone = region.phase == BreakerPhase::Tripped && !region.reachable;
        match region.arriving.per_second.filter(|_| !gone) {
            Some(arriving) => {
                sum += arriving;
                shares += share;
            }
            None => all &= share == 0,
        }
    }
    match () {
        () if all => {}
        () if shares == 0 => return None,
        () => sum *= 1_000.0 / f64::from(shares.min(1_000)),
    }
    Some(round_to_two_digits(whole(sum)))
}

fn below(held: u64) -> u64 {
    held - held / 100 * MARGIN_PERCENT - held % 100 * MARGIN_PERCENT / 100
}

fn above(held: u64) -> u64 {
    held.saturating_add(held - below(held)).saturating_add(1)
}

/// The nearest whole number: 0 for what is below, or no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(rate: f64) -> u64 {
    (rate + 0.5) as u64
}
