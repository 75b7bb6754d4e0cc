//! What is known to be on the volumes of shards that leave, are lost, or have no pod.

use super::*;

/// Four shards, of which somebody takes two away; the last holds so many events.
fn scaled_down(events: u64) -> World {
    let mut world = World::settled(4);
    (world.external, world.target) = (true, Some(2));
    world.seen.rollout.as_mut().unwrap().replicas = 2;
    world.holds(3, events);
    world
}

/// The same, and the pods went before all was handed over.
fn taken_away(events: u64) -> World {
    let mut world = scaled_down(events);
    world.look();
    world.push();
    world.says(2, |says| says.empty = true);
    world.look();
    world.without_pod(2);
    world.without_pod(3);
    world
}

fn held(ordinal: u32, events: u64) -> BTreeMap<u32, u64> {
    BTreeMap::from([(ordinal, events)])
}

#[test]
fn what_a_shard_holds_is_counted_while_it_leaves_and_makes_no_epoch() {
    let mut world = scaled_down(1_234);
    world.holds(0, 77);
    let table = world.table();
    assert_eq!((table.epoch, table.held.clone()), (2, held(3, 1_200)), "owners tell of theirs by themselves");
    world.push();
    world.holds(3, 98);
    assert_eq!(world.table(), Routing { held: held(3, 98), ..table.clone() });
    world.holds(3, 0);
    assert_eq!(world.table(), Routing { held: BTreeMap::new(), ..table }, "none is not told as 0");
    let plan = world.look().unwrap();
    assert_eq!((plan.stranded_events, plan.stranded), (0, None));
}

#[test]
fn what_was_not_handed_over_stays_known_when_the_pod_is_gone() {
    let mut world = taken_away(1_234);
    let plan = world.look().unwrap();
    assert_eq!((plan.routing.held.clone(), plan.routing.lost.clone()), (held(3, 1_200), BTreeSet::from([3])));
    assert_eq!(plan.stranded_events, 1_200);
    let kept = "its PersistentVolumeClaim log-orders-eu-west-3 still holds about 1.2k events: scale back up to 4 shards \
                to have them delivered";
    assert_eq!(plan.stranded, Some(format!("Pod orders-eu-west-3 is gone, and {kept}")));
    let risk = "Pod orders-eu-west-3 was taken away before it had handed over everything, and its PersistentVolumeClaim \
                log-orders-eu-west-3 still holds about 1.2k events: scale back up to 4 shards to have that delivered; it \
                comes late, and may come after younger events of its keys";
    assert_eq!(plan.risk.as_deref(), Some(risk));
    world.pass(86_400);
    assert_eq!(world.look().unwrap(), plan);
}

#[test]
fn a_new_leader_goes_on_with_what_is_known_of_those_that_are_gone() {
    let mut world = taken_away(1_234);
    let plan = world.look().unwrap();
    (world.silences, world.held) = (BTreeMap::new(), BTreeMap::new());
    assert_eq!(world.look().unwrap(), plan);
}

#[test]
fn what_is_on_the_volume_of_a_shard_that_is_back_is_in_its_report_again() {
    let mut world = taken_away(1_234);
    world.look();
    world.target = Some(4);
    world.seen.rollout.as_mut().unwrap().replicas = 4;
    for ordinal in [2, 3] {
        world.with_pod(ordinal);
    }
    let table = world.table();
    assert_eq!(table.held, held(3, 1_200), "it starts, and has not said anything yet");
    for ordinal in [2, 3] {
        world.start(ordinal, 3_000);
        world.holds(ordinal, 1_234);
    }
    let table = world.table();
    assert_eq!((table.shards, table.held), (4, BTreeMap::new()));
    world.silence(3);
    assert_eq!(world.table().held, BTreeMap::new(), "one that is away for a moment is an owner all the same");
}

#[test]
fn what_was_on_a_volume_that_is_deleted_is_known_no_more() {
    let mut world = taken_away(1_234);
    world.look();
    world.seen.shards.remove(&3);
    let plan = world.look().unwrap();
    assert_eq!((plan.routing.held, plan.stranded, plan.routing.volumes_lost), (BTreeMap::new(), None, 1));
    assert_eq!(world.held.keys().copied().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn what_a_shard_held_before_it_was_lost_is_told_until_it_is_back() {
    let mut world = World::settled(3);
    world.holds(1, 5_678);
    world.look();
    world.silence(1);
    world.says(0, |says| says.claiming = 3);
    assert_eq!(world.table().held, BTreeMap::new(), "it is only silent");
    world.pass(60);
    let plan = world.look().unwrap();
    assert_eq!((plan.routing.held.clone(), plan.stranded_events), (held(1, 5_700), 5_700));
    let stranded = "about 5.7k events of Pod orders-eu-west-1 come late, when it is back";
    assert_eq!(plan.stranded.as_deref(), Some(stranded));
    assert!(plan.risk.unwrap().contains("; about 5.7k events come late when it is back, and may come after younger"));
    world.held = BTreeMap::new();
    assert_eq!(world.table().held, held(1, 5_700), "a new leader");
    world.start(1, 0);
    assert_eq!(world.table().held, BTreeMap::new());
}

#[test]
fn a_leader_that_never_heard_a_shard_says_that_it_is_lost_and_no_count() {
    let mut world = World::settled(3);
    world.holds(1, 5_678);
    world.look();
    (world.silences, world.held) = (BTreeMap::new(), BTreeMap::new());
    world.silence(1);
    world.says(0, |says| says.claiming = 3);
    world.look();
    world.pass(60);
    let plan = world.look().unwrap();
    assert_eq!((plan.routing.lost, plan.routing.held), (BTreeSet::from([1]), BTreeMap::new()));
    assert_eq!((plan.stranded, plan.stranded_events), (None, 0));
    assert!(plan.risk.unwrap().contains("; what it holds comes late, and may come after younger"));
}

#[test]
fn a_region_of_no_shards_says_what_waits_on_its_volumes() {
    let mut world = World::settled(2);
    (world.external, world.target) = (true, Some(0));
    world.seen.rollout.as_mut().unwrap().replicas = 0;
    world.holds(0, 20);
    world.holds(1, 30);
    let table = world.table();
    world.without_pod(0);
    world.without_pod(1);
    let plan = world.look().unwrap();
    assert_eq!(plan.routing, Routing { held: BTreeMap::from([(0, 20), (1, 30)]), ..table });
    assert_eq!(plan.stranded_events, 50);
    let stranded = plan.stranded.unwrap();
    let all = "still holds about 20 events, and 1 like it: scale back up to 2 shards to have them delivered";
    assert!(stranded.starts_with("Pod orders-eu-west-0 is gone, and") && stranded.ends_with(all), "{stranded}");
}

#[test]
fn a_shard_that_restarts_is_counted_and_not_complained_of() {
    let mut world = World::settled(2);
    world.holds(1, 30);
    world.look();
    world.without_pod(1);
    let plan = world.look().unwrap();
    assert_eq!((plan.routing.held, plan.stranded_events, plan.stranded), (held(1, 30), 30, None));
}
