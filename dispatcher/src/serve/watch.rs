//! `GET /v1/report?watch=true`: the report as it changes, one line of JSON each, to those who watch.
//!
//! ```text
//! log's end, phase, other regions --wake--> one look for all --if it matters, or a heartbeat is due--> the latest line --> watchers
//! ```
//!
//! A line comes at once, then when something changed that matters, ten times a second at most, and when nothing did,
//! within a second: a watcher that hears nothing has lost the shard. There is no queue: who reads slowly gets the latest
//! line next, and never one whose number is lower than that of the line before. Who does not read at all is cut off by
//! the system ([`crate::server::set_up_for_long`]). While nobody watches, nothing is looked at. A stream ends with the process, which does not
//! wait for it.
//!
//! May import `admin` for the report, `traffic` for what is news there, and `shutdown`'s phase.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use signalbox_contract::{BreakerPhase, ShardReport};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::admin::Admin;
use super::log::LogError;
use super::shutdown::Phase;

/// Most watchers at once. There is one operator, and whoever looks for themselves.
const MAX_WATCHERS: usize = 16;
/// Least time between two lines, and between two looks at the log while it moves.
const LINE_GAP: Duration = Duration::from_millis(100);
/// Time between two looks while there is no backlog: what an idle shard does is append, and that wakes us.
const IDLE_GAP: Duration = Duration::from_millis(500);
/// Longest time without a line: below a second, with room for a busy machine.
const HEARTBEAT: Duration = Duration::from_millis(900);
/// A count that moves by less than this many events, and by less than an eighth, is told with the next heartbeat.
const STEP: u64 = 16;

/// Those who watch.
#[derive(Debug)]
pub(super) struct Watchers {
    places: Arc<Semaphore>,
    arrived: Arc<Notify>,
    lines: OnceLock<watch::Sender<Line>>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_WATCHERS)), arrived: Arc::default(), lines: OnceLock::new() }
    }
}

/// A report, written down.
#[derive(Clone, Debug, Default)]
struct Line {
    sequence: u64,
    text: Bytes,
}

impl Line {
    fn new(report: &ShardReport) -> Self {
        // Numbers and strings: there is nothing in a report that JSON cannot say.
        let mut text = serde_json::to_vec(report).unwrap_or_default();
        text.push(b'\n');
        Self { sequence: report.sequence, text: text.into() }
    }
}

/// A watcher's answer. `None` while there is no log to report on.
pub(super) fn answer(admin: &Arc<Admin>) -> Result<Option<Response>, LogError> {
    if admin.store.get().is_none() {
        return Ok(None);
    }
    let Ok(place) = admin.watchers.places.clone().try_acquire_owned() else {
        let sentence = format!("{MAX_WATCHERS} connections watch the report already: end one of them\n");
        return Ok(Some((StatusCode::TOO_MANY_REQUESTS, sentence).into_response()));
    };
    // Before the first line, so that nothing is missed between it and the second.
    let lines = admin.watchers.lines.get_or_init(|| {
        let lines = watch::Sender::new(Line::default());
        tokio::spawn(run(admin.clone(), lines.clone()));
        lines
    });
    let watcher = Watcher { lines: lines.subscribe(), sequence: 0, _place: place };
    let Some(report) = admin.report_now()? else { return Ok(None) };
    admin.watchers.arrived.notify_one();
    let body = stream::unfold((watcher, Some(Line::new(&report))), |(mut watcher, first)| async move {
        let line = match first {
            Some(line) => watcher.take(line),
            None => watcher.next().await?,
        };
        Some((Ok::<_, Infallible>(line), (watcher, None)))
    });
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok(Some((content_type, Body::from_stream(body)).into_response()))
}

/// One who watches.
struct Watcher {
    lines: watch::Receiver<Line>,
    /// Of the line it got last.
    sequence: u64,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        let known = self.sequence;
        let line = self.lines.wait_for(|line| line.sequence > known).await.ok()?.clone();
        Some(self.take(line))
    }

    fn take(&mut self, line: Line) -> Bytes {
        self.sequence = line.sequence;
        line.text
    }
}

/// Looks for as long as somebody watches.
async fn run(admin: Arc<Admin>, lines: watch::Sender<Line>) {
    let Some((_, writer)) = admin.store.get() else { return };
    let (mut end, mut phases) = (writer.end(), admin.phase.clone());
    // Nobody sends on it where there is no traffic table.
    let silent = watch::Sender::new(0);
    let mut traffic = admin.traffic.get().map_or_else(|| silent.subscribe(), |traffic| traffic.news());
    loop {
        admin.watchers.arrived.notified().await;
        let mut pace = Pace::new(Instant::now());
        loop {
            let woken = pace.woken;
            tokio::select! {
                () = lines.closed() => break,
                () = tokio::time::sleep_until(pace.due()) => {}
                Ok(()) = end.changed(), if !woken => { pace.woken = true; continue }
                Ok(()) = phases.changed(), if !woken => { pace.woken = true; continue }
                Ok(()) = traffic.changed(), if !woken => { pace.woken = true; continue }
            }
            let phase = *phases.borrow_and_update();
            end.mark_unchanged();
            traffic.mark_unchanged();
            // What cannot be read is not told. The watchers hear nothing, which is what there is to say.
            let report = admin.report_now().ok().flatten();
            if let Some(report) = pace.looked(report.as_ref(), phase, Instant::now()) {
                lines.send_replace(Line::new(report));
            }
        }
    }
}

