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
        let authority = Arc::new(keys::authority());
        let mut fleet =
            Self { a: Region::named("a", 2, &authority).await, b: Region::named("b", 3, &authority).await, version: 0 };
        for (region, shards) in [&mut fleet.a, &mut fleet.b].into_iter().zip(shards) {
            for _ in 0..shards {
                region.grow().await;
            }
            region.push(shards, shards).await;
            region.settled(shards).await;
        }
        fleet
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
            for shard in &region.shards {
                let answer = region.put(shard, "/v1/traffic", table).await.unwrap();
                assert_eq!(answer, (204, String::new()));
                assert_eq!(shard.daemon.report().await["traffic"]["version"], table["version"]);
            }
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
