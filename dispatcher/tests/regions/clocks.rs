//! Shards whose clocks are two hours apart: what one hands to another is as old there as it is, and nothing else changes.
//!
//! What would go wrong if the time of acceptance were taken from another clock: where it is later, events look hours old,
//! and the limit of age has new ones refused; where it is earlier, they never become old, and the duplicate window takes
//! them for so young that it forgets all that it knows.

use serde_json::{Value, json};

use super::support::clock::Clock;
use super::support::producers::Producers;
use super::support::region::{Member, Region};
use super::support::{event_headers, eventually, request};
use super::{Fleet, GIVES, KEYS, SOME, TAKES, all, backlog, stopped, sum};

/// Older than what these tests leave lying, and far younger than clocks are apart.
const AGE_MS: u64 = 600_000;

/// Events that are sent to the taker.
const KNOWN: &str = "0";
const NEW: &str = "1";

/// What is looked at here.
fn limits() -> Value {
    json!({"backlogLimitAgeMs": AGE_MS, "duplicateWindowMs": AGE_MS})
}

async fn send(shard: &Member, id: &str) -> u16 {
    let answer = request(&shard.daemon.listen, "POST", "/", &event_headers(id, "key"), "data").await;
    answer.status.as_u16()
}

/// Waits until the oldest event at a shard is at least so old, and checks that nothing is as old as clocks are apart.
async fn ages(shard: &Member, at_least_ms: u64) {
    eventually("an age", || async {
        let age = shard.daemon.report().await["oldestEventAgeMs"].as_u64()?;
        assert!(age < AGE_MS, "the oldest event would be {age} ms old");
        (age >= at_least_ms).then_some(())
    })
    .await;
}

async fn says(shard: &Member, clock: Clock) {
    let answer = shard.daemon.get("/readyz").await;
    clock.has_said(answer.header("date").unwrap());
}

/// A region with one clock gives all that it has to one with another, whose sink does not take it yet.
async fn handed_over(gives: Clock, takes: Clock) {
    let mut fleet = Fleet::without_shards().await;
    for (region, clock) in [(&mut fleet.a, gives), (&mut fleet.b, takes)] {
        (region.clock, region.more) = (clock, limits());
    }
    fleet.grow([1, 1]).await;
    says(&fleet.a.shards[0], gives).await;
    says(&fleet.b.shards[0], takes).await;
    // What the taker has accepted itself, and is to know again.
    assert_eq!(send(&fleet.b.shards[0], KNOWN).await, 202);
    fleet.b.drained().await;
    for region in [&fleet.a, &fleet.b] {
        region.sink.behave(&json!({"failRatio": 1.0})).await;
    }
    let producers = fleet.producers();
    backlog(&fleet.a, SOME).await;
    ages(&fleet.a.shards[0], 1_000).await;
    fleet.say(GIVES, TAKES).await;
    producers.more(SOME).await;
    eventually("half of it to be taken", || async { (sum(&fleet.b, "takenOverTotal").await >= SOME).then_some(()) })
        .await;
    ages(&fleet.b.shards[0], 1_000).await;
    assert_eq!(send(&fleet.b.shards[0], NEW).await, 202, "the taker has room");
    assert_eq!(send(&fleet.b.shards[0], KNOWN).await, 202);
    fleet.b.sink.behave(&json!({})).await;
    let told = stopped(producers).await;
    fleet.drained().await;
    told.arrived(&fleet.b.sink).await;
    let summary = fleet.b.sink.summary().await;
    assert_eq!((&summary["duplicates"], &summary["unique"]), (&json!(0), &json!(all(&told) + 2)), "{summary}");
    assert_eq!(sum(&fleet.a, "handedOverTotal").await, all(&told));
}

#[tokio::test]
async fn what_comes_from_a_region_whose_clock_is_two_hours_behind_is_not_old() {
    handed_over(Clock::hours(-1), Clock::hours(1)).await;
}

#[tokio::test]
async fn what_comes_from_a_region_whose_clock_is_two_hours_ahead_becomes_old_and_has_nothing_forgotten() {
    handed_over(Clock::hours(1), Clock::hours(-1)).await;
}

#[tokio::test]
async fn slots_change_hands_between_shards_of_a_region_whose_clocks_are_two_hours_apart() {
    let mut region = Region::new().await;
    region.more = limits();
    for clock in [Clock::hours(-1), Clock::hours(1)] {
        region.clock = clock;
        region.grow().await;
        says(&region.shards[region.shards.len() - 1], clock).await;
    }
    region.push(1, 2).await;
    region.settled(2).await;
    region.sink.behave(&json!({"failRatio": 1.0})).await;
    let targets: Vec<_> = region.shards.iter().map(|shard| shard.daemon.listen.as_str()).collect();
    let producers = Producers::start(KEYS, &targets);
    backlog(&region, SOME).await;
    // The second gets its half, then both have changed hands, and at last the first has all again.
    for owners in [2, 1] {
        region.push(owners, 2).await;
        region.settled(2).await;
        producers.more(SOME).await;
        for shard in region.shards.iter().take(owners) {
            ages(shard, 1_000).await;
        }
    }
    region.sink.behave(&json!({})).await;
    let told = stopped(producers).await;
    region.drained().await;
    told.arrived(&region.sink).await;
    assert_eq!(region.sink.summary().await["duplicates"], json!(0));
}
