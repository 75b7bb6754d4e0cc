//! A run as it went, second by second, so that a stall shows. Pure.
//!
//! An answer counts in the interval in which it came. Bounded: when there are too many intervals, each two become
//! one.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::outcome::HIGHEST_US;
use super::profile::Profile;

/// Most intervals that are kept.
const MAX_INTERVALS: usize = 600;

/// One interval of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// When it begins, in seconds since the end of the warm-up.
    pub second: f64,
    /// How long it is.
    pub seconds: f64,
    /// Events per second that were meant to be sent. 0 without a schedule.
    pub offered: f64,
    /// Events per second that were accepted.
    pub accepted: f64,
    /// Requests that were answered other than 2xx, or not at all.
    pub failed: u64,
    /// Half of the latencies are below, in milliseconds.
    pub p50_ms: f64,
    /// 99 % of them are below.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

#[derive(Clone, Debug)]
struct Slot {
    failed: u64,
    latency: Histogram<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Intervals {
    /// Seconds of each.
    width: u32,
    slots: Vec<Slot>,
    empty: Histogram<u64>,
}

impl Intervals {
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self { width: 1, slots: Vec::new(), empty: Histogram::new_with_bounds(1, HIGHEST_US, 2)? })
    }

    /// Events were accepted at this time, with this latency in microseconds.
    pub(super) fn accepted(&mut self, at: Duration, events: u64, latency: u64) {
        if let Some(slot) = self.slot(at) {
            slot.latency.saturating_record_n(latency, events);
        }
    }

    /// A request failed at this time.
    pub(super) fn failed(&mut self, at: Duration) {
        if let Some(slot) = self.slot(at) {
            slot.failed += 1;
        }
    }

    fn slot(&mut self, at: Duration) -> Option<&mut Slot> {
        let mut index = usize::try_from(at.as_secs() / u64::from(self.width)).ok()?;
        while index >= MAX_INTERVALS {
            self.halve();
            index /= 2;
        }
        while self.slots.len() <= index {
            self.slots.push(Slot { failed: 0, latency: self.empty.clone() });
        }
        self.slots.get_mut(index)
    }

    /// Makes one of each two.
    fn halve(&mut self) {
        self.width *= 2;
        let slots = std::mem::take(&mut self.slots);
        for (index, slot) in slots.into_iter().enumerate() {
            match self.slots.last_mut() {
                Some(last) if index % 2 == 1 => last.add(&slot),
                _ => self.slots.push(slot),
            }
        }
    }

    /// What there was until `end`, which is since the end of the warm-up, as the schedule was.
    pub(super) fn all(&self, profile: Option<&Profile>, warmup: Duration, end: Duration) -> Vec<Interval> {
        let (width, end, warmup) = (f64::from(self.width), end.as_secs_f64(), warmup.as_secs_f64());
        let mut slots = self.slots.clone();
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        // A rate over a small rest would be a number without meaning: the rest belongs to the interval before.
        let rest = end - f64::from(count.saturating_sub(1)) * width;
        if rest < width / 2.0
            && count > 1
            && let Some(last) = slots.pop()
            && let Some(before) = slots.last_mut()
        {
            before.add(&last);
        }
        let last = u32::try_from(slots.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let ms = |us: u64| f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1000.0;
        (0..)
            .zip(&slots)
            .map(|(index, slot)| {
                let second = f64::from(index) * width;
                let seconds = if index == last { (end - second).max(0.001) } else { width };
                let meant = |profile: &Profile| {
                    profile.events_before(warmup + second + seconds) - profile.events_before(warmup + second)
                };
                Interval {
                    second,
                    seconds,
                    offered: profile.map_or(0.0, meant) / seconds,
                    accepted: f64::from(u32::try_from(slot.latency.len()).unwrap_or(u32::MAX)) / seconds,
                    failed: slot.failed,
                    p50_ms: ms(slot.latency.value_at_quantile(0.5)),
                    p99_ms: ms(slot.latency.value_at_quantile(0.99)),
                    max_ms: ms(slot.latency.max()),
                }
            })
            .collect()
    }
}

impl Slot {
    fn add(&mut self, other: &Self) {
        self.failed += other.failed;
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Wanted;
    use super::Intervals;
    use std::time::Duration;

    #[test]
    fn a_stall_shows_as_an_interval_without_answers() {
        let mut intervals = Intervals::new().unwrap();
        for (ms, latency) in [(100, 1000), (200, 1000), (2100, 2_000_000), (2900, 5000), (3100, 1000)] {
            intervals.accepted(Duration::from_millis(ms), 10, latency);
        }
        intervals.failed(Duration::from_millis(1500));
        let wanted = Wanted { rate: 20.0, duration: Some(Duration::from_secs(4)), ..Wanted::default() };
        let profile = wanted.profile().unwrap();
        let all = intervals.all(Some(&profile), Duration::ZERO, Duration::from_millis(3200));
        let rates: Vec<f64> = all.iter().map(|interval| interval.accepted.round()).collect();
        assert_eq!(rates, [20.0, 0.0, 25.0], "the last is 1.2 s long");
        assert_eq!((all[1].failed, all[1].p99_ms), (1, 0.0));
        assert!(all[2].p99_ms > 1900.0 && (all[2].offered - 20.0).abs() < 0.1);
    }

    #[test]
    fn a_long_run_has_longer_intervals_and_loses_none() {
        let mut intervals = Intervals::new().unwrap();
        for second in 0..1500 {
            intervals.accepted(Duration::from_secs(second), 1, 1000);
            intervals.failed(Duration::from_secs(second));
        }
        let all = intervals.all(None, Duration::ZERO, Duration::from_mins(25));
        assert_eq!((all.len(), all[0].seconds), (375, 4.0));
        assert_eq!(all.iter().map(|interval| interval.failed).sum::<u64>(), 1500);
        assert!(all.iter().all(|interval| (interval.accepted - 1.0).abs() < 0.01));
    }
}
