//! Shards of two regions: what one of them does not keep, the other delivers. Nothing is lost, each key keeps its order, and
//! without kills nothing is delivered twice.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "regions/clocks.rs"]
mod clocks;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use support::producers::{Producers, Told};
use support::region::{Member, Region};
use support::{draw, event_headers, eventually, keys, refusing, request, seed};

/// Keys, each with a producer; one more has none.
const KEYS: usize = 24;

/// Events that are accepted between two changes.
const SOME: u64 = 200;

/// Two regions of one fleet: one that gives, and one that takes.
struct Fleet {
    a: Region,
    b: Region,
    version: u64,
}

/// What the table says of a region.
#[derive(Clone, Copy)]
struct Says {
    keeps: u32,
    takes: u32,
    per_second: u64,
    sheds: bool,
}

const KEEPS: Says = Says { keeps: 1000, takes: 0, per_second: 0, sheds: false };
const TAKES: Says = Says { takes: 50, ..KEEPS };
const GIVES: Says = Says { keeps: 0, ..KEEPS };

impl Fleet {
    /// So many shards in each region, all of them owners.
    async fn start(shards: [usize; 2]) -> Self {
        let mut fleet = Self::without_shards().await;
        fleet.grow(shards).await;
        fleet
    }

    async fn without_shards() -> Self {
        let authority = Arc::new(keys::authority());
        Self { a: Region::named("a", 2, &authority).await, b: Region::named("b", 3, &authority).await, version: 0 }
    }

    async fn grow(&mut self, shards: [usize; 2]) {
        for (region, shards) in [&mut self.a, &mut self.b].into_iter().zip(shards) {
            for _ in 0..shards {
                region.grow().await;
            }
            region.push(shards, shards).await;
            region.settled(shards).await;
        }
    }

    /// The next table, which says this of the two regions. `b` is where `at` says, if it says so.
    fn table(&mut self, a: Says, b: Says, at: Option<&str>) -> Value {
        self.version += 1;
        let region = |region: &Region, says: Says, at: Option<&str>| {
            let shard = |shard: &Member| {
                let address = at.or(shard.daemon.control.as_deref());
                json!({"address": address, "events": at.unwrap_or(&shard.daemon.listen)})
            };
            json!({
                "name": region.name, "keepsPermille": says.keeps, "takesWeight": says.takes,
                "takesPerSecond": says.per_second, "sheds": says.sheds,
                "shards": region.shards.iter().map(shard).collect::<Vec<_>>(),
            })
        };
        let regions = [region(&self.a, a, None), region(&self.b, b, at)];
        json!({"fleet": "test", "version": self.version, "regions": regions})
    }

    /// Gives all shards a table that says this.
    async fn say(&mut self, a: Says, b: Says) {
        let table = self.table(a, b, None);
        self.push(&table).await;
    }

    async fn push(&self, table: &Value) {
        for region in [&self.a, &self.b] {
            push_to(region, table).await;
        }
    }

    /// Producers that send to all shards of the region that gives.
    fn producers(&self) -> Producers {
        let targets: Vec<_> = self.a.shards.iter().map(|shard| shard.daemon.listen.as_str()).collect();
        Producers::start(KEYS, &targets)
    }

    async fn drained(&self) {
        self.a.drained().await;
        self.b.drained().await;
    }
}

/// Gives the shards of one region this table.
async fn push_to(region: &Region, table: &Value) {
    for shard in &region.shards {
        let answer = region.put(shard, "/v1/traffic", table).await.unwrap();
        assert_eq!(answer, (204, String::new()));
        assert_eq!(shard.daemon.report().await["traffic"]["version"], table["version"]);
    }
}

/// One number of the traffic report, of all shards of a region together.
async fn sum(region: &Region, field: &str) -> u64 {
    let reports = join_all(region.shards.iter().map(|shard| shard.daemon.report())).await;
    reports.iter().map(|report| report["traffic"][field].as_u64().unwrap()).sum()
}