/// When to look, and what to tell. Pure.
#[derive(Debug)]
struct Pace {
    told: Option<Told>,
    told_at: Instant,
    looked_at: Instant,
    /// Until when there is no further line.
    held_until: Instant,
    busy: bool,
    /// Something happened since the last look.
    woken: bool,
}

/// What was told last, of what matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    accepting: bool,
    phase: Phase,
    breakers: Vec<BreakerPhase>,
    /// The epoch on disk and the highest, slots claimed and at risk, whether it is empty.
    routing: Option<(u64, u64, u32, u32, bool)>,
    /// The version of the traffic table, slots that are away, and whether other regions answer.
    traffic: Option<(u64, u32, Vec<bool>)>,
    /// The backlog as a whole and of each sink, and each sink's dead letters.
    counts: Vec<u64>,
}

impl Pace {
    /// Begins with a look.
    fn new(now: Instant) -> Self {
        Self { told: None, told_at: now, looked_at: now, held_until: now, busy: true, woken: true }
    }

    /// When to look next.
    fn due(&self) -> Instant {
        let gap = if self.busy { LINE_GAP } else { IDLE_GAP };
        let regular = (self.looked_at + gap).min(self.told_at + HEARTBEAT);
        if self.woken { regular.min(self.held_until) } else { regular }
    }

    /// Notes a look, and gives back the report if it is to be told.
    fn looked<'a>(&mut self, report: Option<&'a ShardReport>, phase: Phase, now: Instant) -> Option<&'a ShardReport> {
        self.looked_at = now;
        if std::mem::take(&mut self.woken) {
            self.held_until = now + LINE_GAP;
        }
        let Some(report) = report else {
            self.told_at = now;
            return None;
        };
        let moving = report.routing.as_ref().is_some_and(|routing| routing.epoch == 0 || routing.claiming > 0);
        // A shard on its way to where its routing table wants it is waited for.
        self.busy = report.backlog_events > 0 || moving;
        let told = Told::of(report, phase);
        let news = self.told.as_ref().is_none_or(|before| told.differs(before));
        if !news && now < self.told_at + HEARTBEAT {
            return None;
        }
        self.told = Some(told);
        self.told_at = now;
        self.held_until = now + LINE_GAP;
        Some(report)
    }
}

impl Told {
    fn of(report: &ShardReport, phase: Phase) -> Self {
        let sinks = report.sinks.iter().flat_map(|sink| [sink.backlog_events, sink.dead_letters]);
        Self {
            accepting: report.accepting,
            phase,
            breakers: report.sinks.iter().map(|sink| sink.phase).collect(),
            routing: report.routing.as_ref().map(|routing| {
                (routing.epoch, routing.highest_epoch, routing.claiming, routing.at_risk, routing.empty)
            }),
            traffic: report.traffic.as_ref().map(|traffic| {
                let answers = traffic.regions.iter().map(|seen| seen.answered > 0).collect();
                (traffic.version, traffic.away_slots, answers)
            }),
            counts: std::iter::once(report.backlog_events).chain(sinks).collect(),
        }
    }

    fn differs(&self, before: &Self) -> bool {
        let state = |told: &Self| (told.accepting, told.phase, told.routing);
        let switched =
            state(self) != state(before) || self.breakers != before.breakers || self.traffic != before.traffic;
        switched || self.counts.iter().zip(&before.counts).any(|(&now, &then)| moved(then, now))
    }
}

