//! A region's life: `decide` against shards that do what the protocol asks of them, with restarts, silence and lost
//! volumes in between. When faults stop, it comes to rest.

use std::collections::BTreeSet;

use proptest::prelude::*;
use signalbox_contract::{RoutingReport, RoutingTable};

use super::*;
use crate::decide::decide;
use crate::fleet::{
    FleetHistory, FleetIntent, FleetMemory, FleetPlan, FleetSnapshot, Rollout, ScalingMode, ShardRange,
};

const REGION: &str = "eu-west";
/// Steps of one second that a shard needs to start, to claim, and to hand over.
const STEPS: u64 = 3;

/// A shard: what is on its volume, and what it is doing.
#[derive(Clone, Debug)]
struct Shard {
    log: u64,
    table: Option<RoutingTable>,
    /// Seconds since it began, and since it took its table.
    up: u64,
    since: u64,
    silent_for: u64,
    /// Whether there may be events on its volume.
    holds: bool,
}

#[derive(Clone, Debug)]
enum Fault {
    None,
    Restart(u32),
    Silence(u32, u64),
    LoseVolume(u32),
    Resize(u32),
    /// Another operator, which remembers nothing but the status.
    NewLeader,
}

struct Region {
    intent: FleetIntent,
    shards: BTreeMap<u32, Shard>,
    /// Volumes of shards that went.
    kept: BTreeMap<u32, Shard>,
    replicas: u32,
    memory: FleetMemory,
    history: FleetHistory,
    logs: u64,
    now: Timestamp,
    /// Every table that was given out, by epoch.
    given: BTreeMap<u64, RoutingTable>,
    /// Shards that were told to go while they owned slots or had not said that they are empty.
    torn: Vec<u32>,
}

impl Region {
    fn new(shards: u32) -> Self {
        let mut intent = fixtures::intent();
        intent.regions.truncate(1);
        intent.scaling.mode = ScalingMode::Fixed;
        intent.regions[0].shards = ShardRange::always(shards);
        Self {
            intent,
            shards: BTreeMap::new(),
            kept: BTreeMap::new(),
            replicas: shards,
            memory: FleetMemory::default(),
            history: FleetHistory::default(),
            logs: 0,
            now: fixtures::now(),
            given: BTreeMap::new(),
            torn: Vec::new(),
        }
    }

    fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::None => {}
            Fault::Restart(ordinal) => {
                self.shards.get_mut(ordinal).into_iter().for_each(|shard| (shard.up, shard.since) = (0, 0));
            }
            Fault::Silence(ordinal, seconds) => {
                self.shards.get_mut(ordinal).into_iter().for_each(|shard| shard.silent_for = *seconds);
            }
            Fault::LoseVolume(ordinal) => {
                self.logs += 1;
                let log = self.logs;
                let shard = self.shards.get_mut(ordinal).into_iter();
                shard.for_each(|shard| {
                    *shard = Shard { log, table: None, up: 0, since: 0, silent_for: 0, holds: false }
                });
            }
            Fault::Resize(shards) => self.intent.regions[0].shards = ShardRange::always(*shards),
            Fault::NewLeader => self.history = FleetHistory::default(),
        }
    }

    /// What the StatefulSet does, and what shards do among themselves, in a second.
    fn second(&mut self) {
        self.now += Duration::from_secs(1);
        for ordinal in 0..self.replicas {
            if !self.shards.contains_key(&ordinal) {
                self.logs += 1;
                let log = self.logs;
                let new = Shard { log, table: None, up: 0, since: 0, silent_for: 0, holds: false };
                let shard = self.kept.remove(&ordinal).unwrap_or(new);
                self.shards.insert(ordinal, Shard { up: 0, since: 0, silent_for: 0, ..shard });
            }
        }
        while let Some(last) = self.shards.last_entry().filter(|last| *last.key() >= self.replicas) {
            let (ordinal, shard) = last.remove_entry();
            if shard.holds {
                self.torn.push(ordinal);
            }
            self.kept.insert(ordinal, shard);
        }
        for (&ordinal, shard) in &mut self.shards {
            shard.up += 1;
            shard.since += 1;
            shard.holds = !is_empty(ordinal, shard) && (shard.holds || owns(ordinal, shard));
            shard.silent_for = shard.silent_for.saturating_sub(1);
        }
    }

    fn snapshot(&self) -> FleetSnapshot {
        let mut seen = fixtures::region(1, self.replicas);
        seen.rollout =
            Some(Rollout { replicas: self.replicas, complete: true, replaces: false, updated: self.replicas });
        seen.shards = self.shards.keys().map(|&ordinal| (ordinal, fixtures::shard(1, ordinal))).collect();
        // Somebody claims for as long as one that is waited for is silent.
        let awaited = |table: &RoutingTable| {
            let others = table.peers.iter().filter(|peer| !table.lost.contains(&peer.ordinal));
            others.filter_map(|peer| self.shards.get(&peer.ordinal)).any(|peer| peer.silent_for > 0 || peer.up < STEPS)
        };
        for (ordinal, shard) in &self.shards {
            let silent = shard.silent_for > 0 || shard.up < STEPS;
            let there = seen.shards.get_mut(ordinal).unwrap();
            if silent {
                there.report = Observation::NotYet;
                continue;
            }
            let claims = shard
                .table
                .as_ref()
                .is_some_and(|table| *ordinal < table.shards && (shard.since < STEPS || awaited(table)));
            let Observation::Reading { mut value, .. } = fixtures::routed(*ordinal, 0, 0) else { panic!() };
            let epoch = shard.table.as_ref().map_or(0, |table| table.epoch);
            value.shard.uptime_ms = (shard.up - STEPS) * 1000;
            value.shard.routing = Some(RoutingReport {
                ordinal: *ordinal,
                log: shard.log,
                epoch,
                highest_epoch: epoch,
                claiming: if claims { 10 } else { 0 },
                at_risk: 0,
                empty: is_empty(*ordinal, shard),
            });
            there.report = Observation::Reading { value, taken_at: self.now };
        }
        let regions = BTreeMap::from([(REGION.to_owned(), seen)]);
        FleetSnapshot { regions, history: self.history.clone() }
    }

    /// One look, as the controller takes it.
    fn look(&mut self) -> FleetPlan {
        let plan = decide(&self.intent, &self.snapshot(), &self.memory, self.now);
        (self.memory, self.history, self.replicas) = (plan.memory(), plan.history.clone(), plan.regions[0].replicas);
        let Some(routing) = plan.regions[0].routing.clone() else { return plan };
        let table = routing.routing.table("orders", REGION, "shop");
        let given = self.given.entry(table.epoch).or_insert_with(|| table.clone());
        assert_eq!(*given, table, "one epoch, one table");
        for behind in routing.behind {
            let ordinal = crate::fleet::names::ordinal(&behind.pod).unwrap();
            let shard = self.shards.get_mut(&ordinal).unwrap();
            let named = table.peers.iter().find(|peer| peer.ordinal == ordinal).unwrap().log;
            assert_eq!(named, shard.log, "it would not take it");
            (shard.table, shard.since) = (Some(table.clone()), 0);
        }
        plan
    }

    fn run(&mut self, fault: &Fault) -> FleetPlan {
        self.fault(fault);
        self.second();
        self.look()
    }
}