/// Waits until so many events wait in a region.
async fn backlog(region: &Region, events: u64) {
    eventually("a backlog", || async {
        let reports = join_all(region.shards.iter().map(|shard| shard.daemon.report())).await;
        let backlog: u64 = reports.iter().map(|report| report["backlogEvents"].as_u64().unwrap()).sum();
        (backlog >= events).then_some(())
    })
    .await;
}

/// The producers stop: none was refused.
async fn stopped(producers: Producers) -> Told {
    let told = producers.stop().await;
    assert_eq!(told.refused, Vec::<String>::new());
    told
}

fn all(told: &Told) -> u64 {
    told.accepted.iter().sum()
}

#[tokio::test]
async fn a_region_that_keeps_nothing_is_emptied_by_another_in_order_and_once() {
    let mut fleet = Fleet::start([2, 2]).await;
    fleet.a.sink.behave(&json!({"failRatio": 1.0})).await;
    let producers = fleet.producers();
    backlog(&fleet.a, SOME).await;
    fleet.say(GIVES, TAKES).await;
    producers.more(SOME).await;
    let told = stopped(producers).await;
    fleet.drained().await;
    told.arrived(&fleet.b.sink).await;
    assert_eq!(fleet.b.sink.summary().await["duplicates"], json!(0));
    assert_eq!(fleet.a.sink.summary().await["received"], json!(0));
    let counts = (sum(&fleet.a, "handedOverTotal").await, sum(&fleet.b, "takenOverTotal").await);
    assert_eq!(counts, (all(&told), all(&told)));
    assert_eq!((sum(&fleet.a, "awaySlots").await, sum(&fleet.a, "awayEvents").await), (1024, 0));
    for shard in &fleet.a.shards {
        let report = shard.daemon.report().await;
        assert_eq!(report["settledTotal"], json!(0), "what another region took was settled by no sink here");
        assert_eq!(report["traffic"]["regions"][0]["answered"], json!(2), "{}", report["traffic"]);
    }
}

/// Which events of a producer a sink has, each once.
async fn received(sink: &support::Daemon, producer: usize) -> Vec<u64> {
    let ranges = sink.get(&format!("/received?source=/producer/{producer}")).await.json();
    let range = |range: &Value| range[0].as_u64().unwrap()..=range[1].as_u64().unwrap();
    ranges.as_array().unwrap().iter().flat_map(range).collect()
}

/// Checks that every event is at one of the two sinks, once and in the order of its key there.
async fn are_at_one_of_both(told: &Told, fleet: &Fleet) {
    for (producer, &accepted) in told.accepted.iter().enumerate() {
        let mut both = received(&fleet.a.sink, producer).await;
        both.extend(received(&fleet.b.sink, producer).await);
        both.sort_unstable();
        assert_eq!(both, (0..accepted).collect::<Vec<_>>(), "of producer {producer}");
    }
    for region in [&fleet.a, &fleet.b] {
        let summary = region.sink.summary().await;
        assert_eq!((&summary["duplicates"], &summary["out_of_order"]), (&json!(0), &json!(0)), "{summary}");
        assert!(summary["received"].as_u64() > Some(0), "{summary}");
    }
}

#[tokio::test]
async fn slots_that_are_given_back_midway_are_delivered_where_they_are_and_no_faster_than_told_before() {
    let mut fleet = Fleet::start([2, 1]).await;
    fleet.a.sink.behave(&json!({"failRatio": 1.0})).await;
    let producers = fleet.producers();
    backlog(&fleet.a, 3 * SOME).await;
    let (per_second, began) = (100, Instant::now());
    fleet.say(GIVES, Says { per_second, ..TAKES }).await;
    let handed = eventually("half of it to be given", || async {
        let handed = sum(&fleet.a, "handedOverTotal").await;
        (handed >= SOME).then_some(handed)
    })
    .await;
    // What is held is part of a second, of each shard.
    let most = began.elapsed().as_secs_f64() * 100.0 + 50.0;
    assert!(f64::from(u32::try_from(handed).unwrap()) <= most, "{handed} of {most}");
    for shard in &fleet.a.shards {
        eventually("a shard that says that it was held back", || async {
            let metrics = shard.daemon.get("/metrics").await.text();
            let name = "signalbox_dispatcher_region_held_back_seconds_total ";
            let held = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
            held.is_some_and(|held| held > 0.0).then_some(())
        })
        .await;
    }
    assert!(sum(&fleet.a, "awayEvents").await > SOME);
    fleet.a.sink.behave(&json!({})).await;
    fleet.say(KEEPS, KEEPS).await;
    producers.more(SOME).await;
    let told = stopped(producers).await;
    fleet.drained().await;
    are_at_one_of_both(&told, &fleet).await;
    assert_eq!((sum(&fleet.a, "awaySlots").await, sum(&fleet.a, "awayEvents").await), (0, 0));
}

