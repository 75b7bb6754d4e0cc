//! Schedules of faults, over many seeds: what the breakers and the shift of traffic must keep to.
//!
//! `cargo test -p signalbox --lib faults` runs 40 seeds. A thousand:
//! `SIGNALBOX_FAULT_SEEDS=1000 cargo test --release -p signalbox --lib faults`. One, from 7 on:
//! `SIGNALBOX_FAULT_SEEDS=7..8 cargo test -p signalbox --lib faults`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use signalbox_contract::BreakerPhase;

use crate::fixtures;
use crate::fleet::{
    BreakerIntent, BreakerMemory, BreakerReason, Capacity, FleetIntent, FleetMemory, FleetPlan, RegionIntent,
    RegionMemory, ShardRange,
};
use crate::simulate::faults::Faults;
use crate::simulate::run::watch;
use crate::simulate::world::time;
use crate::simulate::{Fault, FaultKind, Leader, Load, World, drawn};

const NAMES: [&str; 4] = ["eu-west", "us-east", "ap-south", "sa-east"];
/// Events a second that a shard settles.
const CAPACITY: u64 = 500;
/// A replica leads for so long, where they take turns.
const TURN: u64 = 25;
/// Faults are over by then.
const FAULTY: u64 = 180;
/// For so long a fleet has time to come to rest: the longest trip, and a ramp in which each step is held as long as one is
/// without traffic.
const REST: u64 = 60 + 5 * 20 + 60;

/// A fleet of so many regions, whose trips are short, so that much happens.
fn intent(regions: usize) -> FleetIntent {
    let mut intent = fixtures::intent();
    let like = intent.regions[0].clone();
    let region = |name: &&str| RegionIntent {
        name: (*name).to_owned(),
        weight: 50,
        shards: ShardRange { min: 2, max: 6 },
        ..like.clone()
    };
    intent.regions = NAMES[..regions].iter().map(region).collect();
    intent.breaker = BreakerIntent {
        window: Duration::from_secs(5),
        base_trip_time: Duration::from_secs(10),
        max_trip_time: Duration::from_mins(1),
        ..BreakerIntent::default()
    };
    intent
}

/// It has been there for a while: what a shard can settle is known.
fn experienced(intent: &FleetIntent) -> FleetMemory {
    let capacity = Capacity { per_second: CAPACITY, samples: Capacity::MOST_SAMPLES, seen_at: time(0) };
    let region = RegionMemory { wanted: Some(2), capacity: Some(capacity), ..RegionMemory::default() };
    let regions = intent.regions.iter().map(|spec| (spec.name.clone(), region.clone()));
    FleetMemory { regions: regions.collect(), ..FleetMemory::default() }
}

/// What is held against the promises while a schedule runs.
struct Judge<'a> {
    intent: &'a FleetIntent,
    world: &'a World,
    broken: Vec<String>,
    tripped: BTreeMap<String, BreakerMemory>,
    /// Each change of a phase.
    moves: Vec<(u64, String, BreakerPhase)>,
    last: BTreeMap<String, (BreakerPhase, u32)>,
}

impl<'a> Judge<'a> {
    fn new(intent: &'a FleetIntent, world: &'a World) -> Self {
        let last = BTreeMap::new();
        Self { intent, world, broken: Vec::new(), tripped: BTreeMap::new(), moves: Vec::new(), last }
    }

    fn look(&mut self, second: u64, before: &FleetMemory, plan: &FleetPlan) {
        let shares: u32 = plan.traffic.regions.values().map(|region| region.share_permille).sum();
        if shares != 1000 {
            self.broken.push(format!("second {second}: shares sum up to {shares}"));
        }
        let breakers: BTreeMap<_, _> = plan.memory().breakers;
        if breakers.values().all(|breaker| breaker.phase == BreakerPhase::Tripped) {
            self.broken.push(format!("second {second}: all are Tripped"));
        }
        let left = breakers.values().filter(|breaker| breaker.phase != BreakerPhase::Tripped).count();
        for (name, breaker) in &breakers {
            self.is_no_flap(second, name, breaker, left);
        }
        self.is_within_capacity(second, before, plan);
        self.last = plan
            .traffic
            .regions
            .iter()
            .filter_map(|(name, region)| Some((name.clone(), (breakers.get(name)?.phase, region.share_permille))))
            .collect();
    }

