//! A timeline as text, for a terminal. Pure.

use std::fmt::Write as _;

use super::run::{Change, Timeline};
use super::summary::Summary;
use crate::fleet::approximate_count;

/// The timeline, by region: the changes of its size, and what they came to.
pub(super) fn text(timeline: &Timeline, summary: &Summary) -> String {
    let mut out = String::new();
    for line in &summary.notes {
        let _ = writeln!(out, "note: {line}");
    }
    for region in &summary.regions {
        let _ = writeln!(
            out,
            "\nregion {}: {} to {} shards, {} changes, {} turns; backlog at most {}, at the end {}",
            region.name,
            region.least_shards,
            region.most_shards,
            region.changes,
            region.turns,
            approximate_count(region.most_backlog_events),
            approximate_count(region.last_backlog_events),
        );
        let _ = writeln!(
            out,
            "  {:>9}  {:>9}  {:<16} {:>9}  {:>8}  {:>10}  {:>6}  bound",
            "time", "shards", "reason", "arrival", "backlog", "a shard", "needed"
        );
        for change in timeline.changes.iter().filter(|change| change.region == region.name) {
            let _ = writeln!(out, "{}", row(change));
        }
        if region.changes == 0 {
            let _ = writeln!(out, "  no change: {}", region.last_reason);
        }
    }
    let _ = writeln!(
        out,
        "\n{} simulated, {} decisions, of which {} changed what the status says of scaling",
        clock(summary.seconds),
        timeline.decisions,
        timeline.writes
    );
    out
}

fn row(change: &Change) -> String {
    let rate = |rate: Option<u64>| rate.map_or("?".to_owned(), |rate| format!("{}/s", approximate_count(rate)));
    let row = format!(
        "  {:>9}  {:>9}  {:<16} {:>9}  {:>8}  {:>10}  {:>6}  {}",
        clock(change.second),
        format!("{} -> {}", change.from, change.to),
        change.reason,
        rate(Some(change.arrival_per_second)),
        approximate_count(change.backlog_events),
        rate(change.shard_capacity_per_second),
        change.needed_shards.map_or("?".to_owned(), |needed| needed.to_string()),
        change.bound.unwrap_or_default(),
    );
    row.trim_end().to_owned()
}

/// Hours, minutes and seconds.
pub(super) fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
