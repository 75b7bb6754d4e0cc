//! When a backlog runs into its limit, or the time in which it would be delivered into the one that is wanted.
//!
//! From the last ten minutes of what was seen. A forecast is told once the slope has been clear for three minutes, and
//! taken back once it has not been so for three. Its time is told to the minute, to five when it is far off, and told anew
//! only when it has moved by more than that: otherwise it would be another one with every look.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reading::{Reading, Shard};
use super::{since, trend};
use crate::fleet::{FleetIntent, Foretold, Known, Point, RegionHistory, Saturates, Saturation};

/// Most points that are remembered.
pub(super) const MOST_POINTS: usize = 30;
/// One point each.
const STEP: Duration = Duration::from_secs(20);
/// How far back they go.
const WINDOW: Duration = Duration::from_mins(10);
/// So many points make a slope.
const ENOUGH: usize = 12;
/// What is further off may be far off for other reasons.
const HORIZON: Duration = Duration::from_hours(1);
/// A forecast is told when it has stood for so long.
const STANDS: Duration = Duration::from_mins(3);
/// And taken back when it has not for so long.
const FADES: Duration = Duration::from_mins(3);
/// A process that has just begun says nothing for so long.
const PATIENCE: Duration = Duration::from_mins(8);
/// Nearly full is full.
const FULL: f64 = 0.99;

/// Takes in a reading, and tells what is foretold.
pub(super) fn look(
    history: &mut RegionHistory,
    intent: &FleetIntent,
    reading: &Reading<'_>,
    now: Timestamp,
) -> Known<Option<Saturation>> {
    remember(history, intent, reading, now);
    let seen = foresee(&history.points, intent.scaling.target_drain, now);
    history.foretold = stand(history.foretold.take(), seen, now);
    if let Some(Foretold { saturation, said: true, .. }) = &history.foretold {
        return Known::Is(Some(saturation.clone()));
    }
    let early = history.since.is_none_or(|began| since(began, now) < PATIENCE);
    let last = history.points.last().filter(|last| since(last.at, now) <= 3 * STEP);
    match last {
        // What is empty runs into nothing.
        Some(last) if last.filled_ppm == 0 => Known::Is(None),
        // What may be foretold in a moment is not ruled out.
        Some(_) if (history.points.len() >= ENOUGH && history.foretold.is_none()) || !early => Known::Is(None),
        None if !early => Known::Unknown,
        _ => Known::NotYet,
    }
}

/// A point, if one is due and all shards are known: one that is silent may be the fullest.
fn remember(history: &mut RegionHistory, intent: &FleetIntent, reading: &Reading<'_>, now: Timestamp) {
    history.points.retain(|point| point.at <= now && since(point.at, now) <= WINDOW);
    let due = history.points.last().is_none_or(|last| since(last.at, now) >= STEP);
    if !due || reading.unknown > 0 || reading.shards.is_empty() {
        return;
    }
    if history.points.len() >= MOST_POINTS {
        history.points.remove(0);
    }
    let filled = reading.shards.iter().map(|shard| filled(intent, shard)).fold(0.0, f64::max);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 2 million")]
    let filled_ppm = (filled.clamp(0.0, 2.0) * 1e6) as u32;
    #[allow(clippy::cast_precision_loss, reason = "a ratio of counts")]
    let backlog = reading.sum(|shard| shard.report.backlog_events as f64);
    let drain = Duration::try_from_secs_f64(backlog / reading.sum(|shard| shard.rates.settled)).ok();
    history.points.push(Point { at: now, filled_ppm, drain });
}

/// How far a shard is to the nearest of its limits, where 1 is there.
fn filled(intent: &FleetIntent, shard: &Shard<'_>) -> f64 {
    let queue = &intent.queue;
    #[allow(clippy::cast_precision_loss, reason = "a ratio of counts")]
    let part = |of: u64, limit: u64| of as f64 / limit.max(1) as f64;
    let bytes = part(shard.report.backlog_bytes, queue.backlog_limit_bytes());
    let events = queue.limit_events.map_or(0.0, |limit| part(shard.report.backlog_events, limit));
    let age = queue
        .limit_age
        .zip(shard.report.oldest_event_age_ms)
        .map_or(0.0, |(limit, age)| part(age, u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)));
    bytes.max(events).max(age)
}

