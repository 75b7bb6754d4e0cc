//! The model of a fleet: shards that start, accept, settle and report, and sinks that take so much. Pure.
//!
//! It moves in steps of one second. New events go to the listed shards alike. When shards come or go, what waits is
//! spread over those that stay, as claims do; a region that is Tripped hands over what the others have room for. What is
//! refused somewhere, its producers send somewhere else. What it leaves out: single events and their keys, and volumes that
//! fill up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::faults::{Fault, FaultKind, Faults};
use super::random::Random;
use super::shard::Shard;
use super::sight::{look_around, seen_shard};
use crate::fleet::{FleetIntent, FleetPlan, FleetSnapshot, RegionSnapshot, Rollout, Standing};

/// What the fleet is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Events that one shard can settle in a second.
    pub shard_capacity: f64,
    /// Seconds from the decision until a shard serves.
    pub start_up: u32,
    /// Events that the sinks take in a second from all shards of all regions together; `None` for any number.
    pub sink_limit: Option<f64>,
    /// Seconds that a report takes to the operator.
    pub report_delay: u32,
    /// Share of the reports that are lost, 0 to 1.
    pub report_loss: f64,
    /// From and until which second no report arrives at all.
    pub silence: Option<(u32, u32)>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Who leads, one after the other. Before the first of them, one whose clock is right.
    pub leaders: Vec<Leader>,
}

/// A replica of the operator that leads from some second on. It knows what the status says, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// From this second on.
    pub from: u64,
    /// Seconds that its clock is ahead of the right time; behind it, if below zero.
    pub ahead: i64,
}

impl World {
    /// Who leads in this second, if it is not the first.
    pub(super) fn leader(&self, now: u64) -> Option<Leader> {
        self.leaders.iter().rfind(|leader| leader.from <= now).copied()
    }

    /// What time it is for whoever leads.
    pub(super) fn clock(&self, now: u64) -> Timestamp {
        let ahead = self.leader(now).map_or(0, |leader| leader.ahead);
        time(now).saturating_add(jiff::SignedDuration::from_secs(ahead)).unwrap_or(Timestamp::MAX)
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            shard_capacity: 500.0,
            start_up: 20,
            sink_limit: None,
            report_delay: 1,
            report_loss: 0.0,
            silence: None,
            faults: Vec::new(),
            leaders: Vec::new(),
        }
    }
}

/// The fleet as it is.
pub(super) struct Fleet<'a> {
    world: &'a World,
    intent: &'a FleetIntent,
    sinks: Vec<String>,
    pub(super) regions: BTreeMap<String, Region>,
    random: Random,
}

/// One region as it is.
#[derive(Default)]
pub(super) struct Region {
    pub(super) shards: BTreeMap<u32, Shard>,
    pub(super) replicas: u32,
    pub(super) wanted: u32,
    share: f64,
    phase: BreakerPhase,
    ready: u32,
    /// Events that no shard takes yet: their producers try again.
    pub(super) refused: f64,
    /// Events settled in the last second.
    pub(super) settled: f64,
    /// Events that arrived in the last second.
    pub(super) arrived: f64,
}

impl<'a> Fleet<'a> {
    /// A fleet with its least shards, all of them ready.
    pub(super) fn new(world: &'a World, intent: &'a FleetIntent, seed: u64) -> Self {
        let weights: u32 = intent.regions.iter().map(|region| region.weight).sum();
        let regions = intent.regions.iter().map(|region| {
            let least = region.shards.min;
            let shards = (0..least).map(|ordinal| (ordinal, Shard::new(0, 0))).collect();
            let share = f64::from(region.weight) / f64::from(weights.max(1));
            let made = Region { shards, replicas: least, wanted: least, share, ..Region::default() };
            (region.name.clone(), made)
        });
        let sinks = intent.sinks.iter().map(|sink| sink.name.clone()).collect();
        Self { world, intent, sinks, regions: regions.collect(), random: Random::new(seed) }
    }

