//! The closed loop: the model lives through a second, the operator looks and decides, the model obeys. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::faults::Faults;
use super::load::Load;
use super::sight::by_clock;
use super::world::{Fleet, World, time, whole_seconds};
use crate::decide::decide;
use crate::fleet::{
    Bound, FleetHistory, FleetIntent, FleetMemory, FleetPlan, FleetSnapshot, ScalingNumbers, ScalingReason,
    approximate_count,
};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Every so many seconds, per region.
    pub samples: Vec<Sample>,
    /// Every change of a size.
    pub changes: Vec<Change>,
    /// How often it was decided.
    pub decisions: u64,
    /// How often what a status would say of scaling changed.
    pub writes: u64,
}

/// One region in one second.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Seconds since the beginning.
    pub second: u64,
    /// The region.
    pub region: String,
    /// Events that arrived in this second.
    pub arrival_per_second: f64,
    /// Events that were settled in this second.
    pub settled_per_second: f64,
    /// Events that wait.
    pub backlog_events: u64,
    /// Shards that serve.
    pub ready_shards: u32,
    /// Shards that are wanted.
    pub wanted_shards: u32,
    /// Why so many.
    pub reason: &'static str,
}

/// One change of a size.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Seconds since the beginning.
    pub second: u64,
    /// The region.
    pub region: String,
    /// Shards before.
    pub from: u32,
    /// Shards after.
    pub to: u32,
    /// Why.
    pub reason: &'static str,
    /// What kept it from being what the load asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<&'static str>,
    /// Events that arrived a second, as the operator saw it.
    pub arrival_per_second: u64,
    /// Events that waited, as the operator saw it.
    pub backlog_events: u64,
    /// What it took a shard's capacity for, in events per second.
    pub shard_capacity_per_second: Option<u64>,
    /// Shards that the load asked for, whatever the bounds.
    pub needed_shards: Option<u32>,
}

/// Runs the model against `decide` for as long as the load lasts, with a sample every `every` seconds.
pub fn simulate(intent: &FleetIntent, load: &Load, world: &World, seed: u64, every: u64) -> Timeline {
    watch(intent, load, world, (seed, every), FleetMemory::default(), |_, _, _| {})
}

/// The same with what was remembered before. Whoever watches is shown each decision: the second, what was remembered, and
/// what was decided.
pub(super) fn watch(
    intent: &FleetIntent,
    load: &Load,
    world: &World,
    (seed, every): (u64, u64),
    mut memory: FleetMemory,
    mut each: impl FnMut(u64, &FleetMemory, &FleetPlan),
) -> Timeline {
    let mut fleet = Fleet::new(world, intent, seed);
    let mut timeline = Timeline::default();
    let mut history = FleetHistory::default();
    let (mut due, mut last_told) = (0, String::new());
    let mut plan: Option<FleetPlan> = None;
    for second in 0..load.seconds() {
        let now = u64::try_from(second).unwrap_or(u64::MAX);
        let of = |rates: &Vec<f64>| rates.get(second).copied().unwrap_or(0.0);
        let arrival: BTreeMap<&str, f64> =
            load.regions.iter().map(|(region, rates)| (region.as_str(), of(rates))).collect();
        fleet.pass(now, &arrival, of(&load.fleet));
        // The report of a shard that says something new is looked at when it comes.
        let told = told(&fleet, world, now);
        let is_new = world.leader(now).is_some_and(|leader| leader.from == now);
        if now >= due || told != last_told || is_new {
            last_told = told;
            if is_new {
                history = FleetHistory::default();
            }
            let clock = world.clock(now);
            let mut snapshot = FleetSnapshot { history, ..fleet.seen(now) };
            by_clock(&mut snapshot, clock.duration_since(time(now)));
            let decided = decide(intent, &snapshot, &memory, clock);
            history = decided.history.clone();
            timeline.decisions += 1;
            each(now, &memory, &decided);
            let remembered = decided.memory();
            timeline.writes += u64::from(remembered != memory);
            memory = remembered;
            due = now + whole_seconds(decided.recheck_after);
            timeline.changes.extend(changes(&decided, now));
            fleet.obey(&decided, now);
            plan = Some(decided);
        }
        if now.is_multiple_of(every.max(1)) {
            timeline.samples.extend(samples(&fleet, plan.as_ref(), now));
        }
    }
    timeline
}

/// What would make the operator look again.
fn told(fleet: &Fleet<'_>, world: &World, now: u64) -> String {
    // What switches shows with the reports of then; that reports are missing, when two are.
    let then = now.saturating_sub(2);
    let regions = fleet.regions.iter().map(|(name, region)| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let backlog = region.backlog() as u64;
        let missing = Faults(&world.faults).answers(name, then);
        format!("{} {} {} {missing}", approximate_count(backlog), region.ready(now), region.failing())
    });
    regions.collect::<Vec<_>>().join(", ")
}

fn changes(plan: &FleetPlan, now: u64) -> impl Iterator<Item = Change> {
    plan.regions.iter().filter_map(move |region| {
        let decision = region.scaling.as_ref().filter(|decision| decision.from != decision.to)?;
        let ScalingNumbers { arrival, backlog, capacity, needed, .. } = decision.numbers;
        Some(Change {
            second: now,
            region: region.name.clone(),
            from: decision.from,
            to: decision.to,
            reason: decision.reason.as_str(),
            bound: decision.bound.map(Bound::as_str),
            arrival_per_second: arrival,
            backlog_events: backlog,
            shard_capacity_per_second: capacity,
            needed_shards: needed,
        })
    })
}

fn samples(fleet: &Fleet<'_>, plan: Option<&FleetPlan>, now: u64) -> Vec<Sample> {
    let of = |(name, region): (&String, &super::world::Region)| {
        let decision = plan.and_then(|plan| plan.regions.iter().find(|plan| plan.name == *name)?.scaling.as_ref());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let backlog = region.backlog() as u64;
        Sample {
            second: now,
            region: name.clone(),
            arrival_per_second: tenth(region.arrived),
            settled_per_second: tenth(region.settled),
            backlog_events: backlog,
            ready_shards: region.ready(now),
            wanted_shards: region.wanted,
            reason: decision.map_or(ScalingReason::Suits, |decision| decision.reason).as_str(),
        }
    };
    fleet.regions.iter().map(of).collect()
}

fn tenth(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