/// What these points run into first, and when.
fn foresee(points: &[Point], drain_target: Duration, now: Timestamp) -> Option<Saturation> {
    let seconds = |point: &Point| -since(point.at, now).as_secs_f64();
    let fill: Vec<_> = points.iter().map(|point| (seconds(point), f64::from(point.filled_ppm) / 1e6)).collect();
    let &(_, last) = fill.last()?;
    if last >= FULL {
        return Some(Saturation { into: Saturates::BacklogLimit, at: now, percent: percent(last) });
    }
    let target = drain_target.as_secs_f64();
    let drain = points.iter().filter_map(|point| Some((seconds(point), point.drain?.as_secs_f64() / target)));
    let drain: Vec<_> = drain.collect();
    let limit = crossing(&fill).map(|crossing| (Saturates::BacklogLimit, crossing));
    let target = crossing(&drain).map(|crossing| (Saturates::DrainTarget, crossing));
    let (into, (left, level)) = [limit, target].into_iter().flatten().min_by_key(|(_, (left, _))| *left)?;
    let at = now.checked_add(SignedDuration::try_from(left).ok()?).ok()?;
    Some(Saturation { into, at, percent: percent(level) })
}

fn percent(part: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 200")]
    let percent = (part * 100.0).clamp(0.0, 200.0) as u32;
    percent
}

/// In which time a series reaches 1, if it is below, rises, and does so within the horizon; and how far it is.
fn crossing(series: &[(f64, f64)]) -> Option<(Duration, f64)> {
    if series.len() < ENOUGH {
        return None;
    }
    let rise = trend::rise(series).filter(|rise| rise.level < 1.0)?;
    let &(end, _) = series.last()?;
    let left = (1.0 - rise.level) / rise.slope + end;
    let left = Duration::try_from_secs_f64(left.max(0.0)).ok().filter(|left| *left <= HORIZON)?;
    Some((left, rise.level))
}

/// What is foretold after one more look.
fn stand(before: Option<Foretold>, seen: Option<Saturation>, now: Timestamp) -> Option<Foretold> {
    match (before, seen) {
        (None, Some(seen)) => {
            // What is there already needs no proof.
            let there = seen.at <= now;
            Some(Foretold { saturation: rounded(&seen, now), said: there, at: now })
        }
        (Some(before), None) if before.said => {
            // `at` is when it was seen last.
            (since(before.at, now) < FADES).then_some(before)
        }
        (_, None) => None,
        (Some(before), Some(seen)) if before.said => {
            let saturation =
                if moved(&before.saturation, &seen, now) { rounded(&seen, now) } else { before.saturation };
            Some(Foretold { saturation, said: true, at: now })
        }
        (Some(before), Some(seen)) => {
            let said = since(before.at, now) >= STANDS || seen.at <= now;
            let at = if said { now } else { before.at };
            Some(Foretold { saturation: rounded(&seen, now), said, at })
        }
    }
}

/// Whether something else has to be told: another limit, that it is there, or a time that is off by two minutes and by
/// a quarter of what is left.
fn moved(told: &Saturation, seen: &Saturation, now: Timestamp) -> bool {
    let off = seen.at.duration_since(told.at).unsigned_abs();
    let there = |saturation: &Saturation| saturation.at <= now;
    let both_there = there(told) && there(seen);
    told.into != seen.into
        || (!both_there && off > Duration::from_mins(2).max(since(now, seen.at) / 4))
        || there(seen) && !there(told)
}

/// To the minute, or to five when it is more than twenty off.
fn rounded(saturation: &Saturation, now: Timestamp) -> Saturation {
    let step = if since(now, saturation.at) > Duration::from_mins(20) { 300 } else { 60 };
    let second = saturation.at.as_second();
    let at = Timestamp::from_second(second - second.rem_euclid(step)).unwrap_or(saturation.at);
    Saturation { at, ..saturation.clone() }
}
