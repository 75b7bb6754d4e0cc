//! What is seen of regions once a second, and what it says: who had more than it could settle, and when waits were as before.
//! Pure.

use std::collections::BTreeMap;

use serde::Serialize;

/// What is looked at at once, in seconds: enough events for a quantile, and little enough to tell when it was.
const WINDOW: f64 = 3.0;
/// Waits are as before up to so much more than before: by a factor, and in milliseconds.
const BAND: (f64, f64) = (1.5, 50.0);

/// The most that waits may be before the fault, in milliseconds: with more, regions were not at rest.
const AT_REST_MS: f64 = 1_000.0;

/// What is seen of one region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// How long all events took that have arrived at its sink, in microseconds, and how many did.
    pub(crate) latencies: Vec<(u64, u64)>,
    /// Events that wait in it.
    pub(crate) backlog: u64,
    /// Shards that are ready.
    pub(crate) ready: u32,
}

/// What is seen of the regions that stay.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Seconds since the fault; less than nothing before it.
    pub(crate) at: f64,
    /// The regions, always in the same order.
    pub(crate) regions: Vec<Seen>,
}

/// What became of the regions that stay.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Judged {
    /// From the fault until waits were as before for good; nothing if they were not.
    pub(crate) normal: Option<f64>,
    /// The quantile of waits before the fault, in milliseconds.
    pub(crate) before_ms: f64,
    /// The worst of them after it.
    pub(crate) worst_ms: f64,
    /// The most that arrived at a region, of what its ready shards can settle.
    pub(crate) busiest: f64,
    /// Seconds in which more arrived at a region than that, of the region that has most of them.
    pub(crate) above_seconds: f64,
    /// How it went, before the fault too.
    pub(crate) course: Vec<Moment>,
}

/// What is seen in one look, of what it is told of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moment {
    /// Seconds since the fault; less than nothing before it.
    pub(crate) at: f64,
    /// The quantile of waits, in milliseconds; nothing if nothing arrived.
    pub(crate) p99_ms: Option<f64>,
    /// What arrived at each region, of what its ready shards can settle.
    pub(crate) busy: Vec<f64>,
    /// Events that wait in each region.
    pub(crate) backlog: Vec<u64>,
    /// Shards of each region that are ready.
    pub(crate) ready: Vec<u32>,
}

/// Judges looks from some time before the fault to some time after it, at shards that settle so many events a second.
/// Nothing if there are no events before or after it.
pub(crate) fn judge(looks: &[Look], per_shard: f64) -> Option<Judged> {
    let first = looks.first()?;
    let fault = looks.iter().rposition(|look| look.at <= 0.0)?;
    let before_ms = p99(first, &looks[fault])?;
    let band = before_ms * BAND.0 + BAND.1;
    let (mut last_bad, mut worst_ms, mut busiest) = (0.0_f64, before_ms, 0.0_f64);
    let mut above = vec![0.0; first.regions.len()];
    let mut course = Vec::new();
    let last = looks.last().filter(|last| last.at > WINDOW)?;
    for (index, look) in looks.iter().enumerate() {
        let Some(begin) = looks[..index].iter().rposition(|earlier| earlier.at <= look.at - WINDOW) else { continue };
        let found = p99(&looks[begin], look);
        let busy: Vec<f64> = (0..above.len()).map(|region| busy(&looks[begin..=index], region, per_shard)).collect();
        if index > fault {
            worst_ms = worst_ms.max(found.unwrap_or(0.0));
            // Nothing that arrives is not as before either.
            if found.is_none_or(|found| found > band) {
                last_bad = look.at;
            }
            for (ratio, above) in busy.iter().zip(&mut above) {
                busiest = busiest.max(*ratio);
                *above += if *ratio > 1.0 { look.at - looks[index - 1].at } else { 0.0 };
            }
        }
        let (backlog, ready) = look.regions.iter().map(|seen| (seen.backlog, seen.ready)).unzip();
        course.push(Moment { at: look.at, p99_ms: found, busy, backlog, ready });
    }
    // Regions that had more than they could do already say nothing of what a loss does to them.
    let normal = (last_bad < last.at - WINDOW && before_ms <= AT_REST_MS).then_some(last_bad);
    let above_seconds = above.into_iter().fold(0.0, f64::max);
    Some(Judged { normal, before_ms, worst_ms, busiest, above_seconds, course })
}

