//! What limits a fleet and how long that goes well, and what must be remembered to tell. Plain data: `decide` makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::breaker::BreakerHistory;
use super::drill::DrillHistory;
use super::limit::Limit;
use super::traffic::TrafficHistory;

/// What limits one region, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// The region.
    pub region: String,
    /// What limits it.
    pub limit: Known<Limit>,
    /// The same in a sentence, with what would help. Empty when nothing limits it, or that is not known.
    pub message: String,
    /// What its backlog runs into.
    pub forecast: Known<Option<Saturation>>,
}

/// Something that takes a while to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// It is too early to say: what was said before, by this process or another, stands.
    #[default]
    NotYet,
    /// It was looked for long enough, and cannot be told.
    Unknown,
    /// It is known.
    Is(T),
}

/// A backlog that grows into something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saturation {
    /// What it runs into.
    pub into: Saturates,
    /// When, to the minute at best. In the past when it is there.
    pub at: Timestamp,
    /// How far it is, in percent of what it runs into, to two digits.
    pub percent: u32,
}

/// What a backlog can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Saturates {
    /// The limit above which a shard answers 429: of `queue.storage`, `queue.limits.events` or `queue.limits.age`.
    BacklogLimit,
    /// The time in which a backlog is to be delivered.
    DrainTarget,
}

impl Saturates {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BacklogLimit => "BacklogLimit",
            Self::DrainTarget => "DrainTarget",
        }
    }
}

impl<T> Known<T> {
    /// What it is, if that is known.
    pub fn is(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::NotYet | Self::Unknown => None,
        }
    }
}

/// What one process remembers of a fleet, to tell what limits it, who is silent for how long, and what they held. Lost
/// with the process, and then gathered anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetHistory {
    /// By region.
    pub regions: BTreeMap<String, RegionHistory>,
    /// Since when shards that may hold events have not been heard, by region and ordinal.
    pub silences: BTreeMap<String, BTreeMap<u32, Timestamp>>,
    /// Events that they held when they were heard last, by region and ordinal.
    pub held: BTreeMap<String, BTreeMap<u32, u64>>,
    /// How regions did, for their breakers, by region.
    pub breakers: BTreeMap<String, BreakerHistory>,
    /// What was refused during the drill that lasts.
    pub drill: DrillHistory,
    /// What arrives, and who was given a traffic table.
    pub traffic: TrafficHistory,
}

/// Of one region. Bounded: see the constants of `decide::bottleneck`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionHistory {
    /// When it began. `None`: now.
    pub since: Option<Timestamp>,
    /// What the latest looks found, the oldest first.
    pub looks: Vec<Look>,
    /// What is told until the looks agree on something else.
    pub told: Known<Limit>,
    /// Its sentence.
    pub message: String,
    /// When its numbers were taken.
    pub worded_at: Option<Timestamp>,
    /// The shortest mean time of an attempt that each sink was seen to take, by name.
    pub quickest: BTreeMap<String, Quickest>,
    /// How the backlog was, the oldest first, in even steps.
    pub points: Vec<Point>,
    /// What is foretold, and how sure that is.
    pub foretold: Option<Foretold>,
}

/// What one look found to limit a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// `None`: it could not be told.
    pub limit: Option<Limit>,
}

/// How quick a sink was at its best: of this span of time, and of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quickest {
    /// Since when `now` is taken.
    pub since: Timestamp,
    /// In this span.
    pub now: Duration,
    /// In the span before.
    pub before: Option<Duration>,
}

/// A backlog at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// How far the fullest shard is to the nearest of its limits, in millionths of it.
    pub filled_ppm: u32,
    /// In which time the region would settle what waits, as fast as it does now. `None`: it settles nothing.
    pub drain: Option<Duration>,
}

/// What is foretold, and since when it is so, or is not so any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foretold {
    /// What.
    pub saturation: Saturation,
    /// Whether it was said.
    pub said: bool,
    /// When the slope first said so, or last, once it does not any more.
    pub at: Timestamp,
}
