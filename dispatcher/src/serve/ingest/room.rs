//! Whether there is room in the backlog: its limits of bytes, events and age, and how long to wait when it is full.
//!
//! Requests that are being stored have a reservation, so that many at once cannot pass a limit together. Bytes are
//! asked of the log for every request. Events and age cost a read, so they are sampled; in between, every event that is
//! stored counts and none that is settled does, so the limit is kept. May import `log` and `clock`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signalbox_contract::ShardConfig;

use crate::serve::clock;
use crate::serve::log::{LogStats, ShardLog};

/// How old a sample may be when it says that there is room.
const FRESH: Duration = Duration::from_millis(100);

/// And when it says that there is none: who is refused should be refused for a good reason.
const FRESH_WHEN_FULL: Duration = Duration::from_millis(5);

/// Who is refused may come back when this part of the limit has been delivered.
const ROOM_TO_WAIT_FOR: u64 = 20;

/// The shortest and the longest wait that is asked for, in seconds.
const WAIT_SECONDS: (u64, u64) = (1, 30);

/// The wait when the oldest event is too old: there is no telling when it will be delivered.
const WAIT_SECONDS_AGE: u64 = 5;

/// A limit of the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Limit {
    Bytes,
    Events,
    Age,
}

/// The limit that a backlog is at, if it is at one: then new events are refused.
pub(in crate::serve) fn reached(config: &ShardConfig, stats: &LogStats, now_us: i64) -> Option<Limit> {
    let age = stats.oldest_accepted_at_us.map_or(Duration::ZERO, |at| clock::since(at, now_us));
    if stats.bytes >= config.backlog_limit_bytes {
        Some(Limit::Bytes)
    } else if config.backlog_limit_events.is_some_and(|limit| stats.events >= limit) {
        Some(Limit::Events)
    } else if config.backlog_limit_age_ms.is_some_and(|limit| age > Duration::from_millis(limit)) {
        Some(Limit::Age)
    } else {
        None
    }
}

/// Why there is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Not now: seconds to wait.
    Full(String, u64),
    /// Not ever.
    TooLarge(String),
}

/// What some kind of events may fill.
struct Limits {
    bytes: u64,
    events: Option<u64>,
    /// Whether the age of the oldest event counts too.
    age: bool,
    /// Which part of the configured limits that is, for a sentence.
    part: &'static str,
}

impl Limits {
    /// All of what is configured.
    fn of(config: &ShardConfig) -> Self {
        Self { bytes: config.backlog_limit_bytes, events: config.backlog_limit_events, age: true, part: "" }
    }
}

/// The log at one moment.
struct Sample {
    at: Instant,
    stats: LogStats,
    /// Bytes stored in all until then.
    stored: u64,
    /// Bytes that are settled in a second, as of the samples before.
    drain: f64,
}

/// The room in the backlog of one log.
pub(super) struct Room {
    config: Arc<ShardConfig>,
    log: Arc<dyn ShardLog>,
    /// Bytes and events on their way into the log, not yet part of its backlog.
    storing: Amount,
    /// Events stored since the sample, or more.
    events_since: AtomicU64,
    /// Bytes stored since the start.
    bytes_stored: AtomicU64,
    sample: Mutex<Sample>,
}

#[derive(Default)]
struct Amount {
    bytes: AtomicU64,
    events: AtomicU64,
}

impl Room {
    /// The room in this log, under these limits.
    pub(super) fn new(config: Arc<ShardConfig>, log: Arc<dyn ShardLog>, stats: LogStats) -> Self {
        let sample = Mutex::new(Sample { at: Instant::now(), stats, stored: 0, drain: 0.0 });
        Self {
            config,
            log,
            storing: Amount::default(),
            events_since: AtomicU64::new(0),
            bytes_stored: AtomicU64::new(0),
            sample,
        }
    }