#[tokio::test]
async fn a_part_of_the_slots_is_kept_and_delivered_while_the_others_are_away() {
    let mut fleet = Fleet::start([1, 1]).await;
    fleet.say(Says { keeps: 500, ..GIVES }, TAKES).await;
    let producers = fleet.producers();
    producers.more(3 * SOME).await;
    fleet.say(Says { keeps: 750, ..GIVES }, TAKES).await;
    producers.more(SOME).await;
    let told = stopped(producers).await;
    fleet.drained().await;
    are_at_one_of_both(&told, &fleet).await;
    assert_eq!(sum(&fleet.a, "awaySlots").await, 256);
}

#[tokio::test]
async fn what_nobody_takes_stays_in_order_and_is_delivered_where_it_is_when_no_region_takes_anything() {
    let mut fleet = Fleet::start([1, 1]).await;
    let away = fleet.table(GIVES, TAKES, Some(&refusing()));
    fleet.push(&away).await;
    let producers = fleet.producers();
    producers.more(SOME).await;
    eventually("a word about it", || async {
        fleet.a.shards[0].daemon.log().contains("does not take events over").then_some(())
    })
    .await;
    eventually("a report of it", || async {
        let traffic = fleet.a.shards[0].daemon.report().await["traffic"].clone();
        assert_eq!(traffic["handedOverTotal"], json!(0));
        let seen = &traffic["regions"][0];
        let silent = seen["asked"] == 1 && seen["answered"] == 0 && seen["silentMs"].as_u64() >= Some(1000);
        (silent && traffic["awayEvents"].as_u64() >= Some(SOME)).then_some(())
    })
    .await;
    assert_eq!(fleet.a.sink.summary().await["received"], json!(0));
    fleet.say(GIVES, KEEPS).await;
    let told = stopped(producers).await;
    fleet.drained().await;
    told.arrived(&fleet.a.sink).await;
    assert_eq!(fleet.a.sink.summary().await["duplicates"], json!(0));
}

#[tokio::test]
async fn a_taker_that_was_away_gets_all_in_order_when_it_is_back() {
    let mut fleet = Fleet::start([1, 1]).await;
    fleet.say(GIVES, TAKES).await;
    let producers = fleet.producers();
    producers.more(SOME).await;
    for signal in ["KILL", "TERM"] {
        fleet.b.shards[0].daemon.signal(signal);
        fleet.b.shards[0].daemon.ended().await;
        producers.more(SOME).await;
        backlog(&fleet.a, SOME / 2).await;
        fleet.b.shards[0].restart().await;
        fleet.b.settled(1).await;
        producers.more(SOME).await;
    }
    let told = stopped(producers).await;
    fleet.drained().await;
    told.arrived(&fleet.b.sink).await;
}

