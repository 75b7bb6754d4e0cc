//! What a region's shards are asked for and what they manage, from their reports. Pure.
//!
//! A report that is missing, old, of the future or absurd is counted as unknown and named, and none of its numbers is
//! used. The events for a sink that is sent nothing wait for that sink, not for shards, so they are no backlog here.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::super::traffic::Arriving;
use super::numbers::float;
use crate::fleet::{Limit, Observation, Rates, RegionSnapshot, Report, ShardSnapshot};

/// A report that is older says nothing about now: a few of them may be lost.
const FRESH: Duration = Duration::from_secs(15);
/// Clocks of one cluster differ by less.
const AHEAD: Duration = Duration::from_secs(5);
/// No shard settles so many events a second.
const MOST_PER_SECOND: f64 = 1e7;
/// The largest backlog that a spec may allow.
const MOST_BACKLOG: u64 = 1_000_000_000_000;
/// Rates over a longer time say nothing about now.
const LONGEST: Duration = Duration::from_mins(10);
/// From this share of the time on, something is at its limit.
const BUSY: f64 = 0.8;
/// From this share of the time on, the limit of attempts is what holds events back.
const LIMITED: f64 = 0.5;
/// From this share of what is accepted on, what is received at once is the limit.
const REFUSED: f64 = 0.05;

/// What all shards of a region together are asked for. Rates are events per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// Arrive, with those refused because of a limit of a shard: at most as many again, because producers retry.
    pub(super) arrival: f64,
    /// Are settled, at the sink that is settled most at: one that is down holds back what is counted as settled.
    pub(super) settled: f64,
    /// Wait, without those for a sink that is sent nothing.
    pub(super) backlog: f64,
    /// The shards whose numbers are used.
    pub(super) shards: Vec<Observed>,
    /// The shards that should report, and whose reports are not used, by ordinal.
    pub(super) doubts: Vec<(u32, Doubt)>,
    /// Whether some shard of those that are wanted does not serve yet, or is young.
    pub(super) starting: bool,
    /// Whether some shard's rates are of a shorter time than its life allows others: what moved to it is then in the
    /// rates of two shards, and the sums are too high.
    pub(super) young: bool,
    /// The longest time that a rate is the mean of.
    pub(super) over: Duration,
}

/// One shard whose numbers are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observed {
    /// Events settled a second.
    pub(super) settled: f64,
    /// Whether it had more to do than it managed for all of that time, and what kept it.
    pub(super) saturated: Option<KeptBy>,
    /// Share of its processors that it used, where known.
    pub(super) cpu: Option<f64>,
    /// When it said so.
    pub(super) taken_at: Timestamp,
    /// For how long it had lived.
    pub(super) uptime: Duration,
}

/// What keeps a shard from settling more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptBy {
    /// Something of its own: another shard has as much again.
    Itself,
    /// The limit of attempts at a sink. It is the shard's own, unless it is low because the sink takes no more.
    Attempts,
}

/// Why a report is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// There is none.
    Missing,
    /// It is of long ago.
    Stale,
    /// It is of a time to come.
    Ahead,
    /// It is the first of this life of the shard, so nothing can be said about rates.
    First,
    /// A number in it cannot be: which.
    Absurd(&'static str),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not report"),
            Self::Stale => f.write_str("has not reported lately"),
            Self::Ahead => f.write_str("has reported at a time to come; compare the clocks of the nodes"),
            Self::First => f.write_str("has reported once only"),
            Self::Absurd(what) => write!(f, "reports {what} that cannot be; its report is not used"),
        }
    }
}

impl Demand {
    /// Adds up what the shards say, where `wanted` of them are wanted.
    pub(super) fn of(region: &RegionSnapshot, wanted: u32, limit: Option<&Limit>, now: Timestamp) -> Self {
        let mut demand = Self::default();
        for (ordinal, shard) in region.shards.iter().filter(|(_, shard)| shard.pod.is_some()) {
            match checked(shard, now) {
                Ok((report, taken_at)) => demand.add(report, taken_at, *ordinal, limit),
                // One that is not serving is being started, or goes: it cannot report.
                Err(doubt) if shard.is_serving() => demand.doubts.push((*ordinal, doubt)),
                Err(Doubt::Absurd(what)) => demand.doubts.push((*ordinal, Doubt::Absurd(what))),
                Err(_) => {}
            }
        }
        demand.young = demand.shards.iter().any(|shard| shard.uptime < demand.over);
        demand.starting = demand.young || region.serving_below(wanted) < wanted;
        demand
    }

    /// What somebody should look at first: what cannot be before what is merely missing.
    pub(super) fn worst_doubt(&self) -> Option<&(u32, Doubt)> {
        let absurd = |doubt: &&(u32, Doubt)| matches!(doubt.1, Doubt::Absurd(_));
        self.doubts.iter().find(absurd).or_else(|| self.doubts.first())
    }

