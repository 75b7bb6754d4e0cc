//! What is kept of one shard: its latest report that was taken, and what only shows over several. Pure.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::ShardReport;

use super::attention::Attention;
use super::checks::{Checks, Refusal};
use super::rates::Window;
use crate::fleet::{DataPort, NotRead, Observation, Report};

/// For how long the last report stands when none comes: one that is lost, or a shard that restarts, is no news.
const GRACE: Duration = Duration::from_secs(10);
/// For how long reports may be missing without a word: a shard gives one every second, so two are by then.
const MISSED: Duration = Duration::from_secs(2);
/// How often a shard gives a report.
const DUE: Duration = Duration::from_secs(1);
/// From such a silence on its events port is asked: its report is due, and does not come.
pub(super) const QUIET: Duration = Duration::from_millis(1200);
/// What a shard is given in addition that is asked for one report at a time.
const UNHURRIED: Duration = Duration::from_secs(2);

/// When something was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the clock on the wall, for what people are told.
    pub(super) wall: Timestamp,
    /// By one that only goes forward.
    pub(super) at: Duration,
}

/// What is kept of one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) observation: Observation<Report>,
    quiet_since: Option<Timestamp>,
    silent_since: Option<Timestamp>,
    /// When a report was taken last; or, of one that never gave any, when it was first missed.
    heard_at: Option<Duration>,
    /// Why the latest report is missing, if that was said.
    why: Option<String>,
    /// Whether its events port answers, while reports are missing.
    pub(super) data_port: DataPort,
    checks: Checks,
    window: Window,
    attention: Attention,
}

impl Kept {
    /// A new connection was made.
    pub(super) fn connected(&mut self, at: Duration) {
        self.checks.connected(at);
    }

    /// Takes one more answer. One that cannot be is as good as none, and is said at once.
    pub(super) fn take(&mut self, answer: Result<ShardReport, String>, now: Moment) -> Result<(), Refusal> {
        let shard = match answer {
            Ok(shard) => shard,
            Err(why) => {
                self.heard_at.get_or_insert(now.at);
                self.missing(why, now.wall, MISSED);
                return Ok(());
            }
        };
        let unmoved = self.observation.value().is_some_and(|before| {
            before.shard.incarnation == shard.incarnation && before.shard.accepted_total == shard.accepted_total
        });
        if let Err(refusal) = self.checks.take(&shard, now.at) {
            self.heard_at.get_or_insert(now.at);
            self.missing(refusal.why.clone(), now.wall, Duration::ZERO);
            return Err(refusal);
        }
        // Quiet only counts between two reports of one life, both empty.
        self.quiet_since = match self.quiet_since {
            _ if shard.backlog_events > 0 => None,
            Some(since) if unmoved => Some(since),
            _ => Some(now.wall),
        };
        let quiet_for = self.quiet_since.map_or(Duration::ZERO, |since| now.wall.duration_since(since).unsigned_abs());
        let rates = self.window.take(&shard);
        (self.silent_since, self.why, self.data_port) = (None, None, DataPort::NotAsked);
        self.heard_at = Some(now.at);
        let value = Report { shard, quiet_for, rates, trouble: None };
        self.observation = Observation::Reading { value, taken_at: now.wall };
        Ok(())
    }

    /// Whether the fleet has to be looked at again.
    pub(super) fn matters(&mut self, at: Duration) -> bool {
        self.attention.matters(&self.observation, self.data_port, at)
    }

    /// For how long nothing was heard, beyond what is usual for it.
    pub(super) fn silent_for(&self, at: Duration) -> Duration {
        let one_at_a_time = self.observation.value().is_some_and(|report| report.shard.sequence == 0);
        let usual = if one_at_a_time { UNHURRIED } else { Duration::ZERO };
        self.heard_at.map_or(Duration::ZERO, |heard_at| at.saturating_sub(heard_at).saturating_sub(usual))
    }

    /// Time passes. Two reports that are missing are said by then, whatever becomes of the connection.
    pub(super) fn pass(&mut self, now: Moment) {
        let silent = self.silent_for(now.at);
        let unsaid = self.observation.value().is_some_and(|report| report.trouble.is_none());
        if silent < MISSED || !(unsaid || (silent >= GRACE && self.observation.value().is_some())) {
            return;
        }
        // It is missing since it was due.
        self.silent_since.get_or_insert(now.wall - silent.saturating_sub(DUE));
        let why = self.why.clone().unwrap_or_else(|| format!("it has not reported for {MISSED:?}"));
        self.missing(why, now.wall, Duration::ZERO);
    }

