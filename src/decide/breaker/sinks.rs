//! Whether a sink fails from a region, and from where else. Pure.
//!
//! Three things say that it does:
//!
//! - a **row of failures** that is unbroken on half of the shards that know, as long as the shards say. It counts from the
//!   first failure to the latest: what was not tried since is not in it, so a sink that is back ends it, whatever is heard
//!   late. It finds an outage.
//! - a **share** of the attempts that fails, over the window and just now, from a least number of attempts on. It finds a
//!   sink that fails in part.
//! - its **breaker** in the shards, not Serving on half of those that know. It finds what is too little to count.
//!
//! Whatever says so must be contradicted from elsewhere: a region that sends to the same sink and sees none of it. A sink
//! that fails from everywhere is no region's fault.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{BreakerPhase, SinkReport};

use super::count::{attempts, heard, is_share, lasts, looks};
use super::since;
use crate::fleet::{Attempts, BreakerHistory, BreakerIntent, RegionSnapshot, ShardSnapshot, SinkRates, Suspicion};

/// A row shorter than this, in milliseconds, is none yet.
const YOUNG_MS: u64 = 500;
/// Failures that a row consists of at least, on all shards together.
const LEAST_FAILURES: u64 = 5;
/// Windows for which a sink's breaker is not Serving.
const PARKED_WINDOWS: u32 = 2;
/// Windows for which a delivery says that a sink can be reached from a region.
const WITNESS_WINDOWS: u32 = 6;

/// How a sink does from one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SinkView {
    /// Shards that have something to do with it.
    pub(super) knows: usize,
    /// Those of them that have nothing but failures.
    pub(super) failing: usize,
    /// The shortest row that half of those that know have, in milliseconds. 0: there is none.
    pub(super) row_ms: u64,
    /// The attempts of the last window.
    pub(super) tried: Attempts,
    /// What has lasted long enough, the surest first. `None`: nothing has.
    pub(super) held: Option<Held>,
    /// Something speaks against it, for however short a time.
    pub(super) fails: bool,
    /// So much fails that it is worth another look.
    pub(super) stirs: bool,
    /// Events were delivered not long ago, and nothing speaks against it.
    pub(super) delivers: bool,
}

/// What has lasted long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A row of failures.
    Row,
    /// A share of the attempts, in percent.
    Share(u32),
    /// Its breaker.
    Parked,
}

/// The time that a row must have lasted. Of an outage, a window of 10 s may have passed by three seconds more before it is
/// known: until the probe that fails, its report, and that one's way. An outage of half a window makes no longer a row than
/// that, whenever it begins and ends.
pub(super) fn row_time(window: Duration) -> Duration {
    window * 6 / 10
}

/// Looks at one sink from one region, and keeps in mind since when it is so.
pub(super) fn view(
    sink: &str,
    seen: &RegionSnapshot,
    history: &mut BreakerHistory,
    intent: &BreakerIntent,
    now: Timestamp,
) -> SinkView {
    let window = intent.window;
    let at_shards: Vec<_> = seen.shards.values().filter_map(|shard| at_shard(sink, shard, now)).collect();
    let stirs = at_shards.iter().any(|(_, rates)| is_share_of(*rates, intent.failure_ratio));
    let shards: Vec<_> = at_shards.into_iter().map(|(sink, _)| sink).collect();
    let knows = shards.len();
    let half = |count: usize| count > 0 && count * 2 >= knows;
    let mut rows: Vec<_> = shards.iter().filter(|sink| is_failing(sink)).map(|sink| sink.failing_ms).collect();
    rows.sort_unstable_by(|a, b| b.cmp(a));
    let failures = shards.iter().map(|sink| sink.consecutive_failures).fold(0, u64::saturating_add);
    let middle = knows.div_ceil(2).saturating_sub(1);
    let row_ms = rows.get(middle).copied().filter(|_| half(rows.len()) && failures >= LEAST_FAILURES).unwrap_or(0);

    let over_window = attempts(looks(history, window, None, now), sink);
    let recent = attempts(looks(history, recently(window), None, now), sink);
    let share = |of: Attempts| is_share(of.failed, of.total(), intent.failure_ratio);
    let too_many = over_window.total() >= intent.minimum_attempts && share(over_window) && share(recent);
    let for_long = lasts(history, Suspicion::SinkFails(sink.to_owned()), too_many, now);

    let parked = shards.iter().filter(|sink| sink.phase != BreakerPhase::Serving).count();
    let for_longer = lasts(history, Suspicion::SinkParked(sink.to_owned()), half(parked), now);

    let held = if row_ms > 0 && Duration::from_millis(row_ms) >= row_time(window) {
        Some(Held::Row)
    } else if for_long.is_some_and(|time| time >= window) {
        Some(Held::Share(percent(over_window)))
    } else if for_longer.is_some_and(|time| time >= window * PARKED_WINDOWS) {
        Some(Held::Parked)
    } else {
        None
    };
    let fails = held.is_some() || row_ms >= YOUNG_MS || half(parked) || (recent.total() > 0 && share(recent));
    let delivered = history.delivered.get(sink).is_some_and(|at| since(*at, now) <= window * WITNESS_WINDOWS);
    let stirs = stirs || fails;
    SinkView {
        knows,
        failing: rows.len(),
        row_ms,
        tried: over_window,
        held,
        fails,
        stirs,
        delivers: delivered && !fails,
    }
}

/// The time over which a region that comes back is judged: shorter than one that trips, because it was tripped for cause.
pub(super) fn relapse_time(window: Duration) -> Duration {
    (window * 3 / 10).max(Duration::from_secs(2))
}

/// What says how a sink does just now.
fn recently(window: Duration) -> Duration {
    (window / 5).max(Duration::from_secs(2))
}

/// A sink at a shard that has had something to do with it.
fn at_shard<'a>(sink: &str, shard: &'a ShardSnapshot, now: Timestamp) -> Option<(&'a SinkReport, SinkRates)> {
    let report = heard(shard, now)?;
    let at = report.shard.sinks.iter().find(|at| at.name == sink)?;
    let rates = report.rates.as_ref().and_then(|rates| rates.sinks.get(sink)).copied().unwrap_or_default();
    let tries = rates.delivered + rates.failed > 0.0;
    (at.backlog_events > 0 || at.consecutive_failures > 0 || tries).then_some((at, rates))
}

/// Whether half of the share that counts has failed in the last seconds.
fn is_share_of(rates: SinkRates, failure_ratio: u32) -> bool {
    let failed = rates.failed - rates.throttled;
    failed > 0.0 && failed * 200.0 >= (rates.delivered + failed) * f64::from(failure_ratio)
}

fn is_failing(sink: &SinkReport) -> bool {
    sink.consecutive_failures > 0 && sink.failing_ms > 0
}

/// Those that failed, in percent.
pub(super) fn percent(of: Attempts) -> u32 {
    let percent = u128::from(of.failed) * 100 / u128::from(of.total().max(1));
    u32::try_from(percent).unwrap_or(100)
}
