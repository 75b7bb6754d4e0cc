//! How quick each sink is at its best: what its answers are held against when it is sent as much as it may be.
//!
//! The best of a span of time and of the one before, so that a sink that has become slower for good is not compared
//! with what it once was.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::reading::Reading;
use super::since;
use crate::fleet::Quickest;

/// One span.
const SPAN: Duration = Duration::from_mins(15);
/// A mean of fewer attempts says little.
const ENOUGH: f64 = 10.0;

/// Takes in a reading, and forgets sinks that are gone.
pub(super) fn learn(known: &mut BTreeMap<String, Quickest>, reading: &Reading<'_>, now: Timestamp) {
    known.retain(|name, _| reading.sinks.iter().any(|sink| sink.intent.name == *name));
    let over = reading.shards.iter().map(|shard| shard.rates.over.as_secs_f64()).fold(0.0, f64::max);
    for sink in &reading.sinks {
        // Refusals are quick: only what is mostly taken tells how long taking takes.
        let time = sink.attempt_time;
        if sink.delivered * over < ENOUGH || sink.failed * 10.0 > sink.delivered || time.is_zero() {
            continue;
        }
        let fresh = Quickest { since: now, now: time, before: None };
        let best = known.entry(sink.intent.name.clone()).or_insert(fresh);
        if since(best.since, now) >= SPAN {
            *best = Quickest { before: Some(best.now), ..fresh };
        }
        best.now = best.now.min(time);
    }
}

/// The better of both spans.
pub(super) fn best(of: &Quickest) -> Duration {
    of.before.map_or(of.now, |before| before.min(of.now))
}