    /// Lives through one second.
    pub(super) fn pass(&mut self, now: u64, arrival: &BTreeMap<&str, f64>, for_all: f64) {
        let (capacity, faults) = (self.world.shard_capacity, Faults(&self.world.faults));
        for (name, region) in &mut self.regions {
            if faults.is(name, FaultKind::NoShardStarts, now) {
                region.shards.values_mut().for_each(|shard| shard.is_down(now));
            }
            region.spread(now);
            let arriving = arrival.get(name.as_str()).copied().unwrap_or(for_all * region.share);
            region.arrived = arriving;
            region.refused += arriving;
        }
        self.send_elsewhere(now);
        hand_over(&mut self.regions, faults, now, capacity);
        let could: f64 = self.regions.values().map(|region| region.could_settle(now, capacity)).sum();
        let share = self.world.sink_limit.map_or(1.0, |limit| (limit / could.max(1e-9)).min(1.0));
        for (name, region) in &mut self.regions {
            let cut_off = faults.is(name, FaultKind::CutOff, now);
            region.pass(now, capacity, share, cut_off, faults.fails(name, now));
            let silent = self.world.silence.is_some_and(|(from, to)| (from.into()..to.into()).contains(&now));
            let silent = silent || cut_off || faults.is(name, FaultKind::Unheard, now);
            for shard in region.shards.values_mut().filter(|shard| shard.is_ready(now)) {
                if !silent && self.random.fraction() >= self.world.report_loss {
                    let arrives = now + u64::from(self.world.report_delay);
                    shard.report(now, arrives);
                }
            }
        }
    }

    /// What no region takes where it was sent, producers send where somebody answers.
    fn send_elsewhere(&mut self, now: u64) {
        let faults = Faults(&self.world.faults);
        let takes = |name: &str, region: &Region| region.ready(now) > 0 && faults.away_since(name, now).is_none();
        let open: f64 = self.regions.iter().filter(|(name, region)| takes(name, region)).map(|(_, of)| of.share).sum();
        if self.regions.len() < 2 || open <= 0.0 {
            return;
        }
        let mut strays = 0.0;
        for (name, region) in &mut self.regions {
            if !takes(name, region) {
                strays += std::mem::take(&mut region.refused);
            }
        }
        for (name, region) in &mut self.regions {
            if takes(name, region) {
                region.refused += strays * region.share / open;
            }
        }
    }

    /// What the operator sees.
    pub(super) fn seen(&mut self, now: u64) -> FleetSnapshot {
        let (fleet, sinks, faults) = (&self.intent.name, &self.sinks, Faults(&self.world.faults));
        let names: Vec<_> = self.regions.keys().cloned().collect();
        let regions = self.regions.iter_mut().map(|(name, region)| {
            let mut seen = region.seen(now, (fleet, name), sinks);
            for shard in seen.shards.values_mut() {
                look_around(shard, name, &names, faults, now);
            }
            (name.clone(), seen)
        });
        FleetSnapshot { regions: regions.collect(), ..FleetSnapshot::default() }
    }

    /// Does as was decided.
    pub(super) fn obey(&mut self, plan: &FleetPlan, now: u64) {
        let traffic = &plan.traffic;
        for plan in plan.regions.iter().filter(|plan| plan.standing == Standing::Stays) {
            let Some(region) = self.regions.get_mut(&plan.name) else { continue };
            for ordinal in region.replicas..plan.replicas {
                region.shards.insert(ordinal, Shard::new(now, self.world.start_up.into()));
            }
            region.shards.retain(|ordinal, _| *ordinal < plan.replicas);
            (region.replicas, region.wanted) = (plan.replicas, plan.wanted);
            region.phase = plan.breaker.as_ref().map_or(BreakerPhase::Serving, |breaker| breaker.memory.phase);
            if let Some(traffic) = traffic.regions.get(&plan.name) {
                // What is not led there by how shards are listed is handed over.
                region.share = f64::from(traffic.share_permille) / 1000.0;
            }
        }
    }
}

impl Region {
    fn staying(&mut self, now: u64) -> Vec<&mut Shard> {
        let wanted = self.wanted;
        self.shards.range_mut(..wanted).map(|(_, shard)| shard).filter(|shard| shard.is_ready(now)).collect()
    }

