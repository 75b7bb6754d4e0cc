//! Shards of one region together: slots that change hands under load, and owners that are away. Nothing is lost, each
//! key keeps its order, and no producer hears of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use support::producers::{Producers, Told};
use support::region::Region;
use support::{draw, event_headers, eventually, request, seed};

/// Keys, each with a producer; one more has none.
const KEYS: usize = 24;

/// Events that are accepted between two changes.
const SOME: u64 = 200;

/// How long a shard holds an event whose owner is away, as its documentation says.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first of the shards, as producers are told.
fn targets(region: &Region, shards: usize) -> Vec<&str> {
    region.shards.iter().take(shards).map(|shard| shard.daemon.listen.as_str()).collect()
}

/// So many shards, all of them owners, and producers that send to all of them.
async fn started(shards: usize) -> (Region, Producers) {
    let mut region = Region::new().await;
    for _ in 0..shards {
        region.grow().await;
    }
    region.push(shards, shards).await;
    region.settled(shards).await;
    let producers = Producers::start(KEYS, &targets(&region, shards));
    producers.more(SOME).await;
    (region, producers)
}

/// Has the sink fail until so many events wait at one of the shards.
async fn fill(region: &Region, shards: usize) {
    region.sink.behave(&json!({"failRatio": 1.0})).await;
    eventually("a backlog", || async {
        let reports = join_all(region.shards.iter().take(shards).map(|shard| shard.daemon.report())).await;
        let backlog: u64 = reports.iter().map(|report| report["backlogEvents"].as_u64().unwrap()).sum();
        (backlog >= SOME).then_some(())
    })
    .await;
}

/// The producers stop: none was refused, and every event that was accepted arrives, in the order of its key.
async fn all_taken(region: &Region, producers: Producers) -> Told {
    let told = producers.stop().await;
    assert_eq!(told.refused, Vec::<String>::new());
    region.drained().await;
    told.arrived(&region.sink).await;
    told
}

#[tokio::test]
async fn slots_change_hands_under_load_and_nothing_is_lost_reordered_or_refused() {
    let (mut region, producers) = started(1).await;
    for shards in 2..=3 {
        fill(&region, shards - 1).await;
        region.grow().await;
        region.push(shards, shards).await;
        region.settled(shards).await;
        region.sink.behave(&json!({})).await;
        producers.send_to(&targets(&region, shards));
        producers.more(SOME).await;
        let newest = region.shards.last().unwrap();
        eventually("deliveries of the new shard", || async {
            (newest.daemon.report().await["sinks"][0]["deliveredTotal"].as_u64() > Some(0)).then_some(())
        })
        .await;
    }
    for shard in &region.shards {
        assert!(shard.metric("handed_over_total").await > 0, "no event came to another shard than its owner");
    }
    fill(&region, 3).await;
    region.push(1, 3).await;
    region.settled(1).await;
    for shard in &region.shards[1..] {
        shard.until("nothing left", |routing| routing["epoch"] == 4 && routing["empty"] == true).await;
        assert_eq!(shard.daemon.report().await["backlogEvents"], json!(0));
    }
    region.sink.behave(&json!({})).await;
    producers.send_to(&targets(&region, 1));
    producers.more(SOME).await;
    region.push(1, 1).await;
    region.settled(1).await;
    for mut shard in region.shards.drain(1..) {
        shard.daemon.signal("TERM");
        assert!(shard.daemon.ended().await.success());
    }
    producers.more(SOME).await;
    let told = all_taken(&region, producers).await;
    assert_eq!(told.broken.values().sum::<u64>(), 0, "{:?}", told.broken);
}

#[tokio::test]
async fn an_owner_that_is_killed_under_load_and_comes_back_costs_no_producer_an_error() {
    let (mut region, producers) = started(3).await;
    let mut killed = Vec::new();
    for ordinal in [1, 0] {
        region.shards[ordinal].daemon.signal("KILL");
        region.shards[ordinal].daemon.ended().await;
        let others: Vec<_> = region.shards.iter().filter(|shard| shard.ordinal != ordinal).collect();
        eventually("requests that wait for it", || async {
            let held = join_all(others.iter().map(|shard| shard.metric("held"))).await;
            (held.iter().sum::<u64>() > 0).then_some(())
        })
        .await;
        region.shards[ordinal].restart().await;
        region.settled(3).await;
        killed.push(region.shards[ordinal].daemon.listen.clone());
        producers.more(SOME).await;
    }
    let told = all_taken(&region, producers).await;
    assert!(told.broken.keys().all(|target| killed.contains(target)), "{:?} of {killed:?}", told.broken);
}

