//! One shard of the model: what it holds, and what it would report. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use signalbox_contract::{BreakerPhase, ShardReport, SinkReport};

use crate::fleet::{Rates, Report, SinkRates};

/// Rates are means over so many seconds, as in `observe`.
const LOOK_BACK: usize = 5;

/// One shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    /// The second in which it was created.
    pub(super) born: u64,
    /// The second from which on it serves.
    pub(super) ready_at: u64,
    /// Events that it holds, by the second in which they were accepted.
    parcels: VecDeque<(u64, f64)>,
    /// The last seconds.
    past: VecDeque<Second>,
    accepted: f64,
    settled: f64,
    failed: f64,
    row: Option<Row>,
    quiet_since: Option<u64>,
    /// Reports on their way to the operator, and the last one that has arrived, by the second in which they arrive.
    reports: VecDeque<(u64, Said)>,
}

/// Attempts at the first sink that failed one after the other.
#[derive(Clone, Copy, Debug)]
struct Row {
    began: u64,
    latest: u64,
    failures: u64,
}

/// Attempts that fail in the first second of a row. Then the sink is parked, and probed once a second.
const FIRST_FAILURES: u64 = 20;

/// What a report says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) now: u64,
    backlog: f64,
    oldest: Option<u64>,
    accepted: f64,
    settled: f64,
    failed: f64,
    row: Option<Row>,
    quiet_since: Option<u64>,
    /// Means over so many seconds.
    means: Option<(u32, Second)>,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    accepted: f64,
    settled: f64,
    failed: f64,
    cpu: f64,
    limited: f64,
}

impl Shard {
    pub(super) fn new(now: u64, start_up: u64) -> Self {
        Self { born: now, ready_at: now + start_up, ..Self::default() }
    }

    pub(super) fn is_ready(&self, now: u64) -> bool {
        now >= self.ready_at
    }

    pub(super) fn backlog(&self) -> f64 {
        self.parcels.iter().map(|(_, events)| events).sum()
    }

    /// Takes what was accepted by another shard: a claim.
    pub(super) fn take_over(&mut self, parcels: &[(u64, f64)]) {
        self.parcels.extend(parcels);
    }

    /// Gives away this part of what it holds, 0 to 1.
    pub(super) fn give_part(&mut self, part: f64) -> Vec<(u64, f64)> {
        let given = self.parcels.iter().map(|(second, events)| (*second, events * part)).collect();
        self.parcels.iter_mut().for_each(|(_, events)| *events *= 1.0 - part);
        self.parcels.retain(|(_, events)| *events > 1e-9);
        given
    }

    /// Gives away all that it holds.
    pub(super) fn give(&mut self) -> VecDeque<(u64, f64)> {
        std::mem::take(&mut self.parcels)
    }

    /// All of its attempts at the first sink fail, for the time being.
    pub(super) fn is_failing(&self) -> bool {
        self.row.is_some()
    }

    /// Is down for this second.
    pub(super) fn is_down(&mut self, now: u64) {
        (self.ready_at, self.row) = (self.ready_at.max(now + 1), None);
        self.past.clear();
    }

    /// What comes of `most` attempts of which so many percent fail: those that do not.
    fn attempt(&mut self, now: u64, most: f64, fails: u32) -> (f64, f64) {
        let waits = !self.parcels.is_empty();
        if fails < 100 || !waits {
            self.row = self.row.filter(|_| fails == 100 && waits);
            let part = f64::from(fails) / 100.0;
            let tried = most.min(self.backlog());
            return (most * (1.0 - part), tried * part);
        }
        let row = self.row.get_or_insert(Row { began: now, latest: now, failures: 0 });
        let failures = if row.failures == 0 { FIRST_FAILURES } else { 1 };
        (row.latest, row.failures) = (now, row.failures + failures);
        (0.0, f64::from(u32::try_from(failures).unwrap_or(u32::MAX)))
    }

