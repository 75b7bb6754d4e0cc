//! Whether a report can be: what comes late, twice, out of order or from a process that has ended is not taken, nor is
//! what no shard can say. Pure.
//!
//! Shards from before 0.2 do not number their reports and do not tell how long they live: what cannot be checked of them
//! is not.

use std::collections::VecDeque;
use std::time::Duration;

use signalbox_contract::ShardReport;

/// Largest number that can be true: what programs that hold numbers as floating point still tell from the next.
const LARGEST: u64 = 1 << 53;
/// How many slots of event keys there are.
const SLOTS: u64 = 1024;
/// How old a report may be when it is read, against the freshest of its connection.
const LATE: Duration = Duration::from_secs(2);
/// By how much a shard's clock may run ahead of ours on one connection: the reports before may have been late.
const AHEAD_MS: i128 = 5_000;
/// What reports are held against is itself in doubt when none was taken for so long.
const DOUBT: Duration = Duration::from_secs(30);
/// By how much a total of microseconds may fall: those under way are measured, and may be measured longer than they
/// turn out to be.
const JITTER_US: u64 = 50_000;
/// Processes of one pod that are remembered, to know them again.
const LIVES: usize = 4;

/// Why a report was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// In a word, for the metric.
    pub(super) kind: &'static str,
    /// The end of a sentence about the shard.
    pub(super) why: String,
    /// What else is on its way on this connection is no better.
    pub(super) hang_up: bool,
}

impl Refusal {
    fn new(kind: &'static str, why: String) -> Self {
        Self { kind, why, hang_up: false }
    }
}

/// What reports are held against.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// The last report that was taken, and when, by our monotonic clock.
    last: Option<(ShardReport, Duration)>,
    /// Incarnations that have been succeeded by others.
    past: VecDeque<String>,
    /// The least difference between our clock and the shard's on this connection, in milliseconds.
    offset_ms: Option<i128>,
}

impl Checks {
    /// A new connection: what comes first is as fresh as can be.
    pub(super) fn connected(&mut self, at: Duration) {
        self.offset_ms = None;
        if self.last.as_ref().is_some_and(|(_, last_at)| at.saturating_sub(*last_at) > DOUBT) {
            self.last = None;
        }
    }

    /// Takes a report, or says why not.
    pub(super) fn take(&mut self, shard: &ShardReport, at: Duration) -> Result<(), Refusal> {
        possible(shard)?;
        if self.past.contains(&shard.incarnation) {
            return Err(Refusal::new("old_incarnation", "its report is of a process that has ended".to_owned()));
        }
        let last = self.last.as_ref().filter(|(last, _)| last.incarnation == shard.incarnation);
        if let Some((last, last_at)) = last {
            let hang_up = at.saturating_sub(*last_at) > DOUBT;
            follows(shard, last).map_err(|refusal| Refusal { hang_up, ..refusal })?;
        }
        if shard.uptime_ms > 0 {
            let offset_ms = i128::try_from(at.as_millis()).unwrap_or(i128::MAX) - i128::from(shard.uptime_ms);
            self.offset_ms = Some(timely(offset_ms, self.offset_ms.filter(|_| last.is_some()))?);
        }
        let before = self.last.take();
        self.last = Some((shard.clone(), at));
        if let Some((last, _)) = before
            && last.incarnation != shard.incarnation
        {
            self.past.push_front(last.incarnation);
            self.past.truncate(LIVES);
        }
        Ok(())
    }
}

/// Whether a report is from about now, given the difference between the clocks and the least one before. Gives the least.
fn timely(offset_ms: i128, least: Option<i128>) -> Result<i128, Refusal> {
    let Some(least) = least else { return Ok(offset_ms) };
    if least - offset_ms > AHEAD_MS {
        let why = "its report is not taken, because uptimeMs has grown faster than time passes".to_owned();
        return Err(Refusal { kind: "absurd", why, hang_up: true });
    }
    let late = Duration::from_millis(u64::try_from(offset_ms - least).unwrap_or(0));
    if late > LATE {
        return Err(Refusal { kind: "late", why: format!("its report comes {}s late", late.as_secs()), hang_up: true });
    }
    Ok(least.min(offset_ms))
}