    pub(super) fn ready(&self, now: u64) -> u32 {
        let ready = self.shards.values().filter(|shard| shard.is_ready(now)).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    pub(super) fn backlog(&self) -> f64 {
        self.refused + self.shards.values().map(Shard::backlog).sum::<f64>()
    }

    fn in_shards(&self, now: u64) -> f64 {
        self.shards.values().filter(|shard| shard.is_ready(now)).map(Shard::backlog).sum()
    }

    /// How many of its shards say that the first sink fails.
    pub(super) fn failing(&self) -> usize {
        self.shards.values().filter(|shard| shard.is_failing()).count()
    }

    /// Claims: when shards came or are to go, what waits is spread over those that stay.
    fn spread(&mut self, now: u64) {
        let wanted = self.wanted;
        let staying = u32::try_from(self.staying(now).len()).unwrap_or(u32::MAX);
        let leaving = self.shards.range(wanted..).any(|(_, shard)| shard.backlog() > 0.0);
        if staying == 0 || (staying == self.ready && !leaving) {
            return;
        }
        self.ready = staying;
        let mut parcels: BTreeMap<u64, f64> = BTreeMap::new();
        for (second, events) in self.shards.values_mut().flat_map(Shard::give) {
            *parcels.entry(second).or_default() += events / f64::from(staying);
        }
        let parcels: Vec<_> = parcels.into_iter().collect();
        self.staying(now).into_iter().for_each(|shard| shard.take_over(&parcels));
    }

    fn could_settle(&self, now: u64, capacity: f64) -> f64 {
        let ready = || self.shards.values().filter(|shard| shard.is_ready(now));
        let held: f64 = ready().map(|shard| shard.backlog().min(capacity)).sum();
        (held + self.refused).min(f64::from(self.ready(now)) * capacity)
    }

    fn pass(&mut self, now: u64, capacity: f64, share: f64, cut_off: bool, fails: u32) {
        let staying = u32::try_from(self.staying(now).len()).unwrap_or(u32::MAX);
        let takes = staying > 0 && !cut_off;
        let each = if takes { std::mem::take(&mut self.refused) / f64::from(staying) } else { 0.0 };
        let wanted = self.wanted;
        let before = self.backlog() + each * f64::from(staying);
        for (ordinal, shard) in self.shards.iter_mut().filter(|(_, shard)| shard.is_ready(now)) {
            let arriving = if *ordinal < wanted { each } else { 0.0 };
            shard.pass(now, arriving, capacity * share, capacity, fails);
        }
        self.settled = before - self.backlog();
    }

    fn seen(&mut self, now: u64, names: (&str, &str), sinks: &[String]) -> RegionSnapshot {
        let ready = self.ready(now);
        let shards =
            self.shards.iter_mut().map(|(ordinal, shard)| (*ordinal, seen_shard(*ordinal, shard, now, names, sinks)));
        RegionSnapshot {
            shards: shards.collect(),
            rollout: Some(Rollout {
                replicas: self.replicas,
                complete: ready == self.replicas,
                replaces: false,
                updated: self.replicas,
            }),
        }
    }
}

/// Regions that are Tripped, and are there, hand over what they hold to those that serve, as far as these have
/// room.
fn hand_over(regions: &mut BTreeMap<String, Region>, faults: Faults<'_>, now: u64, capacity: f64) {
    let there = |name: &str| faults.away_since(name, now).is_none();
    let room = |region: &Region| (f64::from(region.ready(now)) * capacity * 0.85 - region.arrived).max(0.0);
    let takes = |name: &str, region: &Region| region.phase == BreakerPhase::Serving && there(name);
    let rooms: f64 = regions.iter().filter(|(name, region)| takes(name, region)).map(|(_, region)| room(region)).sum();
    let gives = |name: &str, region: &Region| region.phase == BreakerPhase::Tripped && there(name);
    let held: f64 =
        regions.iter().filter(|(name, region)| gives(name, region)).map(|(_, region)| region.in_shards(now)).sum();
    if rooms <= 0.0 || held <= 0.0 {
        return;
    }
    let part = (rooms / held).min(1.0);
    let mut parcels = Vec::new();
    for (name, region) in regions.iter_mut() {
        if gives(name, region) {
            parcels.extend(region.shards.values_mut().filter(|of| of.is_ready(now)).flat_map(|of| of.give_part(part)));
        }
    }
    for (name, region) in regions.iter_mut() {
        if takes(name, region) {
            let each = room(region) / rooms / f64::from(region.ready(now).max(1));
            let parcels: Vec<_> = parcels.iter().map(|(second, events)| (*second, events * each)).collect();
            region.shards.values_mut().filter(|of| of.is_ready(now)).for_each(|of| of.take_over(&parcels));
        }
    }
}

/// The moment of a second of the simulation, which begins with the year 2026.
pub(super) fn time(second: u64) -> Timestamp {
    const BEGINNING: i64 = 1_767_225_600;
    let second = i64::try_from(second).unwrap_or(i64::MAX / 2);
    Timestamp::from_second(BEGINNING.saturating_add(second)).unwrap_or(Timestamp::MAX)
}

/// The same as a duration.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}