    fn add(&mut self, report: &Report, taken_at: Timestamp, ordinal: u32, limit: Option<&Limit>) {
        let backlog = backlog(report);
        self.backlog += backlog;
        let Some(rates) = &report.rates else {
            self.doubts.push((ordinal, Doubt::First));
            return;
        };
        let settled = settled(report, rates);
        self.arrival += rates.accepted + rates.refused.min(rates.accepted.max(1.0));
        self.settled += settled;
        self.over = self.over.max(rates.over);
        self.shards.push(Observed {
            settled,
            saturated: kept_by(report, rates, settled, backlog, limit),
            cpu: rates.cpu,
            taken_at,
            uptime: Duration::from_millis(report.shard.uptime_ms),
        });
    }
}

/// The report, if it can be used.
fn checked(shard: &ShardSnapshot, now: Timestamp) -> Result<(&Report, Timestamp), Doubt> {
    let Observation::Reading { value, taken_at } = &shard.report else { return Err(Doubt::Missing) };
    let age = now.duration_since(*taken_at);
    if age.unsigned_abs() > if age.is_negative() { AHEAD } else { FRESH } {
        return Err(if age.is_negative() { Doubt::Ahead } else { Doubt::Stale });
    }
    match absurdity(value) {
        Some(what) => Err(Doubt::Absurd(what)),
        None => Ok((value, *taken_at)),
    }
}

/// What in a report cannot be.
fn absurdity(report: &Report) -> Option<&'static str> {
    let sinks = &report.shard.sinks;
    if report.shard.backlog_events > MOST_BACKLOG || sinks.iter().any(|sink| sink.backlog_events > MOST_BACKLOG) {
        return Some("a backlog");
    }
    let rates = report.rates.as_ref()?;
    // Written so that what is no number is absurd.
    let plausible = |rate: f64| (0.0..=MOST_PER_SECOND).contains(&rate);
    let share = |share: f64| (0.0..=64.0).contains(&share);
    let totals = [rates.accepted, rates.taken_over, rates.settled, rates.refused, rates.receive_refused];
    if !totals.into_iter().all(plausible) {
        return Some("a rate");
    }
    if !rates.sinks.values().all(|sink| plausible(sink.delivered) && share(sink.limited)) {
        return Some("a rate of a sink");
    }
    if !share(rates.disk) || !rates.cpu.is_none_or(share) {
        return Some("a share of its time");
    }
    (rates.over.is_zero() || rates.over > LONGEST).then_some("a time")
}

/// Events that more shards could deliver sooner.
fn backlog(report: &Report) -> f64 {
    let sinks = report.shard.sinks.iter().filter(|sink| sink.phase == BreakerPhase::Serving);
    let events = match sinks.map(|sink| sink.backlog_events).max() {
        Some(events) => events.min(report.shard.backlog_events),
        None if report.shard.sinks.is_empty() => report.shard.backlog_events,
        None => 0,
    };
    float(events)
}

fn settled(report: &Report, rates: &Rates) -> f64 {
    let serving = report.shard.sinks.iter().filter(|sink| sink.phase == BreakerPhase::Serving);
    let delivered = serving.filter_map(|sink| rates.sinks.get(&sink.name)).map(|sink| sink.delivered);
    delivered.fold(rates.settled, f64::max)
}

fn kept_by(report: &Report, rates: &Rates, settled: f64, backlog: f64, limit: Option<&Limit>) -> Option<KeptBy> {
    if settled <= 0.0 {
        return None;
    }
    if rates.receive_refused > REFUSED * rates.accepted && rates.accepted > 0.0 {
        return Some(KeptBy::Itself);
    }
    // The oldest event is as old as the time that the rates are of: there was something to do in all of it.
    let age = Duration::from_millis(report.shard.oldest_event_age_ms.unwrap_or(0));
    if backlog < settled || age < rates.over {
        return None;
    }
    let named = matches!(limit, Some(Limit::Cpu | Limit::Disk | Limit::ConcurrencyLimit(_) | Limit::Ingest));
    if named || rates.disk >= BUSY || rates.cpu.is_some_and(|cpu| cpu >= BUSY) {
        return Some(KeptBy::Itself);
    }
    rates.sinks.values().any(|sink| sink.limited >= LIMITED).then_some(KeptBy::Attempts)
}

/// What arrives at a region anew, whatever other regions hand over to it. Shards of which that is not known are taken for
/// what the others are.
pub(in crate::decide) fn arriving(region: &RegionSnapshot, now: Timestamp) -> Arriving {
    let serving = region.shards.values().filter(|shard| shard.pod.is_some());
    let (mut sum, mut known, mut unknown, mut soon) = (0.0, 0_u32, 0_u32, false);
    for shard in serving {
        match checked(shard, now).map(|(report, _)| (report.rates.as_ref(), report.shard.uptime_ms)) {
            Ok((Some(rates), _)) => {
                let anew = (rates.accepted - rates.taken_over).max(0.0);
                sum += anew + rates.refused.min(anew.max(1.0));
                known += 1;
            }
            Ok((None, uptime)) => {
                // One that does not tell for how long it lives has no rates, ever.
                soon |= uptime > 0;
                unknown += u32::from(shard.is_serving());
            }
            Err(_) => unknown += u32::from(shard.is_serving()),
        }
    }
    let all = f64::from(known + unknown);
    Arriving { per_second: (known > 0).then(|| sum * all / f64::from(known)), soon }
}