/// How long 99 of 100 of the events took at most that arrived between two looks, in milliseconds.
fn p99(before: &Look, after: &Look) -> Option<f64> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for (before, after) in before.regions.iter().zip(&after.regions) {
        let known: BTreeMap<u64, u64> = before.latencies.iter().copied().collect();
        for &(us, count) in &after.latencies {
            *counts.entry(us).or_default() += count.saturating_sub(known.get(&us).copied().unwrap_or(0));
        }
    }
    let all: u64 = counts.values().sum();
    let mut rest = all - all * 99 / 100;
    counts.into_iter().rev().find_map(|(us, count)| {
        let beyond = rest > count;
        rest = rest.saturating_sub(count);
        (!beyond && count > 0).then(|| float(us) / 1_000.0)
    })
}

/// What arrived at a region between the first and the last look, of what its ready shards could settle meanwhile.
fn busy(looks: &[Look], region: usize, per_shard: f64) -> f64 {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return 0.0 };
    let arrived = |look: &Look| {
        let Seen { latencies, backlog, .. } = &look.regions[region];
        latencies.iter().map(|(_, count)| count).sum::<u64>() + backlog
    };
    let could: f64 = looks
        .windows(2)
        .map(|pair| f64::from(pair[0].regions[region].ready) * per_shard * (pair[1].at - pair[0].at))
        .sum();
    float(arrived(last).saturating_sub(arrived(first))) / could.max(f64::MIN_POSITIVE)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds and counts of events stay far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second; each second so many events arrive that take so long, at a region with so many shards.
    fn looks(from: i32, seconds: &[(u64, u64, u32)]) -> Vec<Look> {
        let mut latencies: BTreeMap<u64, u64> = BTreeMap::new();
        let mut all = vec![];
        for (at, &(events, us, ready)) in (from..).zip(seconds) {
            *latencies.entry(us).or_default() += events;
            let latencies = latencies.clone().into_iter().collect();
            all.push(Look { at: f64::from(at), regions: vec![Seen { latencies, backlog: 0, ready }] });
        }
        all
    }

    #[test]
    fn waits_are_as_before_when_the_last_bad_second_has_left_the_window() {
        let mut seconds = vec![(80, 100_000, 2); 11];
        seconds.extend([(120, 4_000_000, 2); 5]);
        seconds.extend([(120, 100_000, 3); 15]);
        let judged = judge(&looks(-10, &seconds), 50.0).unwrap();
        // The bad ones arrive in seconds 1 to 5; what is looked at at second 7 still has some of them.
        assert_eq!(judged.normal, Some(7.0));
        assert!((judged.before_ms - 100.0).abs() < 0.1 && (judged.worst_ms - 4_000.0).abs() < 0.1, "{judged:?}");
        assert!((judged.busiest - 1.2).abs() < 0.01 && judged.above_seconds > 4.0, "{judged:?}");
    }

    #[test]
    fn what_stays_bad_or_was_bad_before_or_what_nothing_arrives_of_is_never_as_before() {
        let mut seconds = vec![(80, 100_000, 2); 11];
        seconds.extend([(80, 400_000, 2); 20]);
        assert_eq!(judge(&looks(-10, &seconds), 50.0).unwrap().normal, None);
        let mut seconds = vec![(80, 100_000, 2); 11];
        seconds.extend([(0, 100_000, 2); 20]);
        assert_eq!(judge(&looks(-10, &seconds), 50.0).unwrap().normal, None);
        assert_eq!(judge(&looks(-10, &[(80, 7_000_000, 2); 30]), 50.0).unwrap().normal, None);
        assert_eq!(judge(&looks(-10, &[(0, 1, 2); 20]), 50.0), None);
        assert_eq!(judge(&[], 50.0), None);
    }

    #[test]
    fn what_is_as_before_all_the_time_is_so_at_once() {
        let judged = judge(&looks(-10, &[(80, 100_000, 2); 30]), 50.0).unwrap();
        assert_eq!((judged.normal, judged.above_seconds), (Some(0.0), 0.0));
        assert!((judged.busiest - 0.8).abs() < 0.01, "{judged:?}");
        let at: Vec<f64> = judged.course.iter().map(|moment| moment.at).collect();
        assert_eq!((at.first(), at.last(), &judged.course[0].ready), (Some(&-7.0), Some(&19.0), &vec![2]));
    }

    #[test]
    fn one_of_a_hundred_may_take_longer() {
        let seen = |latencies| Look { at: 0.0, regions: vec![Seen { latencies, ..Seen::default() }] };
        assert_eq!(p99(&seen(vec![]), &seen(vec![(1_000, 99), (9_000, 1)])), Some(9.0));
        assert_eq!(p99(&seen(vec![]), &seen(vec![(1_000, 199), (9_000, 1)])), Some(1.0));
        assert_eq!(p99(&seen(vec![(1_000, 5)]), &seen(vec![(1_000, 5)])), None);
    }
}
