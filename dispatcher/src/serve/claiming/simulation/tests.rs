//! What is run. `CLAIMING_RUNS=100 cargo test -p signalbox-dispatcher --lib claiming::simulation` draws more worlds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::node::KEYLESS_FROM;
use super::{Setup, World, producer};

/// Runs a world to its end, and checks what the sink got.
async fn run(setup: Setup) {
    let world = World::new(setup.clone()).await;
    world.push(1, |_| true);
    let last = setup.counts.len() as u64;
    let keys = (0..setup.keys).chain([KEYLESS_FROM, KEYLESS_FROM + 1]);
    let producers: Vec<_> = keys.map(|key| tokio::spawn(producer::run(world.clone(), key))).collect();
    let restarting = tokio::spawn(restart(world.clone()));
    for epoch in 2..=last {
        tokio::time::sleep(Duration::from_millis(world.dice.below(150))).await;
        if setup.patient {
            world.carried_out(epoch - 1).await;
        }
        let hears = usize::try_from(world.dice.below(u64::MAX)).unwrap() % world.nodes.len();
        world.push(epoch, |at| at == hears || setup.patient);
    }
    restarting.await.unwrap();
    world.network.faults.store(false, Ordering::Relaxed);
    world.push(last, |_| true);
    world.until("everything is accepted", || producers.iter().all(JoinHandle::is_finished)).await;
    futures::future::try_join_all(producers).await.unwrap();
    world.carried_out(last).await;
    world
        .until("everything is delivered", || {
            world.nodes.iter().all(|node| node.with(|up| up.stats().events) == Some(0))
        })
        .await;
    check(&setup, &world.sink.delivered());
    for node in &world.nodes {
        node.stop().await;
    }
}

async fn restart(world: Arc<World>) {
    for _ in 0..world.setup.restarts {
        tokio::time::sleep(Duration::from_millis(world.dice.below(200))).await;
        let at = usize::try_from(world.dice.below(world.nodes.len() as u64)).unwrap();
        world.nodes[at].stop().await;
        tokio::time::sleep(Duration::from_millis(world.dice.below(50))).await;
        world.nodes[at].start().await;
    }
}

fn check(setup: &Setup, delivered: &BTreeMap<u64, Vec<u64>>) {
    for key in (0..setup.keys).chain([KEYLESS_FROM, KEYLESS_FROM + 1]) {
        let got = delivered.get(&key).cloned().unwrap_or_default();
        let mut first = Vec::new();
        for number in &got {
            if !first.contains(number) {
                first.push(*number);
            }
        }
        if key >= KEYLESS_FROM {
            first.sort_unstable();
        }
        assert_eq!(first, (0..setup.events).collect::<Vec<_>>(), "key {key} of {setup:?}: {got:?}");
        if setup.restarts == 0 && key < KEYLESS_FROM {
            assert_eq!(got.len(), first.len(), "key {key} of {setup:?}: {got:?} was delivered twice without need");
        }
        assert_eq!(
            got.iter().max(),
            got.last().filter(|_| key < KEYLESS_FROM).or(got.iter().max()),
            "the last is the last"
        );
    }
}

fn calm() -> Setup {
    Setup { seed: 1, counts: vec![1, 2, 3], keys: 12, events: 30, restarts: 0, faults: false, patient: true }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_come_one_after_another_and_go_again() {
    run(Setup { counts: vec![1, 2, 3, 2, 1], ..calm() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_tables_faults_and_restarts_lose_nothing_and_keep_the_order_of_every_key() {
    let runs = std::env::var("CLAIMING_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for _ in 0..runs {
        let seed = crate::random::next();
        let dice = super::Dice::new(seed);
        let counts = (0..2 + dice.below(6)).map(|_| 1 + u32::try_from(dice.below(3)).unwrap()).collect();
        let restarts = u32::try_from(dice.below(5)).unwrap();
        run(Setup { seed, counts, restarts, faults: true, patient: dice.below(2) == 0, ..calm() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_a_sink_that_the_claimer_does_not_have_stays_until_both_have_the_same() {
    let setup = Setup { counts: vec![1, 2], keys: 6, events: 5, ..calm() };
    let world = World::new(setup.clone()).await;
    world.nodes[0].stop().await;
    world.nodes[0].configure(&["sink", "old"]);
    world.nodes[0].start().await;
    world.push(1, |_| true);
    let keys = (0..setup.keys).chain([KEYLESS_FROM, KEYLESS_FROM + 1]);
    futures::future::join_all(keys.map(|key| producer::run(world.clone(), key))).await;
    world.push(2, |_| true);
    let on_disk = || world.nodes.iter().all(|node| node.with(|up| up.claiming.report().epoch) == Some(2));
    world.until("table 2 is on disk", on_disk).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (claiming, held) = world.nodes[1].with(|up| (up.claiming.report().claiming, up.stats().events)).unwrap();
    assert!(claiming > 0 && held == 0, "{claiming} slots, {held} events");
    world.nodes[0].stop().await;
    world.nodes[0].configure(&["sink"]);
    world.nodes[0].start().await;
    world.carried_out(2).await;
    let is_empty = || world.nodes.iter().all(|node| node.with(|up| up.stats().events) == Some(0));
    world.until("everything is delivered", is_empty).await;
    check(&Setup { restarts: 1, ..setup }, &world.sink.delivered());
    for node in &world.nodes {
        node.stop().await;
    }
}
