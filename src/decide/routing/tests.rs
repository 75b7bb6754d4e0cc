//! Each change of a table, and what makes it.

mod held;
mod life;

use std::collections::BTreeSet;

use signalbox_contract::RoutingReport;

use super::*;
use crate::fixtures;
use crate::fleet::{NotRead, Observation};

/// A region, and what is remembered of it.
struct World {
    seen: RegionSnapshot,
    remembered: Option<Routing>,
    silences: BTreeMap<u32, Timestamp>,
    held: BTreeMap<u32, u64>,
    target: Option<u32>,
    external: bool,
    now: Timestamp,
}

impl World {
    /// Shards that have just started, and have no table.
    fn new(shards: u32) -> Self {
        let mut world = Self {
            seen: fixtures::region(1, shards),
            remembered: None,
            silences: BTreeMap::new(),
            held: BTreeMap::new(),
            target: Some(shards),
            external: false,
            now: fixtures::now(),
        };
        for ordinal in 0..shards {
            world.start(ordinal, 0);
        }
        world
    }

    /// Shards that go by their first table.
    fn settled(shards: u32) -> Self {
        let mut world = Self::new(shards);
        world.look();
        world.push();
        world
    }

    fn start(&mut self, ordinal: u32, uptime_ms: u64) {
        let shard = self.seen.shards.entry(ordinal).or_insert_with(|| fixtures::shard(1, ordinal));
        shard.report = fixtures::routed(ordinal, 0, 0);
        self.report(ordinal, |_, report| report.uptime_ms = uptime_ms);
    }

    fn report(&mut self, ordinal: u32, change: impl FnOnce(&mut RoutingReport, &mut signalbox_contract::ShardReport)) {
        let shard = self.seen.shards.get_mut(&ordinal).unwrap();
        let Observation::Reading { value, .. } = &mut shard.report else { panic!("{ordinal} does not report") };
        let mut routing = value.shard.routing.clone().unwrap();
        change(&mut routing, &mut value.shard);
        value.shard.routing = Some(routing);
    }

    fn says(&mut self, ordinal: u32, change: impl FnOnce(&mut RoutingReport)) {
        self.report(ordinal, |routing, _| change(routing));
    }

    fn is_old(&mut self, ordinal: u32) {
        self.seen.shards.get_mut(&ordinal).unwrap().report = fixtures::reading(3, Duration::ZERO);
    }

    fn silence(&mut self, ordinal: u32) {
        let not_read = NotRead { why: "no".to_owned(), since: self.now };
        self.seen.shards.get_mut(&ordinal).unwrap().report = Observation::Unreachable(not_read);
    }

    fn holds(&mut self, ordinal: u32, events: u64) {
        self.report(ordinal, |_, report| report.backlog_events = events);
    }

    fn without_pod(&mut self, ordinal: u32) {
        let shard = self.seen.shards.get_mut(&ordinal).unwrap();
        (shard.pod, shard.report) = (None, Observation::NotYet);
    }

    fn with_pod(&mut self, ordinal: u32) {
        self.seen.shards.get_mut(&ordinal).unwrap().pod = fixtures::shard(1, ordinal).pod;
    }

    /// Looks, and remembers.
    fn look(&mut self) -> Option<RoutingPlan> {
        let decided = self.decide();
        (self.silences, self.held) = (decided.silences, decided.held);
        self.remembered = decided.plan.as_ref().map(|plan| plan.routing.clone());
        decided.plan
    }

    fn decide(&self) -> Decided {
        desired_routing(&Situation {
            fleet: "orders",
            region: "eu-west",
            target: self.target,
            external: self.external,
            seen: &self.seen,
            remembered: self.remembered.as_ref(),
            silences: Some(&self.silences),
            held: Some(&self.held),
            now: self.now,
        })
    }

    /// The table that comes of it.
    fn table(&mut self) -> Routing {
        self.look().unwrap().routing
    }

