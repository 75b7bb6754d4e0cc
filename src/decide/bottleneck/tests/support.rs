//! Regions to look at: reports as the shards give them, the rates between two of them, and a clock that is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{ShardReport, SinkReport};

use super::super::{Monitored, monitor};
use crate::fixtures;
use crate::fleet::{FleetHistory, FleetIntent, FleetSnapshot, Observation, Rates, Report, SinkRates};

pub(super) const REGION: &str = "eu-west";

/// A row of numbers that begins with a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to below 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.fraction()
    }
}

/// An operator that looks at one region.
pub(super) struct Looker {
    pub(super) intent: FleetIntent,
    pub(super) now: Timestamp,
    pub(super) snapshot: FleetSnapshot,
    recent: BTreeMap<u32, VecDeque<ShardReport>>,
}

impl Looker {
    /// Nothing was seen yet, of so many shards.
    pub(super) fn new(intent: FleetIntent, shards: u32) -> Self {
        let mut region = fixtures::region(1, shards);
        region.shards.values_mut().for_each(|shard| shard.report = Observation::NotYet);
        let regions = BTreeMap::from([(REGION.to_owned(), region)]);
        let snapshot = FleetSnapshot { regions, ..FleetSnapshot::default() };
        Self { intent, now: fixtures::now(), snapshot, recent: BTreeMap::new() }
    }

    /// The operator is another process: what it remembers is gone.
    pub(super) fn restart(&mut self) {
        self.snapshot.history = FleetHistory::default();
    }

    /// A report arrives now.
    pub(super) fn report(&mut self, ordinal: u32, report: &ShardReport) {
        let recent = self.recent.entry(ordinal).or_default();
        if recent.back().is_some_and(|last| last.incarnation != report.incarnation) {
            recent.clear();
        }
        recent.push_back(report.clone());
        while recent.len() > 2 && report.uptime_ms - recent[1].uptime_ms >= 5_000 {
            recent.pop_front();
        }
        let rates = (report.uptime_ms >= recent[0].uptime_ms + 1_000).then(|| rates(&recent[0], report));
        let value = Report { shard: report.clone(), quiet_for: Duration::ZERO, rates, trouble: None };
        let shards = &mut self.snapshot.regions.get_mut(REGION).unwrap().shards;
        shards.get_mut(&ordinal).unwrap().report = Observation::Reading { value, taken_at: self.now };
    }

    /// Looks, and remembers.
    pub(super) fn look(&mut self) -> Monitored {
        let monitored = monitor(&self.intent, &self.snapshot, self.now);
        assert_eq!(monitor(&self.intent, &self.snapshot, self.now).bottlenecks, monitored.bottlenecks);
        self.snapshot.history = monitored.history.clone();
        monitored
    }
}

/// How the totals of one life moved. The same as the operator's room `observe` makes of it.
#[allow(clippy::cast_precision_loss, reason = "totals of minutes")]
fn rates(first: &ShardReport, last: &ShardReport) -> Rates {
    let ms = last.uptime_ms - first.uptime_ms;
    let seconds = ms as f64 / 1000.0;
    let rate = |of: fn(&ShardReport) -> u64| (of(last) - of(first)) as f64 / seconds;
    let sinks = first.sinks.iter().zip(&last.sinks).map(|(first, last)| {
        let moved = |of: fn(&SinkReport) -> u64| (of(last) - of(first)) as f64;
        let attempts = moved(|sink| sink.attempts_total);
        let rates = SinkRates {
            delivered: moved(|sink| sink.delivered_total) / seconds,
            failed: moved(|sink| sink.failed_attempts_total) / seconds,
            throttled: moved(|sink| sink.throttled_total) / seconds,
            limited: (moved(|sink| sink.limited_us_total) / 1e6 / seconds).min(1.0),
            attempt_time: Duration::from_secs_f64(moved(|sink| sink.attempt_us_total) / 1e6 / attempts.max(1.0)),
        };
        (last.name.clone(), rates)
    });
    let processors = last.usage.cpu_limit_millis as f64 / 1000.0;
    Rates {
        over: Duration::from_millis(ms),
        taken_over: 0.0,
        accepted: rate(|shard| shard.accepted_total),
        settled: rate(|shard| shard.settled_total),
        refused: rate(|shard| shard.refused_total),
        receive_refused: rate(|shard| shard.usage.receive_refused_total),
        cpu: (processors > 0.0).then(|| rate(|shard| shard.usage.cpu_us_total) / 1e6 / processors),
        disk: rate(|shard| shard.usage.disk_busy_us_total) / 1e6,
        disk_wait: Duration::from_secs_f64(
            rate(|shard| shard.usage.disk_wait_us_total) / 1e6 / rate(|shard| shard.accepted_total).max(1.0),
        ),
        sinks: sinks.collect(),
    }
}
