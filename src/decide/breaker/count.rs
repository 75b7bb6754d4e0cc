//! What has happened in a region since the look before, and over the last windows. Pure.
//!
//! ```text
//! totals of each shard now - totals of then --> one look     looks of the last window --> counts
//! ```
//!
//! Totals are compared within one life of a shard, and only if they were taken in not long ago: what happened over a longer
//! time says nothing of now.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::ShardReport;

use super::since;
use crate::fleet::{
    Attempts, BreakerHistory, BreakerIntent, BreakerLook, Observation, RegionSnapshot, Report, ShardSnapshot,
    ShardTotals,
};

/// A report that is older says nothing about now.
const FRESH: Duration = Duration::from_secs(10);
/// Windows that are remembered.
pub(super) const WINDOWS: u32 = 3;
/// Looks of a window that are kept apart: those that come closer together are one.
const LOOKS: u32 = 10;

/// The report of a shard that is heard: of now, and no further one is missing.
pub(super) fn heard(shard: &ShardSnapshot, now: Timestamp) -> Option<&Report> {
    let Observation::Reading { value, taken_at } = &shard.report else { return None };
    (shard.pod.is_some() && value.trouble.is_none() && since(*taken_at, now) <= FRESH).then_some(value)
}

/// Takes in what a look finds.
pub(super) fn look(history: &mut BreakerHistory, seen: &RegionSnapshot, window: Duration, now: Timestamp) {
    // A clock that was set back: what was seen in the future was not seen.
    history.looks.retain(|look| look.at <= now && since(look.at, now) < window * WINDOWS);
    history.since.retain(|_, at| *at <= now);
    history.delivered.retain(|_, at| *at <= now);
    history.totals.retain(|ordinal, totals| totals.at <= now && seen.shards.contains_key(ordinal));
    let mut found = BreakerLook { at: now, accepted: 0, refused: 0, sinks: BTreeMap::new() };
    for (ordinal, shard) in &seen.shards {
        let Some(report) = heard(shard, now) else { continue };
        let totals = of(&report.shard, now);
        if let Some(before) = history.totals.get(ordinal).filter(|before| is_same_life(before, &totals)) {
            let lately = since(before.at, now);
            if lately <= window / 2 {
                add(&mut found, before, &totals, &report.shard);
            }
            if lately <= window * WINDOWS {
                let moved = report.shard.sinks.iter().zip(before.sinks.iter().zip(&totals.sinks));
                let takes = moved.filter(|(_, (then, now))| now.delivered > then.delivered);
                history.delivered.extend(takes.map(|(sink, _)| (sink.name.clone(), now)));
            }
        }
        history.totals.insert(*ordinal, totals);
    }
    if found.accepted == 0 && found.refused == 0 && found.sinks.is_empty() {
        return;
    }
    match history.looks.last_mut().filter(|last| since(last.at, now) < window / LOOKS) {
        Some(last) => join(last, &found),
        None => history.looks.push(found),
    }
}

fn of(report: &ShardReport, now: Timestamp) -> ShardTotals {
    let sinks = report.sinks.iter().map(|sink| Attempts {
        delivered: sink.delivered_total,
        failed: sink.failed_attempts_total.saturating_sub(sink.throttled_total),
    });
    ShardTotals {
        at: now,
        incarnation: report.incarnation.clone(),
        accepted: report.accepted_total,
        refused: report.refused_total,
        sinks: sinks.collect(),
    }
}

fn is_same_life(before: &ShardTotals, now: &ShardTotals) -> bool {
    before.incarnation == now.incarnation && before.sinks.len() == now.sinks.len()
}

fn add(found: &mut BreakerLook, before: &ShardTotals, now: &ShardTotals, report: &ShardReport) {
    found.accepted = found.accepted.saturating_add(now.accepted.saturating_sub(before.accepted));
    found.refused = found.refused.saturating_add(now.refused.saturating_sub(before.refused));
    for (sink, (then, now)) in report.sinks.iter().zip(before.sinks.iter().zip(&now.sinks)) {
        let moved = Attempts {
            delivered: now.delivered.saturating_sub(then.delivered),
            failed: now.failed.saturating_sub(then.failed),
        };
        if moved.total() > 0 {
            let entry = found.sinks.entry(sink.name.clone()).or_default();
            *entry = entry.and(moved);
        }
    }
}

fn join(last: &mut BreakerLook, found: &BreakerLook) {
    last.accepted = last.accepted.saturating_add(found.accepted);
    last.refused = last.refused.saturating_add(found.refused);
    for (sink, attempts) in &found.sinks {
        let entry = last.sinks.entry(sink.clone()).or_default();
        *entry = entry.and(*attempts);
    }
}

/// The looks of the last `span`, and not of before `from`.
pub(super) fn looks(
    history: &BreakerHistory,
    span: Duration,
    from: Option<Timestamp>,
    now: Timestamp,
) -> impl Iterator<Item = &BreakerLook> {
    let counts = move |look: &&BreakerLook| since(look.at, now) < span && from.is_none_or(|from| look.at > from);
    history.looks.iter().filter(counts)
}

/// Events accepted and requests refused in the looks of the last `span`, and not of before `from`.
pub(super) fn ingest(history: &BreakerHistory, span: Duration, from: Option<Timestamp>, now: Timestamp) -> (u64, u64) {
    looks(history, span, from, now).fold((0, 0), |(accepted, refused): (u64, u64), look| {
        (accepted.saturating_add(look.accepted), refused.saturating_add(look.refused))
    })
}

/// Whether so many are refused that it counts.
pub(super) fn is_refusing(accepted: u64, refused: u64, intent: &BreakerIntent) -> bool {
    let all = accepted.saturating_add(refused);
    all >= intent.minimum_attempts && is_share(refused, all, intent.failure_ratio)
}

/// The attempts at a sink in those looks.
pub(super) fn attempts<'a>(looks: impl Iterator<Item = &'a BreakerLook>, sink: &str) -> Attempts {
    looks.filter_map(|look| look.sinks.get(sink)).fold(Attempts::default(), |sum, attempts| sum.and(*attempts))
}

/// Whether a part is so many percent of a whole, or more. Nothing is no part of nothing.
pub(super) fn is_share(part: u64, whole: u64, percent: u32) -> bool {
    whole > 0 && u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
}

/// Since when this has been found at every look, once more; forgotten if it is not found now.
pub(super) fn lasts(
    history: &mut BreakerHistory,
    what: crate::fleet::Suspicion,
    found: bool,
    now: Timestamp,
) -> Option<Duration> {
    if !found {
        history.since.remove(&what);
        return None;
    }
    let at = *history.since.entry(what).or_insert(now);
    Some(since(at, now))
}