#[tokio::test]
async fn a_giver_that_starts_again_goes_by_the_table_that_it_has_though_no_operator_is_there() {
    let mut fleet = Fleet::start([1, 1]).await;
    fleet.a.sink.behave(&json!({"failRatio": 1.0})).await;
    fleet.say(GIVES, TAKES).await;
    let producers = fleet.producers();
    for signal in ["KILL", "TERM", "KILL"] {
        producers.more(SOME).await;
        fleet.a.shards[0].daemon.signal(signal);
        fleet.a.shards[0].daemon.ended().await;
        fleet.a.shards[0].restart().await;
        fleet.a.settled(1).await;
        assert_eq!(fleet.a.shards[0].daemon.report().await["traffic"]["version"], json!(fleet.version));
    }
    producers.more(SOME).await;
    let told = producers.stop().await;
    fleet.drained().await;
    told.arrived(&fleet.b.sink).await;
    let attempts = fleet.a.sink.summary().await["failed_on_purpose"].clone();
    assert_eq!(attempts, json!(0), "of slots that are away no attempt is begun, after a restart neither");
}

#[tokio::test]
async fn slots_change_hands_in_both_regions_while_one_is_emptied() {
    let mut fleet = Fleet::start([1, 1]).await;
    fleet.a.sink.behave(&json!({"failRatio": 1.0})).await;
    let producers = fleet.producers();
    backlog(&fleet.a, SOME).await;
    fleet.say(GIVES, Says { per_second: 500, ..TAKES }).await;
    for owners in [2, 1, 2] {
        for region in [&mut fleet.a, &mut fleet.b] {
            if region.shards.len() < 2 {
                region.grow().await;
            }
            region.push(owners, 2).await;
        }
        // Whoever is new in the region has no table of the fleet yet.
        let table = fleet.table(GIVES, Says { per_second: 500, ..TAKES }, None);
        fleet.push(&table).await;
        producers.more(SOME).await;
        fleet.a.settled(2).await;
        fleet.b.settled(2).await;
    }
    let told = stopped(producers).await;
    fleet.drained().await;
    told.arrived(&fleet.b.sink).await;
    assert_eq!(fleet.b.sink.summary().await["duplicates"], json!(0));
}

#[tokio::test]
async fn regions_that_do_not_agree_who_gives_send_nothing_round_in_circles_and_lose_nothing() {
    let mut fleet = Fleet::start([1, 1]).await;
    for region in [&fleet.a, &fleet.b] {
        region.sink.behave(&json!({"failRatio": 1.0})).await;
    }
    let producers = fleet.producers();
    fleet.say(GIVES, TAKES).await;
    backlog(&fleet.b, SOME).await;
    for (a, b) in [(TAKES, GIVES), (GIVES, TAKES)] {
        let turned = fleet.table(a, b, None);
        // Who is to give now hears of it first: for a while both give.
        let (gives, takes) = if a.keeps == 0 { (&fleet.a, &fleet.b) } else { (&fleet.b, &fleet.a) };
        push_to(gives, &turned).await;
        eventually("a word of one that gives too", || async {
            let log = gives.shards[0].daemon.log();
            (log.matches("does not take events over").count() > 0).then_some(())
        })
        .await;
        producers.more(SOME).await;
        push_to(takes, &turned).await;
        backlog(takes, SOME).await;
        producers.more(SOME).await;
    }
    let told = stopped(producers).await;
    fleet.b.sink.behave(&json!({})).await;
    fleet.drained().await;
    for (producer, &accepted) in told.accepted.iter().enumerate() {
        assert_eq!(received(&fleet.b.sink, producer).await, (0..accepted).collect::<Vec<_>>(), "of {producer}");
    }
    let summary = fleet.b.sink.summary().await;
    assert_eq!(summary["duplicates"], json!(0), "{summary}");
    let moved = sum(&fleet.a, "handedOverTotal").await + sum(&fleet.b, "handedOverTotal").await;
    assert!(moved >= all(&told) && moved <= 3 * all(&told), "{moved} moves of {} events", all(&told));
}

/// Changes of a drawn fleet, unless `SIGNALBOX_REGION_CHANGES` says how many.
const CHANGES: u64 = 6;