    fn is_no_flap(&mut self, second: u64, name: &str, breaker: &BreakerMemory, left: usize) {
        let before = self.tripped.get(name).copied();
        let was_tripped = before.is_some();
        let is_tripped = breaker.phase == BreakerPhase::Tripped;
        if was_tripped != is_tripped {
            self.moves.push((second, name.to_owned(), breaker.phase));
        }
        if let Some(before) = before.filter(|_| !is_tripped) {
            let now = self.world.clock(second);
            let lasted = now.duration_since(before.since).unsigned_abs();
            let early = lasted < self.intent.breaker.base_trip_time / 2 || before.until.is_some_and(|at| at > now);
            // One comes back before its time only where none would be left.
            if early && left > 1 {
                self.broken.push(format!("second {second}: {name} was Tripped for {lasted:?} only, of {before:?}"));
            }
        }
        if is_tripped {
            self.tripped.insert(name.to_owned(), *breaker);
        } else {
            self.tripped.remove(name);
        }
    }

    /// Whose share has grown has room for it, or nobody has; or no region is well, and the weights of the spec hold.
    fn is_within_capacity(&mut self, second: u64, before: &FleetMemory, plan: &FleetPlan) {
        let serving = plan
            .regions
            .iter()
            .all(|region| region.breaker.as_ref().is_none_or(|breaker| breaker.memory.phase == BreakerPhase::Serving));
        let none_is_well = plan.regions.iter().filter_map(|region| region.breaker.as_ref()).all(|breaker| {
            breaker.memory.phase == BreakerPhase::Tripped || breaker.reason == BreakerReason::TooFewLeft
        });
        let looked_at = !serving && !none_is_well;
        let Some(total) = plan.history.traffic.arrival.filter(|total| *total > 0 && looked_at) else { return };
        let rooms = plan.regions.iter().filter_map(|region| {
            let capacity = before.regions.get(&region.name)?.capacity?.per_second;
            let room = u64::from(region.ready) * capacity * 85 * 10 / total;
            Some((region.name.as_str(), u32::try_from(room).unwrap_or(u32::MAX).min(1000)))
        });
        let rooms: BTreeMap<_, _> = rooms.collect();
        for (name, traffic) in &plan.traffic.regions {
            let (share, room) = (traffic.share_permille, rooms.get(name.as_str()).copied().unwrap_or(1000));
            let grew = before.traffic.shares.get(name).is_some_and(|then| *then < share);
            if !grew || share <= room + 10 {
                continue;
            }
            let has_room = |(other, traffic): (&String, &crate::fleet::RegionTrafficPlan)| {
                let room = rooms.get(other.as_str()).copied().unwrap_or(1000);
                traffic.goal_permille > 0 && traffic.share_permille + 20 < room
            };
            if let Some((other, _)) = plan.traffic.regions.iter().find(|(name, plan)| has_room((name, plan))) {
                self.broken.push(format!(
                    "second {second}: {name} gets {share} of 1000 and has room for {room}, while {other} has room left: {:?}",
                    plan.traffic.regions
                ));
            }
        }
    }
}

/// Runs one schedule, and tells what was broken.
fn run(
    intent: &FleetIntent,
    faults: Vec<Fault>,
    leaders: Vec<Leader>,
    (seed, rate): (u64, f64),
) -> (Vec<String>, Vec<(u64, String, BreakerPhase)>) {
    let end = Faults(&faults).end();
    let world = World { start_up: 5, faults, leaders, ..World::default() };
    let seconds = usize::try_from(end + REST).unwrap();
    let load = Load { fleet: vec![rate; seconds], ..Load::default() };
    let mut judge = Judge::new(intent, &world);
    watch(intent, &load, &world, (seed, 1000), experienced(intent), |second, before, plan| {
        judge.look(second, before, plan);
    });
    let share = 1000 / u32::try_from(intent.regions.len()).unwrap();
    for (name, (phase, had)) in &judge.last {
        if *phase != BreakerPhase::Serving || had.abs_diff(share) > 1 {
            judge.broken.push(format!("in the end {name} is {phase:?} with a share of {had}, not {share}"));
        }
    }
    (judge.broken, judge.moves)
}

