//! What the newest reports of a region say together.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{BreakerPhase, ShardReport, SinkReport};

use super::since;
use crate::fleet::{FleetIntent, Observation, Rates, RegionSnapshot, ShardSnapshot, SinkIntent, SinkRates};

/// A report that is older says nothing about now. It stands for as long as a lost one is no news.
const FRESH: Duration = Duration::from_secs(10);

/// A shard is behind at a sink when more than so many events wait there.
const BEHIND_EVENTS: u64 = 10;

/// And more than are delivered in this time, in seconds.
const BEHIND_SECONDS: f64 = 1.0;

/// One shard whose report can be used.
pub(super) struct Shard<'a> {
    pub(super) ordinal: u32,
    pub(super) report: &'a ShardReport,
    pub(super) rates: &'a Rates,
    /// By sink, in the order of the spec. `None`: it does not know the sink yet.
    pub(super) sinks: Vec<Option<AtSink<'a>>>,
}

/// One sink as one shard sees it.
#[derive(Clone, Copy)]
pub(super) struct AtSink<'a> {
    pub(super) report: &'a SinkReport,
    pub(super) rates: SinkRates,
}

/// A region.
pub(super) struct Reading<'a> {
    pub(super) shards: Vec<Shard<'a>>,
    /// Shards that run and have no report that can be used.
    pub(super) unknown: usize,
    pub(super) sinks: Vec<Sink<'a>>,
}

/// One sink as the whole region sees it.
pub(super) struct Sink<'a> {
    pub(super) intent: &'a SinkIntent,
    /// Events that wait for it, without those on their way to it.
    pub(super) waiting: u64,
    /// Events that it takes, a second.
    pub(super) delivered: f64,
    /// Attempts that failed, those included at which it asked for less, a second.
    pub(super) failed: f64,
    /// Attempts at which it asked for less, a second.
    pub(super) throttled: f64,
    /// How long an attempt takes in the mean. Zero if none ended.
    pub(super) attempt_time: Duration,
    /// Where most events wait for it, in [`Reading::shards`], if any shard is behind.
    pub(super) behind: Option<usize>,
}

impl AtSink<'_> {
    /// Events that wait, without those on their way.
    pub(super) fn waiting(&self) -> u64 {
        self.report.backlog_events.saturating_sub(self.report.in_flight)
    }

    fn is_behind(&self) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "of a count that is compared with a rate")]
        let waiting = self.waiting() as f64;
        self.waiting() > BEHIND_EVENTS && waiting > self.rates.delivered * BEHIND_SECONDS
    }

    /// It is sent less than it could be, because it fails.
    pub(super) fn is_failing(&self) -> bool {
        let failed = self.rates.failed - self.rates.throttled;
        self.report.phase != BreakerPhase::Serving || (failed > 0.0 && failed > self.rates.delivered)
    }
}

impl Shard<'_> {
    /// Events that wait at the sink where most do.
    pub(super) fn waiting(&self) -> u64 {
        self.sinks.iter().flatten().map(AtSink::waiting).max().unwrap_or(0)
    }

    /// Whether more wait than it will soon have delivered.
    pub(super) fn is_behind(&self) -> bool {
        self.sinks.iter().flatten().any(AtSink::is_behind)
    }
}

impl<'a> Reading<'a> {
    /// The reading of a region.
    pub(super) fn of(intent: &'a FleetIntent, seen: &'a RegionSnapshot, now: Timestamp) -> Self {
        // A shard without a pod holds nothing, or it would not have gone.
        let running = || seen.shards.iter().filter(|(_, shard)| shard.pod.is_some());
        let shards: Vec<_> = running().filter_map(|(&ordinal, shard)| read(intent, ordinal, shard, now)).collect();
        let unknown = running().count() - shards.len();
        let sinks = intent.sinks.iter().enumerate().map(|(at, intent)| sum(intent, at, &shards)).collect();
        Self { shards, unknown, sinks }
    }