    /// All that are in the table and heard have it on disk.
    fn push(&mut self) {
        let table = self.remembered.clone().unwrap();
        for ordinal in table.peers.keys() {
            if heard(&self.seen).contains_key(ordinal) {
                self.says(*ordinal, |says| (says.epoch, says.highest_epoch) = (table.epoch, table.epoch));
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn ordinals(routing: &Routing) -> Vec<u32> {
    routing.peers.keys().copied().collect()
}

#[test]
fn the_first_table_comes_when_all_that_are_wanted_are_there() {
    let mut world = World::new(3);
    world.seen.shards.get_mut(&2).unwrap().report = Observation::NotYet;
    assert_eq!(world.look(), None, "for a moment, those that start are waited for");
    world.start(2, 0);
    let plan = world.look().unwrap();
    assert_eq!((plan.routing.epoch, plan.routing.shards), (1, 3));
    assert_eq!(plan.routing.peers, BTreeMap::from([(0, 0xa0), (1, 0xa1), (2, 0xa2)]));
    let behind: Vec<_> = plan.behind.iter().map(|behind| (behind.pod.as_str(), behind.ip.as_str())).collect();
    assert_eq!(behind[0], ("orders-eu-west-0", "10.244.1.10"));
    assert_eq!(behind.len(), 3);
}

#[test]
fn one_shard_alone_gets_a_table_soon_and_the_others_come_in_with_the_next() {
    let mut world = World::new(1);
    world.target = Some(3);
    world.start(0, 4_999);
    assert_eq!(world.look(), None);
    world.start(0, 5_000);
    assert_eq!(world.table().shards, 1);
    world.push();
    world.start(1, 100);
    world.start(2, 100);
    let table = world.table();
    assert_eq!((table.epoch, table.shards, ordinals(&table)), (2, 3, vec![0, 1, 2]));
}

#[test]
fn without_the_first_shard_the_others_serve_their_slots_after_a_while() {
    let mut world = World::new(3);
    world.seen.shards.remove(&0);
    world.start(1, 29_000);
    assert_eq!(world.look(), None);
    world.start(2, 30_000);
    let table = world.table();
    assert_eq!((table.shards, table.peers[&0], table.lost.clone()), (3, 0, BTreeSet::from([0])));
    world.push();
    world.start(0, 0);
    let table = world.table();
    assert_eq!((table.epoch, table.peers[&0], table.lost.len(), table.volumes_lost), (2, 0xa0, 0, 0));
}

#[test]
fn a_region_of_dispatchers_from_before_routing_has_none() {
    let mut world = World::new(2);
    world.is_old(0);
    world.is_old(1);
    assert_eq!(world.look(), None);
    assert!(!applies(&world.seen));
}

#[test]
fn a_rollout_from_before_routing_does_not_wait_for_those_that_wait_for_it() {
    let mut world = World::new(3);
    world.is_old(0);
    world.is_old(1);
    assert_eq!(world.look(), None);
    world.start(2, 5_000);
    let table = world.table();
    assert_eq!((table.shards, table.lost.clone()), (3, BTreeSet::from([0, 1])));
    world.push();
    world.start(1, 0);
    let table = world.table();
    assert_eq!((table.epoch, table.peers[&1], table.lost.clone()), (2, 0xa1, BTreeSet::from([0])));
    world.push();
    world.start(0, 0);
    let table = world.table();
    assert_eq!((table.lost.len(), table.volumes_lost), (0, 0), "a log that was not known is no volume that was lost");
}

#[test]
fn shards_that_start_together_come_in_with_one_table() {
    let mut world = World::settled(2);
    world.target = Some(4);
    world.start(2, 2_000);
    assert_eq!(world.table().shards, 2);
    world.start(2, 2_900);
    world.start(3, 1_500);
    assert_eq!((world.table().shards, world.table().epoch), (4, 2));
}

#[test]
fn one_that_does_not_start_does_not_keep_those_before_it_waiting() {
    let mut world = World::settled(2);
    world.target = Some(4);
    world.start(2, 3_000);
    assert_eq!(ordinals(&world.table()), [0, 1, 2]);
    let mut world = World::settled(2);
    world.target = Some(4);
    world.start(3, 3_000);
    assert_eq!(ordinals(&world.table()), [0, 1], "slots are given to ordinals without a gap");
}

#[test]
fn a_shard_that_goes_stays_in_the_table_until_it_says_that_it_is_empty_under_it() {
    let mut world = World::settled(3);
    world.target = Some(2);
    let table = world.table();
    assert_eq!((table.epoch, table.shards, ordinals(&table)), (2, 2, vec![0, 1, 2]));
    world.says(2, |says| says.empty = true);
    assert_eq!(world.table(), table, "what it says of the table before is not meant");
    world.push();
    world.says(2, |says| says.empty = true);
    let table = world.table();
    assert_eq!((table.epoch, table.shards, ordinals(&table)), (3, 2, vec![0, 1]));
    assert_eq!(world.table(), table, "it is not taken in again because it is still there");
}

#[test]
fn a_shard_that_goes_and_is_wanted_again_owns_slots_at_once() {
    let mut world = World::settled(3);
    world.target = Some(2);
    world.look();
    world.push();
    world.says(2, |says| says.empty = true);
    world.target = Some(3);
    let table = world.table();
    assert_eq!((table.epoch, table.shards, ordinals(&table)), (3, 3, vec![0, 1, 2]));
}

#[test]
fn fewer_shards_wait_until_an_earlier_change_is_done_and_more_do_not() {
    let mut world = World::settled(2);
    world.target = Some(3);
    world.start(2, 3_000);
    world.look();
    world.target = Some(2);
    assert_eq!(world.table().shards, 3, "shards that have not taken the table");
    world.push();
    world.says(2, |says| says.claiming = 7);
    assert_eq!(world.table().shards, 3, "a shard that claims");
    world.target = Some(4);
    world.start(3, 3_000);
    assert_eq!(world.table().shards, 4);
    world.push();
    world.says(2, |says| says.claiming = 0);
    world.target = Some(2);
    assert_eq!(world.table().shards, 2);
}

#[test]
fn where_somebody_else_decides_the_slots_move_at_once() {
    let mut world = World::settled(4);
    world.external = true;
    world.says(0, |says| says.claiming = 7);
    world.target = Some(2);
    world.seen.rollout.as_mut().unwrap().replicas = 2;
    let table = world.table();
    assert_eq!((table.shards, ordinals(&table), table.lost.len()), (2, vec![0, 1, 2, 3], 0));
    world.push();
    world.says(2, |says| says.empty = true);
    world.seen.shards.get_mut(&3).unwrap().pod = None;
    let table = world.table();
    assert_eq!(ordinals(&table), [0, 1, 3], "what it has not handed over is on its volume");
    assert_eq!(table.lost, BTreeSet::from([3]));
    world.seen.shards.remove(&3);
    let table = world.table();
    assert_eq!((ordinals(&table), table.lost.len(), table.volumes_lost), (vec![0, 1], 0, 1));
}

#[test]
fn a_region_of_no_shards_keeps_its_table() {
    let mut world = World::settled(2);
    let table = world.table();
    (world.external, world.target) = (true, Some(0));
    assert_eq!(world.table(), table);
    world.target = None;
    assert_eq!(world.table(), table);
}

#[test]
fn a_shard_is_lost_when_it_is_silent_for_a_minute_and_somebody_waits() {
    let mut world = World::settled(3);
    let table = world.table();
    world.silence(1);
    world.look();
    world.pass(3_600);
    assert_eq!(world.table(), table, "nobody waits");
    world.says(0, |says| says.claiming = 3);
    let lost = world.table();
    assert_eq!((lost.epoch, lost.shards, lost.lost.clone()), (2, 3, BTreeSet::from([1])));
    assert_eq!(ordinals(&lost), [0, 1, 2]);
    let plan = world.look().unwrap();
    assert_eq!(plan.claiming, 3);
    world.start(1, 0);
    let back = world.table();
    assert_eq!((back.epoch, back.lost.len()), (3, 0));
}

#[test]
fn a_shard_that_is_silent_for_less_than_a_minute_is_waited_for() {
    let mut world = World::settled(3);
    let table = world.table();
    world.says(0, |says| says.claiming = 3);
    world.silence(1);
    world.look();
    world.pass(59);
    assert_eq!(world.table(), table);
    world.pass(1);
    assert_ne!(world.table(), table);
}

#[test]
fn a_volume_that_was_lost_is_counted_and_its_shard_gets_a_table_for_its_new_log() {
    let mut world = World::settled(2);
    world.start(1, 0);
    world.says(1, |says| says.log = 0xbeef);
    let plan = world.look().unwrap();
    assert_eq!((plan.routing.epoch, plan.routing.peers[&1], plan.routing.volumes_lost), (2, 0xbeef, 1));
    assert_eq!(plan.behind.len(), 2);
}

#[test]
fn tables_that_were_forgotten_are_left_far_behind() {
    let mut world = World::settled(3);
    world.target = Some(2);
    for ordinal in 0..3 {
        world.start(ordinal, 60_000);
        world.says(ordinal, |says| (says.epoch, says.highest_epoch) = (7, 8));
    }
    world.silence(1);
    world.remembered = None;
    let table = world.table();
    assert_eq!((table.epoch, table.shards, ordinals(&table)), (8 + LEAP, 2, vec![0, 1, 2]));
    assert_eq!((table.peers[&1], table.lost.len()), (0, 0), "one that is silent may be accepting: it is waited for");
    assert_eq!(world.table(), table);
    world.says(0, |says| says.highest_epoch = 100);
    assert_eq!(world.table().epoch, 100 + LEAP, "a status that was put back to what it was once");
}

#[test]
fn who_is_empty_under_a_table_stays_while_others_know_a_later_one() {
    let mut world = World::settled(3);
    world.target = Some(2);
    world.look();
    world.push();
    world.says(2, |says| says.empty = true);
    world.says(0, |says| (says.epoch, says.highest_epoch) = (5, 5));
    let table = world.table();
    assert_eq!((table.epoch, ordinals(&table)), (5 + LEAP, vec![0, 1, 2]), "the later one may give it slots");
}

#[test]
fn a_shard_that_says_it_is_another_is_not_heard() {
    let mut world = World::new(2);
    world.says(1, |says| says.ordinal = 0);
    assert_eq!(world.look(), None);
}

#[test]
fn a_shard_beyond_those_wanted_that_holds_events_hands_them_over() {
    let mut world = World::settled(2);
    world.start(2, 0);
    assert_eq!(ordinals(&world.table()), [0, 1]);
    world.report(2, |_, report| report.backlog_events = 5);
    let table = world.table();
    assert_eq!((table.shards, ordinals(&table)), (2, vec![0, 1, 2]));
}

#[test]
fn while_somebody_waits_the_region_is_looked_at_again_soon_and_else_not() {
    let mut world = World::new(2);
    world.seen.shards.get_mut(&1).unwrap().report = Observation::NotYet;
    let soon = Some(Duration::from_secs(1));
    assert_eq!(world.decide().recheck_after, soon, "one waits for the first table");
    world.start(1, 0);
    world.look();
    assert_eq!(world.decide().recheck_after, soon, "the table has to be given out");
    world.push();
    assert_eq!(world.decide().recheck_after, None);
    world.says(0, |says| says.claiming = 1);
    assert_eq!(world.decide().recheck_after, Some(Duration::from_secs(2)));
    world.says(0, |says| says.claiming = 0);
    world.target = Some(4);
    world.start(3, 60_000);
    assert_eq!(world.decide().recheck_after, soon, "one waits for the shard before it");
}

#[test]
fn slots_do_not_begin_to_move_while_a_shard_that_must_seal_is_away_for_less_than_a_minute() {
    for (target, shards) in [(4, 4), (2, 2)] {
        let mut world = World::settled(3);
        world.target = Some(target);
        world.start(3, 60_000);
        world.seen.shards.get_mut(&1).unwrap().pod.as_mut().unwrap().terminating = true;
        assert_eq!(world.table().shards, 3, "it is being replaced");
        world.seen.shards.get_mut(&1).unwrap().pod.as_mut().unwrap().terminating = false;
        world.silence(1);
        assert_eq!(world.table().shards, 3);
        assert!(world.decide().recheck_after.is_some());
        world.pass(60);
        for ordinal in [0, 2, 3] {
            let shard = world.seen.shards.get_mut(&ordinal).unwrap();
            let Observation::Reading { taken_at, .. } = &mut shard.report else { panic!() };
            *taken_at = world.now;
        }
        assert_eq!(world.table().shards, shards, "then it turns out to be lost");
    }
}

#[test]
fn slots_do_not_begin_to_move_on_reports_that_are_old() {
    let mut world = World::settled(3);
    world.target = Some(2);
    world.pass(6);
    assert_eq!(world.table().shards, 3);
    world.external = true;
    assert_eq!(world.table().shards, 2, "where somebody else decides, they are going already");
}

#[test]
fn a_shard_that_is_still_starting_is_not_taken_for_one_from_before_routing() {
    let mut world = World::new(2);
    world.start(0, 60_000);
    world.is_old(1);
    let Observation::Reading { value, .. } = &mut world.seen.shards.get_mut(&1).unwrap().report else { panic!() };
    value.shard.accepting = false;
    let table = world.table();
    assert_eq!((table.shards, table.lost.len()), (1, 0));
}
