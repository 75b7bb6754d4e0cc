//! How a region's size follows its load: what is wanted, what is decided, and from which numbers.

use std::time::Duration;

use super::memory::RegionMemory;

/// Who decides how many shards a region runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingMode {
    /// We do, by what the shards report.
    Internal,
    /// Whoever writes the StatefulSet's scale: we never do, once it exists.
    External,
    /// The spec does.
    Fixed,
}

/// What the spec says about growing and shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingIntent {
    /// Who decides.
    pub mode: ScalingMode,
    /// In which time a backlog is to be delivered; above zero.
    pub target_drain: Duration,
    /// How much of its capacity a shard is to be given, in percent, 1 to 100.
    pub target_utilization: u32,
    /// For how long fewer shards must have been enough before any goes.
    pub stabilization: Duration,
}

/// How many shards a region may run: `1 <= min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRange {
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
}

impl ShardRange {
    /// Always so many.
    pub fn always(shards: u32) -> Self {
        Self { min: shards, max: shards }
    }
}

/// How many shards a region is to have by its load, and why. Shards beyond that drain before they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingDecision {
    /// Shards that were wanted before.
    pub from: u32,
    /// Shards that are wanted now.
    pub to: u32,
    /// Why.
    pub reason: ScalingReason,
    /// What kept it from being what the load asks for.
    pub bound: Option<Bound>,
    /// What it was made from.
    pub numbers: ScalingNumbers,
    /// The reason in a sentence, with its numbers.
    pub message: String,
    /// What the next decision must know.
    pub memory: RegionMemory,
    /// When to look again, if nothing is seen to change before.
    pub recheck_after: Duration,
}

/// Why a region's size is what it is. The same word is the reason in status, conditions, events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScalingReason {
    /// The spec allows one size only.
    Fixed,
    /// Somebody else decides.
    External,
    /// It is brought into the range of the spec, or begins there.
    SpecRange,
    /// It suits the load.
    Suits,
    /// The load asks for more, or has just now, and it is not known yet what that brings.
    LoadHigher,
    /// The load has asked for less for the whole of the stabilisation window.
    LoadLower,
    /// The load asks for less, and has not done so for long enough.
    Stabilizing,
    /// The load asks for more than `shards.max`.
    AtMaximum,
    /// There is a backlog, and no shard has been seen to settle anything.
    CapacityUnknown,
    /// Not every shard says what it has: none is taken away.
    ReportsMissing,
    /// What limits the region is not its shards.
    LimitedElsewhere,
    /// The shards that were added last brought next to nothing.
    Ineffective,
    /// It is made larger, or kept so, for traffic that is about to be shifted there from other regions.
    ShiftAhead,
    /// The region is not Serving: its size waits for its traffic to come back.
    Standby,
    /// Somebody has asked that sizes stay as they are.
    Paused,
}

/// What kept a size from being what the load asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// `shards.min`.
    Minimum,
    /// `shards.max`.
    Maximum,
    /// Twice the size, because a shard's capacity is hardly known.
    Doubling,
    /// The stabilisation window.
    Window,
    /// What was added just now is waited for.
    Settling,
    /// What is not known.
    Unknown,
    /// More shards would not help.
    Ineffective,
}

/// What a decision was made from. Events are per second, over all shards that report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScalingNumbers {
    /// Events that arrive, with those refused because of a limit of the shards, at most as many again.
    pub arrival: u64,
    /// Events that it is to be large enough for, where that is more than arrives: they are about to be shifted there.
    pub expected: Option<u64>,
    /// Events that are settled.
    pub settled: u64,
    /// Events that wait, without those for a sink that is sent nothing.
    pub backlog: u64,
    /// What one shard can settle, as far as it is known.
    pub capacity: Option<u64>,
    /// How often that was seen, up to 8; 0 if it was inferred.
    pub samples: u32,
    /// Shards that the load asks for, whatever the range.
    pub needed: Option<u32>,
    /// Shards whose report can be used.
    pub known: u32,
    /// Shards whose report is missing, old or absurd.
    pub unknown: u32,
}

impl ScalingReason {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "Fixed",
            Self::External => "External",
            Self::SpecRange => "SpecRange",
            Self::Suits => "Suits",
            Self::LoadHigher => "LoadHigher",
            Self::LoadLower => "LoadLower",
            Self::Stabilizing => "Stabilizing",
            Self::AtMaximum => "AtMaximum",
            Self::CapacityUnknown => "CapacityUnknown",
            Self::ReportsMissing => "ReportsMissing",
            Self::LimitedElsewhere => "LimitedElsewhere",
            Self::Ineffective => "Ineffective",
            Self::ShiftAhead => "ShiftAhead",
            Self::Standby => "Standby",
            Self::Paused => "Paused",
        }
    }
}

impl Bound {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimum => "Minimum",
            Self::Maximum => "Maximum",
            Self::Doubling => "Doubling",
            Self::Window => "Window",
            Self::Settling => "Settling",
            Self::Unknown => "Unknown",
            Self::Ineffective => "Ineffective",
        }
    }
}
