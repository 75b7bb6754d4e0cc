//! Regions that live through time: what their dispatchers would report of sinks that fail, once a second and a second late,
//! and an operator that looks when it said it would, or when a sink's breaker has moved.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{BreakerPhase, SinkReport};

use super::super::{BreakerPlan, desired_phases};
use crate::fixtures;
use crate::fleet::{FleetIntent, FleetMemory, FleetSnapshot, Observation, Rates, Report, SinkRates};

/// Time passes in steps of this, in milliseconds.
const STEP: u64 = 100;
/// A sink's breaker trips after failing for so long, in milliseconds.
const PARKED_AFTER: u64 = 1000;

/// What share of the attempts at a sink fails at a time: by region, sink and milliseconds, in percent.
type Failing = Box<dyn Fn(&str, &str, u64) -> u64>;

/// What is changed in what is seen at a time.
type Seen = Box<dyn Fn(&mut FleetSnapshot, u64)>;

pub(super) struct World {
    pub(super) intent: FleetIntent,
    pub(super) failing: Failing,
    /// Attempts that each shard makes at each sink in a second.
    pub(super) rate: u64,
    /// Time between two probes of a sink that is parked, in milliseconds.
    pub(super) probes: u64,
    /// How late reports are, in milliseconds.
    pub(super) delay: u64,
    /// What else is seen at a time: what this changes.
    pub(super) seen: Seen,
    pub(super) sinks: BTreeMap<(String, u32, String), AtShard>,
    pub(super) sent: Vec<(u64, FleetSnapshot)>,
    pub(super) snapshot: FleetSnapshot,
    pub(super) memory: FleetMemory,
    /// What was decided at each look.
    pub(super) log: Vec<(u64, BTreeMap<String, BreakerPlan>)>,
}

/// A sink as a shard of the model sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct AtShard {
    report: SinkReport,
    row_began: Option<u64>,
    row_latest: u64,
    parked: bool,
    next_probe: u64,
    recent: Vec<(u64, u64, u64)>,
    carried: u64,
}

impl World {
    pub(super) fn new(failing: impl Fn(&str, &str, u64) -> u64 + 'static) -> Self {
        Self {
            intent: fixtures::intent(),
            failing: Box::new(failing),
            rate: 100,
            probes: 1000,
            delay: 1000,
            seen: Box::new(|_, _| {}),
            sinks: BTreeMap::new(),
            sent: Vec::new(),
            snapshot: fixtures::settled(),
            memory: FleetMemory::default(),
            log: Vec::new(),
        }
    }

    pub(super) fn with_regions(mut self, names: &[&str]) -> Self {
        let first = self.intent.regions[0].clone();
        self.intent.regions = Vec::new();
        self.snapshot.regions = BTreeMap::new();
        for (number, name) in (1..).zip(names) {
            self.intent.regions.push(crate::fleet::RegionIntent { name: (*name).to_owned(), ..first.clone() });
            self.snapshot.regions.insert((*name).to_owned(), fixtures::region(number, 2));
        }
        self
    }

    /// Lives until that millisecond, having begun with the first.
    pub(super) fn run(mut self, until: u64) -> Self {
        let mut due = 0;
        for at in (0..until).step_by(usize::try_from(STEP).unwrap()) {
            self.sinks_pass(at);
            if at % 1000 == 0 {
                let sent = self.report(at);
                self.sent.push((at + self.delay, sent));
            }
            let arrived = self.sent.iter().rposition(|(arrives, _)| *arrives <= at);
            let mut poked = false;
            if let Some(latest) = arrived {
                let (_, snapshot) = self.sent.drain(..=latest).next_back().unwrap();
                poked = phases(&snapshot) != phases(&self.snapshot);
                let history = std::mem::take(&mut self.snapshot.history);
                self.snapshot = FleetSnapshot { history, ..snapshot };
            }
            if at >= due || poked {
                due = at + self.look(at);
            }
        }
        self
    }

    fn sinks_pass(&mut self, at: u64) {
        for region in &self.intent.regions {
            for ordinal in 0..2 {
                for sink in ["fulfilment", "audit"] {
                    let key = (region.name.clone(), ordinal, sink.to_owned());
                    let percent = (self.failing)(&region.name, sink, at);
                    self.sinks.entry(key).or_default().pass(at, percent, self.rate * STEP / 1000, self.probes);
                }
            }
        }
    }

