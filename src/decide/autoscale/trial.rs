//! Whether growth brought anything: what was gained is compared with what was to be expected. Pure.
//!
//! It is judged once every shard that was added has worked for longer than rates look back. A region in which nothing
//! waits any more has what it needs. Less than a tenth of what was expected is no use, and nothing is added for a while;
//! twice as long with each time in a row.

use std::time::Duration;

use jiff::Timestamp;

use super::demand::Demand;
use super::numbers::float;
use crate::fleet::{Hold, Trial, whole_second};

/// Below this share of what was expected, growth is of no use.
const USE: f64 = 0.1;
/// The first time without growth.
const FIRST_HOLD: Duration = Duration::from_mins(15);
/// The longest.
const LAST_HOLD: Duration = Duration::from_hours(4);
/// What could not be judged by then is not judged.
const LATEST: Duration = Duration::from_mins(10);
/// A new shard needs so long to get to work, besides the time that its rates look back.
const WARM_UP: Duration = Duration::from_secs(5);

/// What a growth has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not known yet.
    Open,
    /// It helped, or can be told no more.
    Over,
    /// It was of no use.
    NoUse,
}

/// Judges a growth. `drain` is the time in which a backlog is to be delivered.
pub(super) fn judge(trial: &Trial, demand: &Demand, drain: Duration, now: Timestamp) -> Verdict {
    let age = now.duration_since(trial.at).unsigned_abs();
    if age >= LATEST {
        return Verdict::Over;
    }
    let warm = demand.over + WARM_UP;
    let judgeable = !demand.starting
        && demand.doubts.is_empty()
        && demand.shards.len() >= usize::try_from(trial.to).unwrap_or(usize::MAX)
        && age >= warm
        && demand.shards.iter().all(|shard| shard.uptime >= warm);
    if !judgeable {
        return Verdict::Open;
    }
    // What is worked off within a second is no backlog.
    if demand.backlog <= demand.settled {
        return Verdict::Over;
    }
    let before = float(trial.settled);
    let asked = demand.arrival + demand.backlog / drain.as_secs_f64();
    let possible = before * (f64::from(trial.to) / f64::from(trial.from) - 1.0);
    let expected = possible.min(asked - before);
    if expected > 0.0 && demand.settled - before < USE * expected { Verdict::NoUse } else { Verdict::Over }
}

/// For how long nothing is added after one more growth that was of no use.
pub(super) fn held(before: Option<Hold>, now: Timestamp) -> Hold {
    let times = before.map_or(0, |hold| hold.times).saturating_add(1);
    let wait = FIRST_HOLD.saturating_mul(1 << (times - 1).min(8)).min(LAST_HOLD);
    let until = whole_second(now) + wait;
    Hold { until, times }
}
