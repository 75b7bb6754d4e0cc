//! What one reading says limits a region.
//!
//! In this order, because each has signs that the later ones share: a sink that throttles or fails also makes events
//! wait, a hot key also makes one shard the fullest, and busy processors also make attempts slow.
//!
//! | limit | signs, where events wait |
//! | --- | --- |
//! | `Sink` | it fails, or asks for less |
//! | `HotKey` | most events that can be seen wait behind another of their key, and the limit of attempts does not bind |
//! | `Skew` | one shard is behind with most of the events, and the others are not |
//! | `Cpu` | processors are busy |
//! | `ConcurrencyLimit` | the limit of attempts binds, it is all of `maxConcurrency`, and the sink is as quick as ever |
//! | `Sink` | the limit of attempts binds, and was cut, or answers take far longer than at their best |
//! | `Disk` | the log is writing all the time |
//!
//! Where none wait: `Cpu`, `Disk` or `Ingest` when requests are refused as they are received, `Cpu` when there is
//! hardly any left, else `Nothing`. A log that writes all the time limits nothing by itself: it writes in groups, and
//! busier means larger ones. It does when events wait for it, too.

use std::collections::BTreeMap;
use std::time::Duration;

use super::quickest;
use super::reading::{AtSink, Reading, Shard, Sink};
use crate::fleet::{Limit, Quickest};

/// Processors are busy, where events wait.
const CPU_BUSY: f64 = 0.85;
/// And where none do: hardly any are left.
const CPU_SPENT: f64 = 0.93;
/// The log is writing all the time.
const DISK_BUSY: f64 = 0.8;
/// And events wait for it longer than for a few writes.
const DISK_WAIT: Duration = Duration::from_millis(100);
/// The limit of attempts binds.
const LIMITED: f64 = 0.5;
/// It does not.
const FREE: f64 = 0.3;
/// A sink asks for less so often a second, over all shards.
const THROTTLED: f64 = 0.2;
/// Lanes say something from so many events on.
const LANES_SAY: u64 = 32;
/// Answers that take so many times as long as at the sink's best.
const SLOWER: f64 = 3.0;
/// Part of all waiting events that makes one shard of two the fuller one.
const SKEWED: f64 = 0.75;
/// A shard is not compared with others before it has lived so long, in milliseconds.
const SETTLED_IN_MS: u64 = 30_000;

/// What limits a region by this reading; `None` if that cannot be told.
pub(super) fn limit(reading: &Reading<'_>, quickest: &BTreeMap<String, Quickest>) -> Option<Limit> {
    let mut behind: Vec<_> = reading.sinks.iter().filter(|sink| sink.behind.is_some()).collect();
    behind.sort_by_key(|sink| std::cmp::Reverse(sink.waiting));
    if behind.is_empty() {
        return without_backlog(reading);
    }
    behind.into_iter().find_map(|sink| at_sink(reading, sink, quickest))
}

fn without_backlog(reading: &Reading<'_>) -> Option<Limit> {
    let refuses = reading.sum(|shard| shard.rates.receive_refused) > 0.0;
    let (cpu, disk) = (reading.most(|shard| shard.rates.cpu), reading.most(|shard| Some(shard.rates.disk)));
    if cpu.is_some_and(|cpu| cpu >= if refuses { CPU_BUSY } else { CPU_SPENT }) {
        Some(Limit::Cpu)
    } else if refuses {
        let waits = reading.shards.iter().any(|shard| shard.rates.disk_wait >= DISK_WAIT);
        Some(if waits && disk.is_some_and(|disk| disk >= DISK_BUSY) { Limit::Disk } else { Limit::Ingest })
    } else {
        // What is not seen may be limited by anything.
        (reading.unknown == 0 && !reading.shards.is_empty()).then_some(Limit::Nothing)
    }
}

fn at_sink(reading: &Reading<'_>, sink: &Sink<'_>, quickest: &BTreeMap<String, Quickest>) -> Option<Limit> {
    let name = || sink.intent.name.clone();
    let fullest = reading.shards.get(sink.behind?)?;
    let here = reading.at(sink)?;
    let busy = fullest.rates.cpu.is_some_and(|cpu| cpu >= CPU_BUSY);
    let limited = here.rates.limited;
    if here.is_failing() || sink.throttled >= THROTTLED {
        Some(Limit::Sink(name()))
    } else if is_held_by_order(&here) && limited <= FREE && !busy {
        Some(Limit::HotKey(name()))
    } else if is_skewed(reading) {
        Some(Limit::Skew)
    } else if busy {
        Some(Limit::Cpu)
    } else if limited >= LIMITED {
        let all = u64::from(sink.intent.max_concurrency);
        // Not all of it is used any more: that was learned from the sink.
        let cut = here.report.concurrency_limit.saturating_mul(4) < all.saturating_mul(3);
        let slow = sink.attempt_time * 2 >= sink.intent.timeout || is_slower(sink, quickest);
        Some(if cut || slow { Limit::Sink(name()) } else { Limit::ConcurrencyLimit(name()) })
    } else if fullest.rates.disk >= DISK_BUSY {
        Some(Limit::Disk)
    } else {
        None
    }
}

fn is_held_by_order(here: &AtSink<'_>) -> bool {
    let report = here.report;
    report.window_events >= LANES_SAY && report.blocked_events.saturating_mul(2) >= report.window_events
}

/// More attempts at once that only make each of them take longer gain nothing.
fn is_slower(sink: &Sink<'_>, quickest: &BTreeMap<String, Quickest>) -> bool {
    let best = quickest.get(&sink.intent.name).map(quickest::best);
    best.is_some_and(|best| sink.attempt_time.as_secs_f64() >= SLOWER * best.as_secs_f64())
}

/// One shard is behind and has most of what waits, and no other is.
fn is_skewed(reading: &Reading<'_>) -> bool {
    let shards = &reading.shards;
    let [waiting, fullest] = [
        shards.iter().map(Shard::waiting).fold(0, u64::saturating_add),
        shards.iter().map(Shard::waiting).max().unwrap_or(0),
    ];
    #[allow(clippy::cast_precision_loss, reason = "a share of counts")]
    let share = fullest as f64 / waiting.max(1) as f64;
    let settled_in = shards.iter().all(|shard| shard.report.uptime_ms >= SETTLED_IN_MS);
    let behind = shards.iter().filter(|shard| shard.is_behind()).count();
    reading.unknown == 0 && shards.len() >= 2 && settled_in && behind == 1 && share >= SKEWED
}