/// Whether a count has moved by enough. The first event matters at once; that the last one has gone, a moment later: a
/// shard that keeps up goes to zero and back all the time.
fn moved(then: u64, now: u64) -> bool {
    (then == 0 && now > 0) || then.abs_diff(now) >= STEP.max(then / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_contract::{RegionSeen, RoutingReport, TrafficReport};

    fn report(backlog_events: u64) -> ShardReport {
        ShardReport { accepting: true, backlog_events, ..ShardReport::default() }
    }

    /// What of these backlogs, looked at whenever it is time to, is told, and when.
    fn told(backlog_at: impl Fn(Duration) -> u64, wakes: &[u64], span: Duration) -> (Vec<(u64, u64)>, usize) {
        let start = Instant::now();
        let (mut pace, mut now, mut lines, mut looks) = (Pace::new(start), start, Vec::new(), 0);
        let mut wakes = wakes.iter().map(|at| start + Duration::from_millis(*at)).peekable();
        loop {
            if let Some(wake) = wakes.next_if(|wake| *wake <= pace.due().max(now)) {
                pace.woken = true;
                now = now.max(wake);
                continue;
            }
            now = now.max(pace.due());
            if now - start > span {
                return (lines, looks);
            }
            looks += 1;
            let report = report(backlog_at(now - start));
            if pace.looked(Some(&report), Phase::Serving, now).is_some() {
                lines.push((u64::try_from((now - start).as_millis()).unwrap(), report.backlog_events));
            }
        }
    }

    #[test]
    fn an_idle_shard_gives_a_heartbeat_within_every_second() {
        let (lines, looks) = told(|_| 0, &[], Duration::from_secs(9));
        assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), (0..=10).map(|n| n * 900).collect::<Vec<_>>());
        assert!(looks <= 21, "{looks} looks");
    }

    #[test]
    fn the_first_event_is_told_at_once() {
        let backlog = |at| u64::from(at >= Duration::from_millis(1234));
        let (lines, _) = told(backlog, &[1234], Duration::from_secs(2));
        assert!(lines.contains(&(1234, 1)), "{lines:?}");
    }

    #[test]
    fn a_spike_is_told_ten_times_a_second_and_looked_at_no_more_often() {
        let wakes: Vec<u64> = (0..3000).collect();
        let (lines, looks) = told(|at| 1 << at.as_millis().min(3000).div_euclid(60), &wakes, Duration::from_secs(3));
        assert!((28..=31).contains(&lines.len()), "{} lines", lines.len());
        assert!(looks <= 31, "{looks} looks");
        assert!(lines.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 100), "{lines:?}");
    }

    #[test]
    fn a_shard_that_keeps_up_is_no_news() {
        let wakes: Vec<u64> = (0..10_000).collect();
        let flicker = |at: Duration| u64::try_from(at.as_millis() / 7 % 3).unwrap();
        let (lines, _) = told(flicker, &wakes, Duration::from_secs(10));
        assert!(lines.len() <= 24, "{} lines", lines.len());
    }

    #[test]
    fn what_changes_state_is_told_whatever_the_counts_say() {
        let (now, mut before) = (Instant::now(), report(5));
        let told_after = |change: &dyn Fn(&mut ShardReport), phase| {
            let mut pace = Pace::new(now);
            pace.looked(Some(&before), Phase::Serving, now);
            let mut after = before.clone();
            change(&mut after);
            pace.looked(Some(&after), phase, now + LINE_GAP).is_some()
        };
        assert!(!told_after(&|_| {}, Phase::Serving));
        assert!(!told_after(&|report| report.accepted_total += 1000, Phase::Serving));
        assert!(told_after(&|report| report.accepting = false, Phase::Serving));
        assert!(told_after(&|_| {}, Phase::Draining));
        assert!(told_after(&|report| report.backlog_events = 21, Phase::Serving));
        assert!(told_after(&|report| report.routing = Some(RoutingReport::default()), Phase::Serving));
        let seen = |answered| vec![RegionSeen { asked: 2, answered, ..RegionSeen::default() }];
        let traffic = |answered| Some(TrafficReport { regions: seen(answered), ..TrafficReport::default() });
        assert!(told_after(&|report| report.traffic = traffic(2), Phase::Serving));
        before.traffic = traffic(2);
        let told_after = |answered| {
            let (mut pace, after) = (Pace::new(now), ShardReport { traffic: traffic(answered), ..before.clone() });
            pace.looked(Some(&before), Phase::Serving, now);
            pace.looked(Some(&after), Phase::Serving, now + LINE_GAP).is_some()
        };
        assert!(!told_after(1) && told_after(0), "whether any answers, and not how many");
    }

    #[tokio::test]
    async fn a_slow_watcher_gets_the_latest_line_and_none_that_is_older() {
        let lines = watch::Sender::new(Line::default());
        let places = Arc::new(Semaphore::new(1));
        let place = places.try_acquire_owned().unwrap();
        let mut watcher = Watcher { lines: lines.subscribe(), sequence: 0, _place: place };
        let line = |sequence: u64| Line { sequence, text: sequence.to_string().into() };
        watcher.take(line(7));
        for sequence in [6, 8, 9, 10] {
            lines.send_replace(line(sequence));
        }
        assert_eq!(watcher.next().await.unwrap(), "10");
        lines.send_replace(line(11));
        drop(lines);
        assert_eq!(watcher.next().await.unwrap(), "11");
        assert_eq!(watcher.next().await, None);
    }
}