    /// A sum over its shards.
    pub(super) fn sum(&self, of: impl Fn(&Shard<'a>) -> f64) -> f64 {
        self.shards.iter().map(of).sum()
    }

    /// A figure of the shard at which most waits; where none is behind, the highest.
    pub(super) fn most(&self, of: impl Fn(&Shard<'a>) -> Option<f64>) -> Option<f64> {
        let fullest = self.shards.iter().filter(|shard| shard.is_behind()).max_by_key(|shard| shard.waiting());
        fullest.and_then(&of).or_else(|| self.shards.iter().filter_map(&of).reduce(f64::max))
    }

    /// A sink as the shard sees it at which most waits for it, or the first one if none is behind.
    pub(super) fn at(&self, sink: &Sink<'_>) -> Option<AtSink<'a>> {
        let at = self.sinks.iter().position(|other| other.intent.name == sink.intent.name)?;
        *self.shards.get(sink.behind.unwrap_or(0))?.sinks.get(at)?
    }

    /// Whether it is known to have nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |shard: &Shard<'_>| shard.report.backlog_events == 0 && shard.rates.accepted <= 0.0;
        self.unknown == 0 && self.shards.iter().all(idle)
    }
}

fn read<'a>(intent: &FleetIntent, ordinal: u32, shard: &'a ShardSnapshot, now: Timestamp) -> Option<Shard<'a>> {
    let Observation::Reading { value, taken_at } = &shard.report else { return None };
    let rates = value.rates.as_ref().filter(|_| since(*taken_at, now) <= FRESH)?;
    let sink = |name: &str| {
        let report = value.shard.sinks.iter().find(|report| report.name == name)?;
        Some(AtSink { report, rates: rates.sinks.get(name).copied()? })
    };
    let sinks: Vec<_> = intent.sinks.iter().map(|intent| sink(&intent.name)).collect();
    let makes_sense = |rate: f64| rate.is_finite() && rate >= 0.0;
    let all = [rates.accepted, rates.settled, rates.refused, rates.receive_refused, rates.disk];
    let of_sinks = sinks
        .iter()
        .flatten()
        .flat_map(|AtSink { rates, .. }| [rates.delivered, rates.failed, rates.throttled, rates.limited]);
    let absurd = all.into_iter().chain(rates.cpu).chain(of_sinks).any(|rate| !makes_sense(rate));
    (!absurd).then_some(Shard { ordinal, report: &value.shard, rates, sinks })
}

fn sum<'a>(intent: &'a SinkIntent, at: usize, shards: &[Shard<'a>]) -> Sink<'a> {
    let at_shards = || shards.iter().enumerate().filter_map(|(shard, of)| Some((shard, (*of.sinks.get(at)?)?)));
    let total = |of: fn(&SinkRates) -> f64| at_shards().map(|(_, sink)| of(&sink.rates)).sum::<f64>();
    let attempts = |rates: &SinkRates| rates.delivered + rates.failed;
    let busy: f64 = at_shards().map(|(_, sink)| attempts(&sink.rates) * sink.rates.attempt_time.as_secs_f64()).sum();
    let made: f64 = at_shards().map(|(_, sink)| attempts(&sink.rates)).sum();
    let mean = if made > 0.0 { busy / made } else { 0.0 };
    let behind = at_shards().filter(|(_, sink)| sink.is_behind()).max_by_key(|(_, sink)| sink.waiting());
    Sink {
        intent,
        waiting: at_shards().map(|(_, sink)| sink.waiting()).fold(0, u64::saturating_add),
        delivered: total(|rates| rates.delivered),
        failed: total(|rates| rates.failed),
        throttled: total(|rates| rates.throttled),
        attempt_time: Duration::try_from_secs_f64(mean).unwrap_or_default(),
        behind: behind.map(|(shard, _)| shard),
    }
}
