//! Real shards under real limits, recorded: see `dispatcher/tests/limits.rs`, which says how to record them anew.

use std::time::Duration;

use signalbox_contract::ShardReport;

use super::support::{Looker, REGION};
use crate::fixtures;
use crate::fleet::{FleetIntent, Known, Limit};

const SINK: &str = "audit";

fn intent(concurrency: u32) -> FleetIntent {
    let mut intent = fixtures::intent();
    intent.regions.truncate(1);
    intent.sinks.retain(|sink| sink.name == SINK);
    intent.sinks[0].max_concurrency = concurrency;
    intent
}

/// What is told, and after how many seconds for good.
fn told(recorded: &str, concurrency: u32) -> (Known<Limit>, i64, String) {
    let mut looker = Looker::new(intent(concurrency), 1);
    let began = looker.now;
    let mut since = (Known::NotYet, began, String::new());
    for line in recorded.lines() {
        let report: ShardReport = serde_json::from_str(line).unwrap();
        looker.now = began + Duration::from_millis(report.uptime_ms);
        looker.report(0, &report);
        let bottleneck = looker.look().bottlenecks.remove(0);
        let at = if bottleneck.limit == since.0 { since.1 } else { looker.now };
        since = (bottleneck.limit, at, bottleneck.message);
    }
    assert!(looker.snapshot.history.regions.contains_key(REGION));
    (since.0, since.1.duration_since(began).as_secs(), since.2)
}

#[test]
fn the_limits_of_real_shards_are_told_within_a_minute() {
    let sink = || SINK.to_owned();
    for (recorded, concurrency, limit) in [
        (include_str!("recorded/sink.json"), 64, Limit::Sink(sink())),
        (include_str!("recorded/concurrency-limit.json"), 2, Limit::ConcurrencyLimit(sink())),
        (include_str!("recorded/hot-key.json"), 64, Limit::HotKey(sink())),
        (include_str!("recorded/ingest.json"), 64, Limit::Ingest),
        (include_str!("recorded/nothing.json"), 64, Limit::Nothing),
    ] {
        let (told, after, message) = told(recorded, concurrency);
        println!("{}: after {after} s: {message}", limit.as_str());
        assert_eq!(told, Known::Is(limit), "after {after} s: {message}");
        assert!(after <= 60, "after {after} s");
    }
}