    /// Makes sure that these events, together with what is stored and being stored, stay within the limits.
    pub(super) fn reserve(&self, bytes: u64, events: u64) -> Result<Reservation<'_>, NoRoom> {
        self.reserve_within(&Limits::of(&self.config), bytes, events)
    }

    /// The same for events that wait durably elsewhere if there is no room: half of the bytes and events is left to
    /// producers, who have nowhere else to go. A single event may be larger than that. Age does not count: they are as old
    /// wherever they wait, and what they wait behind would only take longer.
    pub(super) fn reserve_beside_producers(&self, bytes: u64, events: u64) -> Result<Reservation<'_>, NoRoom> {
        let limits = Limits::of(&self.config);
        let (whole, halved) = (Limits { age: false, ..limits }, limits.events.map(|limit| limit / 2));
        let half = Limits { bytes: whole.bytes / 2, events: halved, age: false, part: "half of " };
        let fits = bytes <= half.bytes && half.events.is_none_or(|limit| events <= limit);
        self.reserve_within(if fits || events > 1 { &half } else { &whole }, bytes, events)
    }

    fn reserve_within(&self, limits: &Limits, bytes: u64, events: u64) -> Result<Reservation<'_>, NoRoom> {
        if bytes > limits.bytes || limits.events.is_some_and(|limit| events > limit) {
            return Err(NoRoom::TooLarge(format!(
                "{events} events of {bytes} bytes in all are more than the backlog may ever hold: send fewer at once"
            )));
        }
        let storing_bytes = self.storing.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let storing_events = self.storing.events.fetch_add(events, Ordering::AcqRel) + events;
        let reservation = Reservation { room: self, bytes, events };
        if self.log.backlog_bytes().saturating_add(storing_bytes) > limits.bytes {
            return Err(self.full(limits, Limit::Bytes));
        }
        if let Some(limit) = self.sampled(limits, storing_events) {
            return Err(self.full(limits, limit));
        }
        Ok(reservation)
    }

    /// Whether an event without any size would find room: what can be told before its body is read.
    pub(super) fn look(&self) -> Result<(), NoRoom> {
        let limits = Limits::of(&self.config);
        if self.log.backlog_bytes() >= limits.bytes {
            return Err(self.full(&limits, Limit::Bytes));
        }
        self.sampled(&limits, self.storing.events.load(Ordering::Acquire).saturating_add(1))
            .map_or(Ok(()), |limit| Err(self.full(&limits, limit)))
    }

    /// Which of the limits that cost a read would be passed, with so many events being stored.
    fn sampled(&self, limits: &Limits, storing: u64) -> Option<Limit> {
        if self.config.backlog_limit_events.is_none() && self.config.backlog_limit_age_ms.is_none() {
            return None;
        }
        let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let mut limit = self.judge(limits, &sample, storing);
        let fresh = if limit.is_some() { FRESH_WHEN_FULL } else { FRESH };
        if sample.at.elapsed() >= fresh {
            self.refresh(&mut sample);
            limit = self.judge(limits, &sample, storing);
        }
        limit
    }

    fn judge(&self, limits: &Limits, sample: &Sample, storing: u64) -> Option<Limit> {
        let events = sample.stats.events.saturating_add(self.events_since.load(Ordering::Acquire));
        if limits.events.is_some_and(|limit| events.saturating_add(storing) > limit) {
            return Some(Limit::Events);
        }
        reached(&self.config, &sample.stats, clock::now_us()).filter(|limit| limits.age && *limit == Limit::Age)
    }

    fn refresh(&self, sample: &mut Sample) {
        // In this order: what is stored meanwhile may count twice, and never not at all.
        self.events_since.store(0, Ordering::Release);
        let stored = self.bytes_stored.load(Ordering::Relaxed);
        // A log that cannot be read has its own way to end the process. Until then the last sample stands.
        if let Ok(stats) = self.log.stats() {
            let now = Instant::now();
            let settled = (sample.stats.bytes + (stored - sample.stored)).saturating_sub(stats.bytes);
            let drain = drain(sample.drain, settled, now - sample.at);
            *sample = Sample { at: now, stats, stored, drain };
        }
    }

    fn full(&self, limits: &Limits, limit: Limit) -> NoRoom {
        let config = &self.config;
        let drain = {
            let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
            if sample.at.elapsed() >= FRESH {
                self.refresh(&mut sample);
            }
            sample.drain
        };
        let (what, seconds) = match limit {
            Limit::Bytes => {
                let bytes = config.backlog_limit_bytes;
                (format!("the backlog is at {}its limit of {bytes} bytes", limits.part), wait_seconds(bytes, drain))
            }
            Limit::Events => {
                let events = config.backlog_limit_events.unwrap_or_default();
                let share = self.log.backlog_bytes();
                (format!("the backlog is at {}its limit of {events} events", limits.part), wait_seconds(share, drain))
            }
            Limit::Age => (
                format!(
                    "the oldest event of the backlog is older than {} ms",
                    config.backlog_limit_age_ms.unwrap_or_default()
                ),
                WAIT_SECONDS_AGE,
            ),
        };
        NoRoom::Full(format!("{what}: wait as Retry-After says"), seconds)
    }
}

/// The bytes settled per second, as an average that forgets: half of it is what was seen last.
fn drain(before: f64, settled: u64, took: Duration) -> f64 {
    let now = f64::from(u32::try_from(settled / 1024).unwrap_or(u32::MAX)) * 1024.0 / took.as_secs_f64().max(0.001);
    if before == 0.0 { now } else { f64::midpoint(before, now) }
}

/// Seconds until a part of `limit` has been settled at this rate.
fn wait_seconds(limit: u64, drain: f64) -> u64 {
    let (shortest, longest) = WAIT_SECONDS;
    let room = Duration::try_from_secs_f64(
        f64::from(u32::try_from(limit / ROOM_TO_WAIT_FOR / 1024).unwrap_or(u32::MAX)) * 1024.0 / drain.max(1.0),
    );
    room.map_or(longest, |wait| wait.as_secs()).clamp(shortest, longest)
}

/// Given back when dropped: the events are in the backlog by then, or were not stored.
pub(super) struct Reservation<'a> {
    room: &'a Room,
    bytes: u64,
    events: u64,
}

impl Reservation<'_> {
    /// The events have been stored.
    pub(super) fn stored(self) {
        self.room.bytes_stored.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        // A request that has gone away may have its events stored all the same: they count until the next sample.
        self.room.events_since.fetch_add(self.events, Ordering::AcqRel);
        self.room.storing.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.storing.events.fetch_sub(self.events, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