/// Whether each number is one that a shard can have.
fn possible(shard: &ShardReport) -> Result<(), Refusal> {
    let usage = &shard.usage;
    let of_shard = [
        ("sequence", shard.sequence),
        ("uptimeMs", shard.uptime_ms),
        ("backlogEvents", shard.backlog_events),
        ("backlogBytes", shard.backlog_bytes),
        ("oldestEventAgeMs", shard.oldest_event_age_ms.unwrap_or(0)),
        ("cpuLimitMillis", usage.cpu_limit_millis),
    ];
    let of_routing = shard
        .routing
        .iter()
        .flat_map(|routing| [("routing.epoch", routing.epoch), ("routing.highestEpoch", routing.highest_epoch)]);
    let of_sinks = shard.sinks.iter().flat_map(|sink| {
        [
            ("backlogEvents", sink.backlog_events),
            ("inFlight", sink.in_flight),
            ("consecutiveFailures", sink.consecutive_failures),
            ("concurrencyLimit", sink.concurrency_limit),
            ("blockedEvents", sink.blocked_events),
            ("largestLaneEvents", sink.largest_lane_events),
            ("windowEvents", sink.window_events),
            ("deadLetters", sink.dead_letters),
        ]
    });
    let all = of_shard.into_iter().chain(of_routing).chain(of_sinks).chain(totals(shard));
    let of_slots = shard
        .routing
        .iter()
        .flat_map(|routing| [("routing.claiming", routing.claiming), ("routing.atRisk", routing.at_risk)]);
    let absurd = all.into_iter().find(|(_, value)| *value > LARGEST);
    let absurd =
        absurd.or_else(|| of_slots.map(|(name, value)| (name, value.into())).find(|(_, value)| *value > SLOTS));
    absurd.map_or(Ok(()), |(name, value)| {
        Err(Refusal::new("absurd", format!("its report is not taken, because {name} is {value}, which cannot be")))
    })?;
    match &shard.routing {
        Some(routing) if routing.empty && routing.claiming > 0 => {
            let why = "its report is not taken, because it owns no slot and claims some".to_owned();
            Err(Refusal::new("absurd", why))
        }
        _ => Ok(()),
    }
}

/// Whether a report can come after another of the same process.
fn follows(shard: &ShardReport, last: &ShardReport) -> Result<(), Refusal> {
    let numbered = shard.sequence > 0 || last.sequence > 0;
    if numbered && shard.sequence <= last.sequence {
        let why = format!("its report is number {}, and number {} came before", shard.sequence, last.sequence);
        return Err(Refusal::new("old", why));
    }
    if shard.uptime_ms < last.uptime_ms {
        let why = "its report is not taken, because uptimeMs has fallen".to_owned();
        return Err(Refusal::new("absurd", why));
    }
    let epoch = |shard: &ShardReport| shard.routing.as_ref().map_or(0, |routing| routing.epoch);
    if epoch(shard) < epoch(last) {
        let why = "its report is not taken, because routing.epoch has fallen".to_owned();
        return Err(Refusal::new("absurd", why));
    }
    let same_sinks = shard.sinks.len() == last.sinks.len();
    let fallen = totals(shard).zip(totals(last)).take(if same_sinks { usize::MAX } else { OF_SHARD }).find(
        |((name, now), (_, then))| {
            let jitter = if name.contains("Us") { JITTER_US } else { 0 };
            now.saturating_add(jitter) < *then
        },
    );
    fallen.map_or(Ok(()), |((name, now), (_, then))| {
        let why = format!("its report is not taken, because {name} has fallen from {then} to {now}");
        Err(Refusal::new("absurd", why))
    })
}

/// How many totals are of the shard as a whole.
const OF_SHARD: usize = 6;