fn seeds() -> Range<u64> {
    let text = std::env::var("SIGNALBOX_FAULT_SEEDS").unwrap_or_else(|_| "40".to_owned());
    let number = |text: &str| text.parse().expect("SIGNALBOX_FAULT_SEEDS is neither a number nor a range such as 7..8");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

#[test]
fn whatever_fails_no_promise_is_broken_and_the_fleet_comes_to_rest() {
    over_seeds(|_| Vec::new());
}

/// What a new leader reads in the status was written by another clock: then a trip may end at once, or last as long as the
/// longest. Nothing else may come of it.
#[test]
fn replicas_whose_clocks_are_an_hour_apart_take_turns_and_break_no_promise() {
    over_seeds(|seed| {
        let leader = |from| Leader { from, ahead: if (from / TURN + seed).is_multiple_of(2) { 3_600 } else { -3_600 } };
        (1..FAULTY / TURN).map(|turn| leader(turn * TURN)).collect()
    });
}

/// Over many seeds, with the leaders that this says.
fn over_seeds(leaders: impl Fn(u64) -> Vec<Leader> + Sync) {
    let (broken, tripped) = (std::sync::Mutex::new(Vec::new()), std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (broken, tripped, leaders) = (&broken, &tripped, &leaders);
            scope.spawn(move || {
                for seed in seeds().filter(|seed| seed % 2 == part) {
                    let regions = 2 + usize::try_from(seed % 3).unwrap();
                    let intent = intent(regions);
                    let names: Vec<_> = intent.regions.iter().map(|region| region.name.clone()).collect();
                    let faults = drawn(&names, 30..FAULTY, seed);
                    // From a third to four fifths of what the least shards settle.
                    let load = 0.33 + f64::from(u32::try_from(seed % 7).unwrap()) * 0.08;
                    let rate = load * f64::from(u32::try_from(regions * 2).unwrap()) * 500.0;
                    let (said, moves) = run(&intent, faults.clone(), leaders(seed), (seed, rate));
                    if !moves.is_empty() {
                        tripped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    if !said.is_empty() {
                        broken.lock().unwrap().push((seed, said, faults, moves));
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    let seeds: Vec<_> = broken.iter().map(|(seed, ..)| *seed).collect();
    assert!(broken.is_empty(), "{} seeds break a promise: {seeds:?}; the first: {:#?}", seeds.len(), broken[0]);
    // Otherwise nothing was put to the test.
    let (tripped, all) = (tripped.into_inner(), self::seeds().count());
    assert!(all < 20 || tripped * 2 > all, "in {tripped} of {all} schedules only was any region tripped");
}

/// One fault in eu-west of two regions, and each change of a phase.
fn one(kind: FaultKind, everywhere: bool, seconds: Range<u64>) -> Vec<(u64, String, BreakerPhase)> {
    let intent = intent(2);
    let fault = Fault { region: (!everywhere).then(|| "eu-west".to_owned()), kind, seconds };
    let (broken, moves) = run(&intent, vec![fault], Vec::new(), (1, 1000.0));
    assert_eq!(broken, Vec::<String>::new());
    moves
}

#[test]
fn a_region_that_is_cut_off_is_tripped_within_four_seconds_and_a_failing_sink_within_a_window_and_a_little() {
    let first = |moves: Vec<(u64, String, BreakerPhase)>| moves.into_iter().next().expect("nothing was tripped");
    let (at, name, _) = first(one(FaultKind::CutOff, false, 60..90));
    assert!(name == "eu-west" && (62..=64).contains(&at), "{name} at {at}");
    let (at, name, _) = first(one(FaultKind::SinkFails(100), false, 60..90));
    assert!(name == "eu-west" && (63..=66).contains(&at), "{name} at {at}");
    let (at, name, _) = first(one(FaultKind::NoShardStarts, false, 60..90));
    assert!(name == "eu-west" && (62..=66).contains(&at), "{name} at {at}");
}

#[test]
fn what_is_no_regions_fault_trips_none() {
    assert_eq!(one(FaultKind::Unheard, false, 60..120), [], "others reach it");
    assert_eq!(one(FaultKind::Unheard, true, 60..120), [], "the operator is cut off");
    assert_eq!(one(FaultKind::SinkFails(100), true, 60..120), [], "a sink fails from everywhere");
    assert_eq!(one(FaultKind::SinkFails(100), false, 60..62), [], "a blip");
    assert_eq!(one(FaultKind::SinkFails(30), false, 60..120), [], "a small share");
}