fn owns(ordinal: u32, shard: &Shard) -> bool {
    shard.table.as_ref().is_some_and(|table| ordinal < table.shards)
}

/// It owns nothing, and has had the time to hand over.
fn is_empty(ordinal: u32, shard: &Shard) -> bool {
    shard.table.as_ref().is_some_and(|table| ordinal >= table.shards) && shard.since >= STEPS
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        2 => (0..5u32).prop_map(Fault::Restart),
        1 => (0..5u32, 1..90u64).prop_map(|(ordinal, seconds)| Fault::Silence(ordinal, seconds)),
        1 => (0..5u32).prop_map(Fault::LoseVolume),
        2 => (1..6u32).prop_map(Fault::Resize),
        1 => Just(Fault::NewLeader),
    ]
}

proptest! {
    // Each is several minutes of a region's life.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn a_region_comes_to_rest_at_its_size_and_no_shard_goes_with_what_it_holds(
        shards in 1..5u32, faults in proptest::collection::vec(any_fault(), 0..120),
    ) {
        let mut region = Region::new(shards);
        for fault in &faults {
            region.run(fault);
        }
        for _ in 0..200 {
            region.run(&Fault::None);
        }
        let target = region.intent.regions[0].shards.min;
        let plan = region.run(&Fault::None);
        let routing = plan.regions[0].routing.clone().unwrap();
        prop_assert_eq!(plan.regions[0].replicas, target, "{:?}", plan.regions[0]);
        prop_assert_eq!(routing.routing.shards, target);
        prop_assert_eq!(routing.routing.peers.into_keys().collect::<Vec<_>>(), (0..target).collect::<Vec<_>>());
        prop_assert!(routing.routing.lost.is_empty() && routing.behind.is_empty() && routing.claiming == 0);
        prop_assert_eq!(&region.torn, &[0; 0]);
        let logs: BTreeSet<u64> = region.shards.values().map(|shard| shard.log).collect();
        prop_assert_eq!(logs.len(), region.shards.len());
        let epoch = routing.routing.epoch;
        for _ in 0..20 {
            let plan = region.run(&Fault::None);
            prop_assert_eq!(plan.regions[0].routing.as_ref().unwrap().routing.epoch, epoch, "at rest, nothing changes");
        }
    }
}

#[test]
fn growing_by_three_shards_takes_one_table_and_shrinking_by_three_takes_two() {
    let mut region = Region::new(1);
    for _ in 0..20 {
        region.run(&Fault::None);
    }
    assert_eq!(region.given.len(), 1);
    region.run(&Fault::Resize(4));
    for _ in 0..20 {
        region.run(&Fault::None);
    }
    assert_eq!((region.given.len(), region.replicas), (2, 4));
    region.run(&Fault::Resize(1));
    for _ in 0..20 {
        region.run(&Fault::None);
    }
    assert_eq!((region.given.len(), region.replicas), (4, 1));
}
