//! Drills: a region is taken out of service on purpose, and how the others did without it is measured and remembered.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::DrillStatus;

/// The latest drill: the status says all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillMemory {
    /// The region that was taken out.
    pub region: String,
    /// Since when, to the second.
    pub started_at: Timestamp,
    /// When it was over. `None` while it lasts.
    pub ended_at: Option<Timestamp>,
    /// Requests that the other regions refused, to two digits.
    pub refused: u64,
    /// The most that arrived in any other region, in percent of what its shards can settle, to the next 5. `None`: not known.
    pub worst_utilisation: Option<u32>,
    /// How long the oldest event of the other regions has waited at most, in seconds, to two digits.
    pub longest_wait: u64,
    /// Whether the others have taken over all of its traffic.
    pub shifted: bool,
    /// What it came to.
    pub outcome: DrillOutcome,
    /// The same in a sentence.
    pub message: String,
}

/// What a drill came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrillOutcome {
    /// It is under way.
    Running,
    /// The others took over everything, refused nothing and kept up.
    Survived,
    /// They refused requests.
    Refused,
    /// They could not keep up, or had no room for all of it.
    Overloaded,
    /// It ended too soon to tell.
    Interrupted,
}

impl DrillOutcome {
    const ALL: [Self; 5] = [Self::Running, Self::Survived, Self::Refused, Self::Overloaded, Self::Interrupted];

    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Survived => "Survived",
            Self::Refused => "Refused",
            Self::Overloaded => "Overloaded",
            Self::Interrupted => "Interrupted",
        }
    }
}

impl DrillMemory {
    /// What the status says. `None` if that makes no sense.
    pub(super) fn of_status(drill: &DrillStatus) -> Option<Self> {
        let outcome = DrillOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == drill.outcome)?;
        let ended_at = drill.ended_at.as_ref().map(|at| at.0);
        let memory = Self {
            region: drill.region.clone(),
            started_at: drill.started_at.0,
            ended_at,
            refused: u64::try_from(drill.refused).ok()?,
            worst_utilisation: drill.worst_utilisation.and_then(|percent| u32::try_from(percent).ok()),
            longest_wait: u64::try_from(drill.longest_wait_seconds).ok()?,
            shifted: drill.shifted,
            outcome,
            message: drill.message.clone(),
        };
        (ended_at.is_none() == (outcome == DrillOutcome::Running)).then_some(memory)
    }
}

/// What one process remembers of a drill that lasts, to count what is refused. Lost with the process: what was refused before
/// its next look is not counted then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrillHistory {
    /// What shards had refused when they were looked at last, by region and ordinal.
    pub shards: BTreeMap<(String, u32), ShardRefusals>,
    /// Requests refused since the drill began, exactly.
    pub refused: u64,
}

/// What one life of a shard had refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardRefusals {
    /// Which life.
    pub incarnation: String,
    /// Its total.
    pub total: u64,
}
