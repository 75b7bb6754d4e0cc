//! A region's breaker: what the spec says of it, what is remembered of it, and what was decided.
//!
//! ```text
//!              evidence has held                its time is over, and it is reachable
//!   Serving --------------------> Tripped --------------------------------------> Probing(step)
//!      ^                             ^      hard evidence, or soft in the first step    |  ^ | soft: a step down
//!      |                             +--------------------------------------------------+  +-+ clean: a step up
//!      +------------------------------------------------------------------------------------+
//!                                     the last step is clean
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

/// When a region is taken out of service, and how it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerIntent {
    /// Share of attempts that must fail, or of events that must be refused, 1 to 100 percent.
    pub failure_ratio: u32,
    /// What is looked at at once. A region whose deliveries all fail has tripped when it ends.
    pub window: Duration,
    /// Attempts within the window below which their share says nothing. At least 1.
    pub minimum_attempts: u64,
    /// How long the first trip lasts, before jitter.
    pub base_trip_time: Duration,
    /// How long any lasts at most. Not below `base_trip_time`. Serving for so long makes up for one trip.
    pub max_trip_time: Duration,
    /// The shares of its weight that it comes back with, one after another, in percent: 1 to 16 of them, growing, the last
    /// one 100.
    pub ramp: Vec<u32>,
    /// What becomes of new events when no region is well.
    pub when_all_unhealthy: WhenAllUnhealthy,
}

impl Default for BreakerIntent {
    /// What a spec means that says nothing of it.
    fn default() -> Self {
        Self {
            failure_ratio: 50,
            window: Duration::from_secs(10),
            minimum_attempts: 50,
            base_trip_time: Duration::from_secs(30),
            max_trip_time: Duration::from_mins(10),
            ramp: vec![5, 10, 25, 50, 100],
            when_all_unhealthy: WhenAllUnhealthy::HoldWeights,
        }
    }
}

/// What becomes of new events when no region is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllUnhealthy {
    /// They are accepted by the weights of the spec, and wait.
    #[default]
    HoldWeights,
    /// They are refused with 503.
    Shed,
}

/// What is remembered of a region's breaker: the status says all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerMemory {
    /// Where it is.
    pub phase: BreakerPhase,
    /// Since when, to the second; of Probing, since when it is at this step.
    pub since: Timestamp,
    /// Tripped: when it may be probed at the earliest.
    pub until: Option<Timestamp>,
    /// Probing: which entry of the ramp it is at.
    pub step: u32,
    /// Trips that nothing has made up for yet: what the next one's time doubles with. At most 16.
    pub trips: u32,
    /// Why it is not Serving. `None` if it is.
    pub cause: Option<TripCause>,
}

impl BreakerMemory {
    /// A breaker of which nothing is known.
    pub fn serving(since: Timestamp) -> Self {
        Self { phase: BreakerPhase::Serving, since, until: None, step: 0, trips: 0, cause: None }
    }
}

/// Why a region is not Serving. The same word is in status, conditions, events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TripCause {
    /// Its shards report nothing, and their events ports answer neither the operator nor shards of other regions.
    Unreachable,
    /// None of its shards is ready.
    NoShardReady,
    /// A sink fails from there, and not from everywhere.
    SinkFailing,
    /// It refuses events because of its limits.
    Refusing,
    /// Somebody holds it there.
    Held,
    /// Somebody has it drained for maintenance.
    Drained,
    /// Somebody tries out how the fleet does without it.
    Drill,
}

impl TripCause {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::NoShardReady => "NoShardReady",
            Self::SinkFailing => "SinkFailing",
            Self::Refusing => "Refusing",
            Self::Held => "Held",
            Self::Drained => "Drained",
            Self::Drill => "Drill",
        }
    }

    /// The cause that this word stands for.
    pub fn of(word: &str) -> Option<Self> {
        let all = [
            Self::Unreachable,
            Self::NoShardReady,
            Self::SinkFailing,
            Self::Refusing,
            Self::Held,
            Self::Drained,
            Self::Drill,
        ];
        all.into_iter().find(|cause| cause.as_str() == word)
    }

    /// Whether it was inferred from how things go, and may be wrong: not what was seen with certainty, or is somebody's will.
    pub fn is_inferred(self) -> bool {
        matches!(self, Self::SinkFailing | Self::Refusing)
    }

    /// Whether it is somebody's will.
    pub fn is_manual(self) -> bool {
        matches!(self, Self::Held | Self::Drained | Self::Drill)
    }
}