#[tokio::test]
async fn in_drawn_regions_nothing_is_lost_or_reordered_whoever_is_killed_and_whatever_changes_hands() {
    let mut state = seed();
    let changes = std::env::var("SIGNALBOX_REGION_CHANGES").map_or(CHANGES, |changes| changes.parse().unwrap());
    let mut fleet = Fleet::start([2, 2]).await;
    fleet.a.sink.behave(&json!({"failRatio": 1.0})).await;
    let producers = fleet.producers();
    backlog(&fleet.a, SOME).await;
    let per_second = [0, 400][usize::try_from(draw(&mut state, 2)).unwrap()];
    fleet.say(GIVES, Says { per_second, ..TAKES }).await;
    for _ in 0..changes {
        let (which, ordinal) = (draw(&mut state, 2), usize::try_from(draw(&mut state, 2)).unwrap());
        let region = if which == 0 { &mut fleet.a } else { &mut fleet.b };
        if draw(&mut state, 2) == 0 {
            let owners = usize::try_from(1 + draw(&mut state, 2)).unwrap();
            println!("{owners} owners in {}", region.name);
            region.push(owners, 2).await;
        }
        // The moment is what is random here, and so it is waited for rather than a condition.
        tokio::time::sleep(Duration::from_millis(draw(&mut state, 300))).await;
        println!("shard {ordinal} of {} is killed", region.name);
        region.shards[ordinal].daemon.signal("KILL");
        region.shards[ordinal].daemon.ended().await;
        region.shards[ordinal].restart().await;
        // It may have died before it wrote the table down, and nobody else may need it to have it.
        region.push_again().await;
        if draw(&mut state, 2) == 0 {
            region.settled(2).await;
        }
        producers.more(draw(&mut state, SOME)).await;
    }
    fleet.a.settled(2).await;
    fleet.b.settled(2).await;
    let told = stopped(producers).await;
    fleet.drained().await;
    told.arrived(&fleet.b.sink).await;
}

#[tokio::test]
async fn a_shard_that_is_told_to_sheds_with_a_sentence_and_delivers_what_it_has() {
    let mut fleet = Fleet::start([1, 1]).await;
    let shard = fleet.a.shards[0].daemon.listen.clone();
    let send = async |id: &str| request(&shard, "POST", "/", &event_headers(id, "key"), "data").await;
    fleet.a.sink.behave(&json!({"failRatio": 1.0})).await;
    assert_eq!(send("0").await.status, 202);
    fleet.say(Says { sheds: true, ..KEEPS }, KEEPS).await;
    let answer = send("1").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("5")));
    assert!(answer.error().contains("no region of the fleet is well"), "{}", answer.error());
    let metrics = fleet.a.shards[0].daemon.get("/metrics").await.text();
    assert!(metrics.contains("signalbox_dispatcher_rejected_total{reason=\"Shed\"} 1"), "{metrics}");
    fleet.a.shards[0].daemon.ready().await;
    fleet.a.sink.behave(&json!({})).await;
    fleet.drained().await;
    assert_eq!(fleet.a.sink.summary().await["received"], json!(1));
    fleet.say(KEEPS, KEEPS).await;
    assert_eq!(send("1").await.status, 202);
}

#[tokio::test]
async fn a_table_that_is_not_for_this_shard_is_refused_and_the_one_that_it_has_stays() {
    let mut fleet = Fleet::start([1, 1]).await;
    fleet.say(KEEPS, KEEPS).await;
    let shard = &fleet.a.shards[0];
    let good = json!({"fleet": "test", "version": 9, "regions": []});
    for (table, said) in [
        (json!({"fleet": "mail", "version": 9}), "fleet mail"),
        (
            json!({"fleet": "test", "version": 9, "regions": [{"name": "a", "keepsPermille": 1, "takesWeight": 1}]}),
            "take",
        ),
    ] {
        let (status, sentence) = fleet.a.put(shard, "/v1/traffic", &table).await.unwrap();
        assert!(status == 409 && sentence.contains(said), "{status} {sentence}");
    }
    assert_eq!(shard.daemon.report().await["traffic"]["version"], json!(1));
    assert_eq!(fleet.a.put(shard, "/v1/traffic", &good).await.unwrap().0, 204);
    assert_eq!(shard.daemon.report().await["traffic"]["version"], json!(9));
}
