//! A shard that is told to stop before the table comes that takes its slots away: where pods are taken away first.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::eventually;
use support::producers::Producers;
use support::region::Region;

/// A region of two, with producers, and a backlog at both that cannot be delivered.
async fn stuck() -> (Region, Producers) {
    let mut region = Region::new().await;
    region.grow().await;
    region.grow().await;
    region.push(2, 2).await;
    region.settled(2).await;
    let targets: Vec<&str> = region.shards.iter().map(|shard| shard.daemon.listen.as_str()).collect();
    let producers = Producers::start(24, &targets);
    region.sink.behave(&json!({"failRatio": 1.0})).await;
    eventually("a backlog", || async {
        (region.shards[1].daemon.report().await["backlogEvents"].as_u64() > Some(100)).then_some(())
    })
    .await;
    producers.send_to(&[region.shards[0].daemon.listen.as_str()]);
    (region, producers)
}

#[tokio::test]
async fn a_shard_whose_table_comes_after_the_signal_hands_over_everything_and_ends() {
    let (mut region, producers) = stuck().await;
    region.shards[1].daemon.signal("TERM");
    let told = Instant::now();
    tokio::time::sleep(Duration::from_millis(800)).await;
    region.push(1, 2).await;
    assert!(region.shards[1].daemon.ended().await.success());
    println!("ended {:?} after the signal", told.elapsed());
    region.settled(1).await;
    region.sink.behave(&json!({})).await;
    producers.more(100).await;
    let told = producers.stop().await;
    assert_eq!(told.refused, Vec::<String>::new());
    region.shards.truncate(1);
    region.drained().await;
    told.arrived(&region.sink).await;
}

#[tokio::test]
async fn a_shard_that_keeps_its_slots_ends_in_time_whatever_it_holds() {
    let (mut region, producers) = stuck().await;
    let began = Instant::now();
    region.shards[1].daemon.signal("TERM");
    assert!(region.shards[1].daemon.ended().await.success());
    println!("ended {:?} after the signal", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    region.shards[1].restart().await;
    region.settled(2).await;
    region.sink.behave(&json!({})).await;
    producers.more(100).await;
    let told = producers.stop().await;
    assert_eq!(told.refused, Vec::<String>::new());
    region.drained().await;
    told.arrived(&region.sink).await;
}