    fn report(&mut self, at: u64) -> FleetSnapshot {
        let mut snapshot = FleetSnapshot { regions: self.snapshot.regions.clone(), ..FleetSnapshot::default() };
        for (region, seen) in &mut snapshot.regions {
            for (ordinal, shard) in &mut seen.shards {
                let mut reading = fixtures::reading(0, Duration::ZERO);
                let Observation::Reading { value, taken_at } = &mut reading else { unreachable!() };
                *taken_at = time(at + self.delay);
                let mut rates = Rates::default();
                for report in &mut value.shard.sinks {
                    let key = (region.clone(), *ordinal, report.name.clone());
                    let of = self.sinks.get(&key).cloned().unwrap_or_default();
                    rates.sinks.insert(report.name.clone(), of.rates(at));
                    *report = SinkReport { name: report.name.clone(), ..of.report };
                }
                value.rates = Some(rates);
                shard.report = reading;
            }
        }
        (self.seen)(&mut snapshot, at);
        snapshot
    }

    /// Looks, and tells after how many milliseconds to look again.
    fn look(&mut self, at: u64) -> u64 {
        let decided = desired_phases(&self.intent, &self.snapshot, &self.memory, time(at));
        let again = desired_phases(&self.intent, &self.snapshot, &self.memory, time(at));
        assert_eq!(decided.plans, again.plans, "decided otherwise at {at}");
        self.snapshot.history.breakers = decided.history;
        self.memory.breakers = decided.plans.iter().map(|(name, plan)| (name.clone(), plan.memory)).collect();
        let soon = decided.plans.values().filter_map(|plan| plan.recheck_after).min();
        self.log.push((at, decided.plans));
        soon.map_or(20_000, |soon| u64::try_from(soon.as_millis()).unwrap().clamp(STEP, 20_000))
    }

    /// Each change of a phase: when, where, to what.
    pub(super) fn moves(&self) -> Vec<(u64, &str, BreakerPhase)> {
        let mut moves = Vec::new();
        for (at, plans) in &self.log {
            for (name, plan) in plans {
                if plan.from.is_some_and(|from| from.phase != plan.memory.phase) {
                    moves.push((*at, name.as_str(), plan.memory.phase));
                }
            }
        }
        moves
    }

    pub(super) fn last(&self, region: &str) -> &BreakerPlan {
        &self.log.last().unwrap().1[region]
    }

    /// The plan of a region at the look that is the first not before that millisecond.
    pub(super) fn at(&self, region: &str, at: u64) -> &BreakerPlan {
        &self.log.iter().find(|(then, _)| *then >= at).unwrap().1[region]
    }
}

/// What a fleet is looked at for again at once.
fn phases(snapshot: &FleetSnapshot) -> Vec<(BreakerPhase, bool)> {
    let shards = snapshot.regions.values().flat_map(|region| region.shards.values());
    let reports = shards.filter_map(|shard| shard.report.value());
    reports
        .flat_map(|Report { shard, .. }| shard.sinks.iter().map(|sink| (sink.phase, sink.consecutive_failures > 0)))
        .collect()
}

impl AtShard {
    fn pass(&mut self, at: u64, percent: u64, tries: u64, probes: u64) {
        let tries = if self.parked { u64::from(at >= self.next_probe) } else { tries };
        self.carried += tries * percent;
        let failed = (self.carried / 100).min(tries);
        self.carried -= failed * 100;
        let delivered = tries - failed;
        let report = &mut self.report;
        report.delivered_total += delivered;
        report.failed_attempts_total += failed;
        self.recent.push((at, delivered, failed));
        self.recent.retain(|(then, ..)| at - then < 5000);
        if failed > 0 {
            let began = *self.row_began.get_or_insert(at);
            self.row_latest = at;
            report.consecutive_failures += failed;
            if delivered == 0 && at - began >= PARKED_AFTER {
                self.parked = true;
            }
            self.next_probe = at + probes;
        }
        if delivered > 0 {
            (self.row_began, report.consecutive_failures, self.parked) = (None, 0, false);
        }
        report.failing_ms = self.row_began.map_or(0, |began| self.row_latest - began);
        report.phase = if self.parked { BreakerPhase::Tripped } else { BreakerPhase::Serving };
        report.backlog_events = report.consecutive_failures * 10;
    }

    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    fn rates(&self, _: u64) -> SinkRates {
        let sum = |of: fn(&(u64, u64, u64)) -> u64| self.recent.iter().map(of).sum::<u64>() as f64 / 5.0;
        SinkRates { delivered: sum(|second| second.1), failed: sum(|second| second.2), ..SinkRates::default() }
    }
}

/// The moment of a millisecond of the model.
pub(super) fn time(at: u64) -> Timestamp {
    fixtures::now() + Duration::from_millis(at)
}
