//! Courses to the shards of a region beside each other.

use std::sync::Arc;
use std::time::Duration;

use signalbox_contract::{Peer, RegionShard, RegionTraffic, RoutingTable};

use super::*;
use crate::serve::slots::KEYLESS;

fn places(shards: usize) -> Places {
    let shard = |n| RegionShard { address: format!("shard-{n}"), events: None };
    Places::new(&RegionTraffic { shards: (0..shards).map(shard).collect(), ..RegionTraffic::default() })
}

/// A region of two shards to which everything goes.
fn region(rate: Option<f64>) -> (Region, Instant) {
    let now = Instant::now();
    let mut region = Region::new(now);
    region.guide(places(2), rate, now);
    region.assign(&SlotSet::all(), &SlotSet::default(), None, now);
    (region, now)
}

fn carried(moved: usize, ending: Ending) -> Carried {
    Carried { next: 9, counted: 9, found: 0, moved, ending }
}

fn shard(n: usize) -> Shard {
    ["shard-0", "shard-1"].get(n).map(|address| (*address).to_owned())
}

#[test]
fn each_shard_has_a_task_of_its_own_and_one_that_is_away_holds_up_no_other() {
    let (mut region, now) = region(None);
    let (tasks, wake) = region.next(now, 9);
    let mut goals: Vec<_> = tasks.iter().map(|(shard, _)| shard.clone()).collect();
    goals.sort();
    assert_eq!((goals, wake), (vec![None, shard(0), shard(1)], None));
    for (goal, task) in &tasks {
        assert_eq!(task.slots.contains(KEYLESS), goal.is_none());
        let others = tasks.iter().filter(|(other, _)| other != goal);
        assert!(
            others.fold(SlotSet::default(), |all, (_, task)| all.union(&task.slots)).common(&task.slots).is_empty()
        );
    }
    assert_eq!(region.flying(), SlotSet::all());
    let away = Ending::Unreached(["shard-1".to_owned()].into(), "refused".to_owned());
    region.ended(&shard(1), Carried { next: 0, ..carried(0, away) }, now);
    region.ended(&shard(0), Carried { next: 5, ..carried(3, Ending::Fine) }, now);
    let (tasks, wake) = region.next(now, 9);
    assert_eq!(tasks.iter().map(|(shard, task)| (shard.clone(), task.next)).collect::<Vec<_>>(), [(shard(0), 5)]);
    assert!(wake.is_some_and(|at| at > now), "the other is tried again");
}

#[test]
fn a_slot_whose_owner_there_is_another_now_goes_there_when_it_has_landed() {
    let (mut region, now) = region(None);
    assert_eq!(region.next(now, 9).0.len(), 3);
    let peer = |ordinal| Peer { ordinal, address: format!("shard-{ordinal}"), log: 0 };
    let table = RoutingTable { epoch: 3, shards: 1, peers: vec![peer(0)], ..RoutingTable::default() };
    region.ended(&shard(0), carried(0, Ending::Moved(Arc::new(table))), now);
    for landed in [false, true] {
        if landed {
            region.ended(&shard(1), carried(0, Ending::Fine), now);
        }
        let elsewhere = [7].into_iter().collect();
        region.assign(&SlotSet::all(), &elsewhere, None, now);
        let (tasks, _) = region.next(now, 99);
        let (goal, task) = &tasks[0];
        assert_eq!((tasks.len(), goal), (1, &shard(0)));
        let missing: Vec<_> = SlotSet::all().without(&task.slots).iter().collect();
        assert!(missing.contains(&KEYLESS) && missing.contains(&7), "{missing:?}");
        assert_eq!(missing.len() == 2, landed, "{missing:?}");
        region.ended(&shard(0), carried(0, Ending::Fine), now);
    }
    region.ended(&None, carried(0, Ending::Fine), now);
    region.assign(&SlotSet::default(), &SlotSet::default(), None, now);
    assert!(region.is_idle());
}

#[test]
fn all_shards_together_get_no_more_than_the_region_takes_and_each_gets_some() {
    let (mut region, mut now) = region(Some(1000.0));
    let (began, mut gone) = (now, std::collections::BTreeMap::<Shard, usize>::new());
    for _ in 0..4000 {
        now += Duration::from_millis(5);
        for (goal, task) in region.next(now, 1_000_000).0 {
            *gone.entry(goal.clone()).or_default() += task.most_events;
            let next = Carried { next: 9, counted: 1_000_000, found: 0, ..carried(task.most_events, Ending::Fine) };
            region.ended(&goal, next, now);
        }
    }
    let all: usize = gone.values().sum();
    let most = 1000.0 * ((now - began).as_secs_f64() + 0.25);
    assert!((0.9 * most..=most).contains(&f64::from(u32::try_from(all).unwrap())), "{all} of {most}");
    assert!(gone.len() == 3 && gone.values().all(|part| part * 5 > all), "{gone:?}");
}

#[test]
fn what_was_kept_for_a_batch_that_did_not_go_may_go_again() {
    let (mut region, now) = region(Some(1000.0));
    let later = now + Duration::from_secs(1);
    let (tasks, _) = region.next(later, 9);
    let kept: usize = tasks.iter().map(|(_, task)| task.most_events).sum();
    assert!(kept > 100 && kept <= 250, "{kept}");
    assert!(!region.held_back(later), "nothing is known to wait");
    for (goal, task) in tasks.into_iter().filter(|(_, task)| task.most_events > 0) {
        let away = Ending::Wait(Duration::from_secs(30), "full".to_owned());
        region.ended(&goal, Carried { next: task.next, ..carried(0, away) }, later);
    }
    region.guide(places(2), Some(1000.0), later);
    let again: usize = region.next(later, 9).0.iter().map(|(_, task)| task.most_events).sum();
    assert_eq!(again, kept);
}