#[tokio::test]
async fn owners_that_are_restarted_one_after_the_other_cost_no_producer_an_error() {
    let (mut region, producers) = started(3).await;
    for ordinal in [2, 0, 1] {
        // As a Service does.
        let others = region.shards.iter().filter(|shard| shard.ordinal != ordinal);
        producers.send_to(&others.map(|shard| shard.daemon.listen.as_str()).collect::<Vec<_>>());
        producers.more(SOME).await;
        region.shards[ordinal].daemon.signal("TERM");
        assert!(region.shards[ordinal].daemon.ended().await.success());
        region.shards[ordinal].restart().await;
        region.settled(3).await;
        producers.send_to(&targets(&region, 3));
        producers.more(SOME).await;
    }
    let told = all_taken(&region, producers).await;
    assert_eq!(told.broken.values().sum::<u64>(), 0, "{:?}", told.broken);
}

#[tokio::test]
async fn shards_that_are_killed_while_slots_change_hands_lose_and_reorder_nothing() {
    let (mut region, producers) = started(2).await;
    let mut killed = Vec::new();
    for (owners, ordinal) in [(3, 0), (1, 2), (3, 1)] {
        fill(&region, region.shards.len()).await;
        if region.shards.len() < 3 {
            region.grow().await;
        }
        region.push(owners, 3).await;
        region.shards[ordinal].daemon.signal("KILL");
        region.shards[ordinal].daemon.ended().await;
        killed.push(region.shards[ordinal].daemon.listen.clone());
        region.shards[ordinal].restart().await;
        region.settled(3).await;
        region.sink.behave(&json!({})).await;
        producers.more(SOME).await;
    }
    let told = all_taken(&region, producers).await;
    assert!(told.broken.keys().all(|target| killed.contains(target)), "{:?} of {killed:?}", told.broken);
}

/// Changes of a drawn region, unless `SIGNALBOX_REGION_CHANGES` says how many.
const CHANGES: u64 = 8;

/// More of it: `SIGNALBOX_REGION_CHANGES=200 cargo test --release -p signalbox-dispatcher --test region -- drawn --nocapture`.
/// One that fails is repeated with the `SEED` that it printed.
#[tokio::test]
async fn in_a_drawn_region_nothing_is_lost_reordered_or_refused_whatever_changes() {
    let mut state = seed();
    let changes = std::env::var("SIGNALBOX_REGION_CHANGES").map_or(CHANGES, |changes| changes.parse().unwrap());
    let (mut region, producers) = started(3).await;
    for _ in 0..changes {
        let fail_ratio = [0.0, 0.05, 1.0][usize::try_from(draw(&mut state, 3)).unwrap()];
        region.sink.behave(&json!({"failRatio": fail_ratio, "delayMs": draw(&mut state, 4)})).await;
        let drawn = draw(&mut state, 3);
        if drawn < 2 {
            let owners = usize::try_from(1 + draw(&mut state, 3)).unwrap();
            println!("{owners} owners, of the sink {fail_ratio} fails");
            region.push(owners, 3).await;
        }
        if drawn > 0 {
            let ordinal = usize::try_from(draw(&mut state, 3)).unwrap();
            // The moment is what is random here, and so it is waited for rather than a condition.
            tokio::time::sleep(Duration::from_millis(draw(&mut state, 300))).await;
            println!("shard {ordinal} is killed");
            region.shards[ordinal].daemon.signal("KILL");
            region.shards[ordinal].daemon.ended().await;
            region.shards[ordinal].restart().await;
            // It may have died before it wrote the table down, and nobody else may need it to have it.
            region.push_again().await;
        }
        if draw(&mut state, 2) == 0 {
            region.settled(3).await;
        }
        producers.more(draw(&mut state, SOME)).await;
    }
    region.settled(3).await;
    region.sink.behave(&json!({})).await;
    all_taken(&region, producers).await;
}

#[tokio::test]
async fn an_owner_that_stays_away_is_named_in_a_503_and_what_others_own_is_accepted() {
    let (mut region, producers) = started(3).await;
    let told = producers.stop().await;
    region.shards[1].daemon.signal("KILL");
    region.shards[1].daemon.ended().await;
    let other = region.shards[0].daemon.listen.clone();
    let send = async |id: usize| {
        let (id, key) = ((1_000_000 + id).to_string(), format!("key-{id}"));
        let began = Instant::now();
        let answer = request(&other, "POST", "/", &event_headers(&id, &key), "data").await;
        (answer, began.elapsed())
    };
    let (waited, accepted): (Vec<_>, Vec<_>) =
        join_all((0..KEYS).map(send)).await.into_iter().partition(|(answer, _)| answer.status != 202);
    assert!(!waited.is_empty() && !accepted.is_empty(), "{} waited, {} accepted", waited.len(), accepted.len());
    for (answer, took) in &waited {
        let sentence = answer.error();
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")), "{sentence}");
        assert!(sentence.contains("shard 1 owns the key") && sentence.contains("refused"), "{sentence}");
        assert!(*took + Duration::from_secs(1) > PATIENCE, "given up after {took:?}");
    }
    for (_, took) in &accepted {
        assert!(*took < PATIENCE / 2, "what others own took {took:?}");
    }
    region.shards[1].restart().await;
    region.settled(3).await;
    for (answer, _) in join_all((0..KEYS).map(send)).await {
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    region.drained().await;
    told.arrived(&region.sink).await;
}
