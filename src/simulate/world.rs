//! The model of a fleet: shards that start, accept, settle and report, and sinks that take so much. Pure.
//!
//! It moves in steps of one second. New events go to the listed shards alike. When shards come or go, what waits is
//! spread over those that stay, as claims do. What it leaves out: single events and their keys, failures of sinks, and
//! volumes that fill up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::random::Random;
use super::shard::Shard;
use crate::fleet::{
    FleetIntent, FleetPlan, FleetSnapshot, NotRead, Observation, PodSnapshot, RegionSnapshot, Rollout, ShardSnapshot,
    Standing, Volume,
};

/// For how long a report stands when none comes, as in `observe`.
const GRACE: u64 = 10;

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
}

impl Default for World {
    fn default() -> Self {
        Self { shard_capacity: 500.0, start_up: 20, sink_limit: None, report_delay: 1, report_loss: 0.0, silence: None }
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
        let capacity = self.world.shard_capacity;
        for (name, region) in &mut self.regions {
            region.spread(now);
            let arriving = arrival.get(name.as_str()).copied().unwrap_or(for_all * region.share);
            region.arrived = arriving;
            region.refused += arriving;
        }
        let could: f64 = self.regions.values().map(|region| region.could_settle(now, capacity)).sum();
        let share = self.world.sink_limit.map_or(1.0, |limit| (limit / could.max(1e-9)).min(1.0));
        for region in self.regions.values_mut() {
            region.pass(now, capacity, share);
            let silent = self.world.silence.is_some_and(|(from, to)| (from.into()..to.into()).contains(&now));
            for shard in region.shards.values_mut().filter(|shard| shard.is_ready(now)) {
                if !silent && self.random.fraction() >= self.world.report_loss {
                    let arrives = now + u64::from(self.world.report_delay);
                    shard.report(now, arrives);
                }
            }
        }
    }

    /// What the operator sees.
    pub(super) fn seen(&mut self, now: u64) -> FleetSnapshot {
        let (fleet, sinks) = (&self.intent.name, &self.sinks);
        let regions =
            self.regions.iter_mut().map(|(name, region)| (name.clone(), region.seen(now, (fleet, name), sinks)));
        FleetSnapshot { regions: regions.collect(), ..FleetSnapshot::default() }
    }

    /// Does as was decided.
    pub(super) fn obey(&mut self, plan: &FleetPlan, now: u64) {
        for plan in plan.regions.iter().filter(|plan| plan.standing == Standing::Stays) {
            let Some(region) = self.regions.get_mut(&plan.name) else { continue };
            for ordinal in region.replicas..plan.replicas {
                region.shards.insert(ordinal, Shard::new(now, self.world.start_up.into()));
            }
            region.shards.retain(|ordinal, _| *ordinal < plan.replicas);
            (region.replicas, region.wanted) = (plan.replicas, plan.wanted);
            if plan.endpoints.iter().any(|endpoint| endpoint.listed) {
                region.share = f64::from(plan.share_percent) / 100.0;
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

    fn pass(&mut self, now: u64, capacity: f64, share: f64) {
        let staying = u32::try_from(self.staying(now).len()).unwrap_or(u32::MAX);
        let each = if staying == 0 { 0.0 } else { std::mem::take(&mut self.refused) / f64::from(staying) };
        let wanted = self.wanted;
        let before = self.backlog() + each * f64::from(staying);
        for (ordinal, shard) in self.shards.iter_mut().filter(|(_, shard)| shard.is_ready(now)) {
            let arriving = if *ordinal < wanted { each } else { 0.0 };
            shard.pass(now, arriving, capacity * share, capacity);
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

fn seen_shard(ordinal: u32, shard: &mut Shard, now: u64, names: (&str, &str), sinks: &[String]) -> ShardSnapshot {
    let ready = shard.is_ready(now);
    let pod = PodSnapshot {
        uid: ordinal.to_string(),
        ip: Some(format!("10.0.0.{ordinal}")),
        ready,
        ..PodSnapshot::default()
    };
    let since = shard.ready_at;
    let report = match shard.heard(now) {
        Some((arrived, said)) if now - arrived < GRACE => {
            Observation::Reading { value: shard.in_full(&said, names, sinks), taken_at: time(arrived) }
        }
        Some((arrived, _)) => silent(arrived),
        None if ready => silent(since),
        None => Observation::NotYet,
    };
    ShardSnapshot {
        pod: Some(pod),
        volume: if ready { Volume::Bound } else { Volume::Pending },
        report,
        ..ShardSnapshot::default()
    }
}

fn silent(since: u64) -> Observation<crate::fleet::Report> {
    Observation::Unreachable(NotRead { why: "its report was lost".to_owned(), since: time(since) })
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