    /// Lives through one second: accepts, and settles at most `most`, of which it could settle `capacity`. So many percent of
    /// its attempts at the first sink fail.
    pub(super) fn pass(&mut self, now: u64, arriving: f64, most: f64, capacity: f64, fails: u32) {
        if arriving > 0.0 {
            self.parcels.push_back((now, arriving));
        }
        let (most, failed) = self.attempt(now, most, fails);
        let mut left = most;
        while let Some((second, events)) = self.parcels.pop_front() {
            if events > left {
                self.parcels.push_front((second, events - left));
                left = 0.0;
                break;
            }
            left -= events;
        }
        let settled = most - left;
        let waits = !self.parcels.is_empty();
        let limited = if waits && most < capacity { 1.0 } else { 0.0 };
        self.past.push_back(Second { accepted: arriving, settled, failed, cpu: settled / capacity, limited });
        if self.past.len() > LOOK_BACK {
            self.past.pop_front();
        }
        (self.accepted, self.settled) = (self.accepted + arriving, self.settled + settled);
        self.failed += failed;
        let busy = waits || arriving > 0.0;
        self.quiet_since = if busy { None } else { self.quiet_since.or(Some(now)) };
    }

    /// Sends a report that arrives then.
    pub(super) fn report(&mut self, now: u64, arrives: u64) {
        let backlog = self.backlog();
        let oldest = self.parcels.front().map(|(second, _)| *second).filter(|_| backlog >= 1.0);
        let means = self.means();
        let Self { accepted, settled, failed, row, quiet_since, .. } = *self;
        let said = Said { now, backlog, oldest, accepted, settled, failed, row, quiet_since, means };
        self.reports.push_back((arrives, said));
    }

    /// When the last report arrived that has.
    pub(super) fn heard(&mut self, now: u64) -> Option<(u64, Said)> {
        while self.reports.get(1).is_some_and(|(arrives, _)| *arrives <= now) {
            self.reports.pop_front();
        }
        self.reports.front().filter(|(arrives, _)| *arrives <= now).copied()
    }

    fn means(&self) -> Option<(u32, Second)> {
        let seconds = u32::try_from(self.past.len()).ok().filter(|seconds| *seconds >= 2)?;
        let mut sum = Second::default();
        for second in &self.past {
            sum.accepted += second.accepted;
            sum.settled += second.settled;
            sum.failed += second.failed;
            sum.cpu += second.cpu;
            sum.limited += second.limited;
        }
        let of = |total: f64| total / f64::from(seconds);
        let means = Second {
            accepted: of(sum.accepted),
            settled: of(sum.settled),
            failed: of(sum.failed),
            cpu: of(sum.cpu),
            limited: of(sum.limited),
        };
        Some((seconds, means))
    }

    /// The report in full.
    pub(super) fn in_full(&self, said: &Said, (fleet, region): (&str, &str), names: &[String]) -> Report {
        let backlog = whole(said.backlog);
        let sink = |name: &String| SinkReport {
            name: name.clone(),
            backlog_events: backlog,
            delivered_total: whole(said.settled),
            ..SinkReport::default()
        };
        let mut sinks: Vec<_> = names.iter().map(sink).collect();
        if let Some(first) = sinks.first_mut() {
            first.failed_attempts_total = whole(said.failed);
            if let Some(row) = said.row {
                first.consecutive_failures = row.failures;
                first.failing_ms = (row.latest - row.began) * 1000;
                first.phase = BreakerPhase::Tripped;
            }
        }
        let shard = ShardReport {
            fleet: fleet.to_owned(),
            region: region.to_owned(),
            incarnation: self.born.to_string(),
            sequence: said.now,
            uptime_ms: (said.now.saturating_sub(self.ready_at) + 1) * 1000,
            accepting: true,
            backlog_events: backlog,
            oldest_event_age_ms: said.oldest.map(|second| (said.now - second + 1) * 1000),
            accepted_total: whole(said.accepted),
            settled_total: whole(said.settled),
            sinks,
            ..ShardReport::default()
        };
        let quiet_for = Duration::from_secs(said.quiet_since.map_or(0, |since| said.now - since));
        Report { shard, quiet_for, rates: said.rates(names), trouble: None }
    }
}

impl Said {
    fn rates(&self, sinks: &[String]) -> Option<Rates> {
        let (seconds, Second { accepted, settled, failed, cpu, limited }) = self.means?;
        let sink = |at: usize| {
            let failed = if at == 0 { failed } else { 0.0 };
            SinkRates { delivered: settled, failed, limited, ..SinkRates::default() }
        };
        Some(Rates {
            over: Duration::from_secs(seconds.into()),
            accepted,
            settled,
            cpu: Some(cpu),
            sinks: sinks.iter().enumerate().map(|(at, name)| (name.clone(), sink(at))).collect(),
            ..Rates::default()
        })
    }
}

/// Half an event is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(events: f64) -> u64 {
    events as u64
}