/// All that only grows within the life of a process: of the shard, then of each sink. Those of time have `Us` in their
/// names.
fn totals(shard: &ShardReport) -> impl Iterator<Item = (&'static str, u64)> {
    let usage = &shard.usage;
    let of_shard: [_; OF_SHARD] = [
        ("acceptedTotal", shard.accepted_total),
        ("settledTotal", shard.settled_total),
        ("refusedTotal", shard.refused_total),
        ("cpuUsTotal", usage.cpu_us_total),
        ("diskBusyUsTotal", usage.disk_busy_us_total),
        ("receiveRefusedTotal", usage.receive_refused_total),
    ];
    let of_sinks = shard.sinks.iter().flat_map(|sink| {
        [
            ("deliveredTotal", sink.delivered_total),
            ("failedAttemptsTotal", sink.failed_attempts_total),
            ("attemptsTotal", sink.attempts_total),
            ("attemptUsTotal", sink.attempt_us_total),
            ("throttledTotal", sink.throttled_total),
            ("limitedUsTotal", sink.limited_us_total),
        ]
    });
    of_shard.into_iter().chain(of_sinks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_contract::{RoutingReport, SinkReport};

    fn report(sequence: u64, uptime_ms: u64) -> ShardReport {
        let sinks = vec![SinkReport { delivered_total: 10, limited_us_total: 900_000, ..SinkReport::default() }];
        let incarnation = "one".to_owned();
        ShardReport { incarnation, sequence, uptime_ms, accepted_total: 100, sinks, ..ShardReport::default() }
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// What is said of a second report, a second after the first.
    fn second(change: impl FnOnce(&mut ShardReport)) -> Result<(), Refusal> {
        let mut checks = Checks::default();
        checks.take(&report(5, 60_000), at(0)).unwrap();
        let mut next = report(6, 61_000);
        change(&mut next);
        checks.take(&next, at(1000))
    }

    fn kind(result: Result<(), Refusal>) -> &'static str {
        result.unwrap_err().kind
    }

    #[test]
    fn a_report_that_follows_is_taken() {
        assert_eq!(second(|_| {}), Ok(()));
        assert_eq!(second(|next| next.accepted_total += 1000), Ok(()));
    }

    #[test]
    fn what_was_seen_or_is_older_is_not_taken() {
        assert_eq!(kind(second(|next| next.sequence = 5)), "old");
        assert_eq!(kind(second(|next| next.sequence = 4)), "old");
        assert_eq!(kind(second(|next| next.sequence = 0)), "old");
    }

    #[test]
    fn what_cannot_be_is_not_taken_and_is_named() {
        assert_eq!(kind(second(|next| next.backlog_events = 1 << 63)), "absurd");
        assert_eq!(kind(second(|next| next.backlog_events = LARGEST + 1)), "absurd");
        assert_eq!(kind(second(|next| next.sinks[0].in_flight = u64::MAX)), "absurd");
        assert_eq!(kind(second(|next| next.sinks[0].delivered_total = 9)), "absurd");
        assert_eq!(kind(second(|next| next.uptime_ms = 59_000)), "absurd");
        assert_eq!(kind(second(|next| next.uptime_ms = 67_000)), "absurd");
        let refusal = second(|next| next.accepted_total = 99).unwrap_err();
        assert_eq!(refusal.why, "its report is not taken, because acceptedTotal has fallen from 100 to 99");
        assert!(!refusal.hang_up);
    }

    #[test]
    fn what_cannot_be_said_of_routing_is_not_taken() {
        let says = |change: fn(&mut RoutingReport)| {
            let mut routing = RoutingReport { log: 7, epoch: 3, highest_epoch: 3, ..RoutingReport::default() };
            change(&mut routing);
            second(|next| next.routing = Some(routing))
        };
        assert_eq!(says(|routing| (routing.claiming, routing.at_risk) = (1024, 1024)), Ok(()));
        assert_eq!(kind(says(|routing| routing.epoch = LARGEST + 1)), "absurd");
        assert_eq!(kind(says(|routing| routing.highest_epoch = u64::MAX)), "absurd");
        assert_eq!(kind(says(|routing| routing.at_risk = 1025)), "absurd");
        assert_eq!(kind(says(|routing| (routing.empty, routing.claiming) = (true, 1))), "absurd");
        let refusal = says(|routing| routing.claiming = 1025).unwrap_err();
        assert_eq!(refusal.why, "its report is not taken, because routing.claiming is 1025, which cannot be");
        let mut checks = Checks::default();
        let with_epoch = |sequence, epoch| {
            let routing = Some(RoutingReport { epoch, ..RoutingReport::default() });
            ShardReport { routing, ..report(sequence, sequence * 1000) }
        };
        checks.take(&with_epoch(1, 3), at(1000)).unwrap();
        assert_eq!(kind(checks.take(&with_epoch(2, 2), at(2000))), "absurd");
    }

    #[test]
    fn time_that_is_still_being_measured_may_be_corrected() {
        assert_eq!(second(|next| next.sinks[0].limited_us_total = 899_000), Ok(()));
        assert_eq!(kind(second(|next| next.sinks[0].limited_us_total = 800_000)), "absurd");
    }

    #[test]
    fn what_was_refused_changes_nothing() {
        let mut checks = Checks::default();
        checks.take(&report(5, 60_000), at(0)).unwrap();
        let absurd = ShardReport { accepted_total: 1 << 60, ..report(9_000, 61_000) };
        checks.take(&absurd, at(1000)).unwrap_err();
        assert_eq!(checks.take(&report(6, 61_000), at(1000)), Ok(()));
    }

    #[test]
    fn a_restart_begins_anew_and_what_the_earlier_process_said_comes_too_late() {
        let mut checks = Checks::default();
        checks.take(&report(5, 60_000), at(0)).unwrap();
        let restarted = ShardReport { incarnation: "two".to_owned(), accepted_total: 0, ..report(1, 10) };
        assert_eq!(checks.take(&restarted, at(1000)), Ok(()));
        assert_eq!(kind(checks.take(&report(6, 61_000), at(1001))), "old_incarnation");
    }

    #[test]
    fn a_report_that_was_under_way_for_long_is_late_and_so_is_all_behind_it() {
        let mut checks = Checks::default();
        checks.take(&report(1, 60_000), at(0)).unwrap();
        assert_eq!(checks.take(&report(2, 61_000), at(2_500)), Ok(()));
        let refusal = checks.take(&report(3, 62_000), at(4_500)).unwrap_err();
        assert_eq!((refusal.kind, refusal.hang_up), ("late", true));
        checks.connected(at(4_600));
        assert_eq!(checks.take(&report(4, 64_600), at(4_600)), Ok(()));
    }

    #[test]
    fn a_machine_that_slept_is_heard_again_on_the_next_connection() {
        let mut checks = Checks::default();
        checks.take(&report(1, 60_000), at(0)).unwrap();
        assert_eq!(kind(checks.take(&report(2, 61_000), at(600_000))), "late");
        checks.connected(at(600_100));
        assert_eq!(checks.take(&report(3, 61_100), at(600_100)), Ok(()));
    }

    #[test]
    fn an_operator_that_slept_hears_again_on_the_next_connection() {
        let mut checks = Checks::default();
        checks.take(&report(1, 60_000), at(0)).unwrap();
        let refusal = checks.take(&report(2, 660_000), at(100)).unwrap_err();
        assert_eq!((refusal.kind, refusal.hang_up), ("absurd", true));
        checks.connected(at(200));
        assert_eq!(checks.take(&report(3, 660_200), at(200)), Ok(()));
    }

    #[test]
    fn what_was_wrongly_taken_does_not_silence_a_shard_for_ever() {
        let mut checks = Checks::default();
        let wrong = ShardReport { accepted_total: 1 << 50, ..report(1, 60_000) };
        checks.take(&wrong, at(0)).unwrap();
        let hangs_up = |checks: &mut Checks, seconds: u64| {
            checks.take(&report(2 + seconds, 60_000 + seconds * 1000), at(seconds * 1000)).unwrap_err().hang_up
        };
        assert!(!hangs_up(&mut checks, 1));
        assert!(hangs_up(&mut checks, 31));
        checks.connected(at(32_000));
        assert_eq!(checks.take(&report(40, 92_000), at(32_000)), Ok(()));
    }

    #[test]
    fn a_shard_that_numbers_nothing_is_taken_as_it_is() {
        let mut checks = Checks::default();
        for seconds in 0..100 {
            assert_eq!(checks.take(&report(0, 0), at(seconds * 2_000)), Ok(()));
        }
    }
}