/// What was decided about a region's breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerPlan {
    /// Where it is now; what the next decision must know.
    pub memory: BreakerMemory,
    /// Where it was, if this decision has changed its phase or its step.
    pub from: Option<BreakerMemory>,
    /// Whether its shards can take events and hand them over: some shard is ready, and was heard.
    pub reachable: bool,
    /// Why it is where it is, in one word: the cause, or what is held against tripping, or `Healthy`.
    pub reason: BreakerReason,
    /// The same in a sentence, with its numbers. Without numbers that change with every look.
    pub message: String,
    /// When to look again. `None`: nothing is waited for.
    pub recheck_after: Option<Duration>,
}

/// Why a breaker is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerReason {
    /// Nothing speaks against the region.
    Healthy,
    /// Something does, and not for long enough.
    Suspected,
    /// It cannot be told: nothing changes.
    Unknown,
    /// A sink fails everywhere: no region is at fault.
    SinkFailsEverywhere,
    /// It would be tripped, and is not, because too few regions would be left.
    TooFewLeft,
    /// It is Tripped, for this.
    Tripped(TripCause),
    /// It comes back, step by step.
    Ramping,
    /// Somebody holds it in its phase.
    Held,
}

impl BreakerReason {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspected => "Suspected",
            Self::Unknown => "Unknown",
            Self::SinkFailsEverywhere => "SinkFailsEverywhere",
            Self::TooFewLeft => "TooFewLeft",
            Self::Tripped(cause) => cause.as_str(),
            Self::Ramping => "Ramping",
            Self::Held => "Held",
        }
    }
}

/// What one process remembers of how a region did, to judge its breaker by. Lost with the process, and then gathered anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakerHistory {
    /// The totals of its shards when they were heard last, by ordinal.
    pub totals: BTreeMap<u32, ShardTotals>,
    /// What has happened between the latest looks, the oldest first; bounded by a few windows.
    pub looks: Vec<BreakerLook>,
    /// Since when a look has found this at every time.
    pub since: BTreeMap<Suspicion, Timestamp>,
    /// When each sink was last seen to take events, by name.
    pub delivered: BTreeMap<String, Timestamp>,
    /// Whether a shard of it has been ready.
    pub was_ready: bool,
}

/// What speaks against a region only if it lasts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspicion {
    /// Nothing is heard of it, and that may have other reasons.
    Unheard,
    /// None of its shards is ready.
    NoShardReady,
    /// It refuses a large share of events.
    Refusing,
    /// A large share of the attempts at this sink fails.
    SinkFails(String),
    /// This sink's breaker is not Serving.
    SinkParked(String),
}

/// The totals of one life of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardTotals {
    /// When they were taken in.
    pub at: Timestamp,
    /// Whose they are.
    pub incarnation: String,
    /// Events accepted.
    pub accepted: u64,
    /// Requests refused because of a limit.
    pub refused: u64,
    /// At each sink, in the order of the report.
    pub sinks: Vec<Attempts>,
}

/// What has happened in a region between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerLook {
    /// When that was found.
    pub at: Timestamp,
    /// Events accepted.
    pub accepted: u64,
    /// Requests refused because of a limit.
    pub refused: u64,
    /// At each sink at which something ended, by name.
    pub sinks: BTreeMap<String, Attempts>,
}

/// How attempts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Events delivered.
    pub delivered: u64,
    /// Attempts that failed, without those at which the sink asked for less.
    pub failed: u64,
}

impl Attempts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.delivered.saturating_add(self.failed)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let Self { delivered, failed } = other;
        Self { delivered: self.delivered.saturating_add(delivered), failed: self.failed.saturating_add(failed) }
    }
}
