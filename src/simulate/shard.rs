//! One shard of the model: what it holds, and what it would report. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use signalbox_contract::{ShardReport, SinkReport};

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
    quiet_since: Option<u64>,
    /// Reports on their way to the operator, and the last one that has arrived, by the second in which they arrive.
    reports: VecDeque<(u64, Said)>,
}

/// What a report says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    now: u64,
    backlog: f64,
    oldest: Option<u64>,
    accepted: f64,
    settled: f64,
    quiet_since: Option<u64>,
    /// Means over so many seconds.
    means: Option<(u32, Second)>,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    accepted: f64,
    settled: f64,
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

    /// Gives away all that it holds.
    pub(super) fn give(&mut self) -> VecDeque<(u64, f64)> {
        std::mem::take(&mut self.parcels)
    }

    /// Lives through one second: accepts, and settles at most `most`, of which it could settle `capacity`.
    pub(super) fn pass(&mut self, now: u64, arriving: f64, most: f64, capacity: f64) {
        if arriving > 0.0 {
            self.parcels.push_back((now, arriving));
        }
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
        self.past.push_back(Second { accepted: arriving, settled, cpu: settled / capacity, limited });
        if self.past.len() > LOOK_BACK {
            self.past.pop_front();
        }
        (self.accepted, self.settled) = (self.accepted + arriving, self.settled + settled);
        let busy = waits || arriving > 0.0;
        self.quiet_since = if busy { None } else { self.quiet_since.or(Some(now)) };
    }

    /// Sends a report that arrives then.
    pub(super) fn report(&mut self, now: u64, arrives: u64) {
        let backlog = self.backlog();
        let oldest = self.parcels.front().map(|(second, _)| *second).filter(|_| backlog >= 1.0);
        let (accepted, settled, quiet_since) = (self.accepted, self.settled, self.quiet_since);
        self.reports
            .push_back((arrives, Said { now, backlog, oldest, accepted, settled, quiet_since, means: self.means() }));
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
            sum.cpu += second.cpu;
            sum.limited += second.limited;
        }
        let of = |total: f64| total / f64::from(seconds);
        let means =
            Second { accepted: of(sum.accepted), settled: of(sum.settled), cpu: of(sum.cpu), limited: of(sum.limited) };
        Some((seconds, means))
    }

    /// The report in full.
    pub(super) fn in_full(&self, said: &Said, (fleet, region): (&str, &str), sinks: &[String]) -> Report {
        let backlog = whole(said.backlog);
        let sink = |name: &String| SinkReport {
            name: name.clone(),
            backlog_events: backlog,
            delivered_total: whole(said.settled),
            ..SinkReport::default()
        };
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
            sinks: sinks.iter().map(sink).collect(),
            ..ShardReport::default()
        };
        let quiet_for = Duration::from_secs(said.quiet_since.map_or(0, |since| said.now - since));
        Report { shard, quiet_for, rates: said.rates(sinks), trouble: None }
    }
}

impl Said {
    fn rates(&self, sinks: &[String]) -> Option<Rates> {
        let (seconds, Second { accepted, settled, cpu, limited }) = self.means?;
        let sink = SinkRates { delivered: settled, limited, ..SinkRates::default() };
        Some(Rates {
            over: Duration::from_secs(seconds.into()),
            accepted,
            settled,
            cpu: Some(cpu),
            sinks: sinks.iter().map(|name| (name.clone(), sink)).collect(),
            ..Rates::default()
        })
    }
}

/// Half an event is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(events: f64) -> u64 {
    events as u64
}