    /// Its events port was asked at this moment.
    pub(super) fn asked(&mut self, answers: bool, asked: Moment, now: Moment) {
        if self.silent_for(now.at) < QUIET {
            // It has been heard in the meantime.
            return;
        }
        self.data_port = match (answers, self.data_port) {
            (true, _) => DataPort::Answers(now.wall),
            (false, DataPort::Silent(since)) => DataPort::Silent(since),
            (false, _) => DataPort::Silent(asked.wall),
        };
    }

    /// No report: what stands in its place, and that it is missing, once that is so for `unsaid`.
    fn missing(&mut self, why: String, now: Timestamp, unsaid: Duration) {
        let since = *self.silent_since.get_or_insert(now);
        self.why = Some(why.clone());
        self.quiet_since = None;
        match &mut self.observation {
            Observation::Reading { value, taken_at } if now.duration_since(*taken_at).unsigned_abs() < GRACE => {
                if now.duration_since(since).unsigned_abs() >= unsaid {
                    value.trouble = Some(NotRead { why, since });
                }
            }
            other => *other = Observation::Unreachable(NotRead { why, since }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn shard(backlog: u64, accepted: u64) -> ShardReport {
        let observation = fixtures::reading(backlog, Duration::ZERO);
        ShardReport { accepted_total: accepted, ..observation.value().unwrap().shard.clone() }
    }

    /// The same from a shard that numbers its reports, one a second.
    fn numbered(sequence: u64, accepted: u64) -> ShardReport {
        ShardReport { sequence, uptime_ms: sequence * 1000, ..shard(0, accepted) }
    }

    fn after(seconds: u64) -> Moment {
        let at = Duration::from_secs(seconds);
        Moment { wall: fixtures::now() + at, at }
    }

    fn silent(kept: &Kept) -> &NotRead {
        let Observation::Unreachable(not_read) = &kept.observation else { panic!("{:?}", kept.observation) };
        not_read
    }

    fn quiet_after(answers: &[Result<ShardReport, String>]) -> Duration {
        let mut kept = Kept::default();
        for (seconds, answer) in (0..).zip(answers) {
            let _ = kept.take(answer.clone(), after(seconds));
        }
        kept.observation.value().map_or(Duration::ZERO, |report| report.quiet_for)
    }

    #[test]
    fn a_shard_is_quiet_for_as_long_as_it_is_empty_and_accepts_nothing() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(0, 5)), Ok(shard(0, 5))]), Duration::from_secs(2));
    }

    #[test]
    fn an_accepted_event_ends_the_quiet() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(0, 5)), Ok(shard(0, 6))]), Duration::ZERO);
    }

    #[test]
    fn a_backlog_ends_the_quiet() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(1, 6)), Ok(shard(0, 6))]), Duration::ZERO);
    }

    #[test]
    fn a_restart_ends_the_quiet() {
        let restarted = ShardReport { incarnation: "two".to_owned(), ..shard(0, 5) };
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Ok(shard(0, 5)), Ok(restarted)]), Duration::ZERO);
    }

    #[test]
    fn a_missing_report_ends_the_quiet_and_is_no_zero() {
        assert_eq!(quiet_after(&[Ok(shard(0, 5)), Err("no".to_owned()), Ok(shard(0, 5))]), Duration::ZERO);
        let mut kept = Kept::default();
        kept.take(Err("no".to_owned()), after(0)).unwrap();
        assert_eq!(kept.observation.value(), None);
    }

    #[test]
    fn a_report_that_is_not_taken_ends_the_quiet() {
        let twice = [Ok(numbered(1, 5)), Ok(numbered(2, 5)), Ok(numbered(2, 5)), Ok(numbered(3, 5))];
        assert_eq!(quiet_after(&twice), Duration::ZERO);
    }

    #[test]
    fn one_lost_report_is_no_news() {
        let mut kept = Kept::default();
        kept.take(Ok(shard(7, 5)), after(0)).unwrap();
        let first = kept.observation.clone();
        kept.take(Err("no".to_owned()), after(2)).unwrap();
        assert_eq!(kept.observation, first);
        kept.take(Err("no".to_owned()), after(10)).unwrap();
        assert_eq!(silent(&kept).since, fixtures::now() + Duration::from_secs(2));
    }

    #[test]
    fn two_lost_reports_are_said_though_the_last_one_still_stands() {
        let mut kept = Kept::default();
        kept.take(Ok(shard(7, 5)), after(0)).unwrap();
        kept.take(Err("no".to_owned()), after(2)).unwrap();
        kept.take(Err("still not".to_owned()), after(4)).unwrap();
        let report = kept.observation.value().unwrap();
        assert_eq!(report.shard.backlog_events, 7);
        let since = fixtures::now() + Duration::from_secs(2);
        assert_eq!(report.trouble, Some(NotRead { why: "still not".to_owned(), since }));
        kept.take(Ok(shard(7, 5)), after(5)).unwrap();
        assert_eq!(kept.observation.value().unwrap().trouble, None);
    }

    fn at(milliseconds: u64) -> Moment {
        let at = Duration::from_millis(milliseconds);
        Moment { wall: fixtures::now() + at, at }
    }

    #[test]
    fn two_missing_reports_are_said_when_they_are_whatever_becomes_of_the_connection() {
        let mut kept = Kept::default();
        kept.take(Ok(numbered(1, 5)), at(0)).unwrap();
        kept.pass(at(1999));
        assert_eq!(kept.observation.value().unwrap().trouble, None);
        kept.pass(at(2000));
        let trouble = kept.observation.value().unwrap().trouble.clone().unwrap();
        assert_eq!(trouble, NotRead { why: "it has not reported for 2s".to_owned(), since: at(1000).wall });
        assert!(kept.matters(at(2000).at));
        kept.pass(at(9999));
        assert!(kept.observation.value().is_some());
        kept.pass(at(10_000));
        assert_eq!(silent(&kept), &trouble);
        assert_eq!(kept.data_port, DataPort::NotAsked, "nobody has asked");
    }

    #[test]
    fn a_shard_that_is_asked_for_one_report_at_a_time_is_given_time() {
        let mut kept = Kept::default();
        kept.take(Ok(shard(0, 5)), at(0)).unwrap();
        kept.pass(at(3999));
        assert_eq!(
            (kept.observation.value().unwrap().trouble.is_some(), kept.silent_for(at(3000).at)),
            (false, at(1000).at)
        );
        kept.pass(at(4000));
        assert!(kept.observation.value().unwrap().trouble.is_some());
    }

    #[test]
    fn what_a_port_says_stands_until_a_report_comes() {
        let mut kept = Kept::default();
        kept.take(Ok(numbered(1, 5)), at(0)).unwrap();
        kept.asked(false, at(900), at(1100));
        assert_eq!(kept.data_port, DataPort::NotAsked, "it is not silent yet");
        kept.asked(false, at(1200), at(1700));
        kept.asked(false, at(1800), at(2300));
        assert_eq!(kept.data_port, DataPort::Silent(at(1200).wall), "since when it was asked in vain");
        kept.asked(true, at(2300), at(2310));
        assert_eq!(kept.data_port, DataPort::Answers(at(2310).wall));
        kept.asked(false, at(2800), at(3300));
        assert_eq!(kept.data_port, DataPort::Silent(at(2800).wall));
        kept.take(Ok(numbered(4, 5)), at(3400)).unwrap();
        assert_eq!(kept.data_port, DataPort::NotAsked);
    }

    #[test]
    fn silence_is_counted_from_its_first_second() {
        let mut kept = Kept::default();
        kept.take(Err("no".to_owned()), after(0)).unwrap();
        kept.take(Err("still not".to_owned()), after(9)).unwrap();
        assert_eq!((silent(&kept).why.as_str(), silent(&kept).since), ("still not", fixtures::now()));
    }

    #[test]
    fn what_cannot_be_is_said_and_never_stands_for_the_shard() {
        let mut kept = Kept::default();
        kept.take(Ok(numbered(1, 5)), after(0)).unwrap();
        let absurd = |sequence| ShardReport { backlog_events: 1 << 63, ..numbered(sequence, 5) };
        for seconds in 1..10 {
            kept.take(Ok(absurd(seconds + 1)), after(seconds)).unwrap_err();
            let report = kept.observation.value().unwrap();
            assert_eq!(report.shard.backlog_events, 0);
            assert!(report.trouble.as_ref().unwrap().why.contains("backlogEvents"), "{report:?}");
        }
        kept.take(Ok(absurd(20)), after(10)).unwrap_err();
        assert!(silent(&kept).why.contains("backlogEvents"));
        kept.take(Ok(numbered(30, 5)), after(31)).unwrap();
        assert!(kept.observation.value().is_some());
    }

    #[test]
    fn rates_come_with_reports_and_go_with_the_process() {
        let mut kept = Kept::default();
        for second in 1..=9 {
            kept.take(Ok(numbered(second, second * 100)), after(second)).unwrap();
        }
        let rates = kept.observation.value().unwrap().rates.clone().unwrap();
        assert!((rates.accepted - 100.0).abs() < 1e-9, "{rates:?}");
        let restarted = ShardReport { incarnation: "two".to_owned(), ..numbered(1, 0) };
        kept.take(Ok(restarted), after(10)).unwrap();
        assert_eq!(kept.observation.value().unwrap().rates, None);
    }
}
