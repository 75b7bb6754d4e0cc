//! What people ask for by annotation: each an order with an expiry, which ends by itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// What people ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManualIntent {
    /// Regions that are held in a phase, by name.
    pub holds: BTreeMap<String, RegionHold>,
    /// Until when no region's size changes.
    pub scaling_paused_until: Option<Timestamp>,
    /// Annotations that cannot be followed, each in a sentence that says what to write instead.
    pub problems: Vec<String>,
}

/// A region that is held in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionHold {
    /// Where.
    pub phase: HeldPhase,
    /// Until when. After that the breaker goes on by itself: a region that was Tripped comes back by the ramp.
    pub until: Timestamp,
    /// What for.
    pub purpose: HoldPurpose,
}

/// The phase that a region is held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldPhase {
    /// Whatever speaks against it.
    Serving,
    /// It gets nothing.
    Tripped,
    /// It gets this percentage of its weight: 1 to 100.
    Probing(u32),
}

/// Why a region is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPurpose {
    /// `signalbox.dev/hold-<region>`.
    Hold,
    /// `signalbox.dev/drain-<region>`: for maintenance.
    Drain,
    /// `signalbox.dev/drill-<region>`: to see how the fleet does without it.
    Drill,
}

impl ManualIntent {
    /// How this region is held at this moment, if it is.
    pub fn hold(&self, region: &str, now: Timestamp) -> Option<&RegionHold> {
        self.holds.get(region).filter(|hold| now < hold.until)
    }

    /// Until when sizes do not change, if that is so at this moment.
    pub fn pause(&self, now: Timestamp) -> Option<Timestamp> {
        self.scaling_paused_until.filter(|until| now < *until)
    }

    /// When the next of them ends.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.holds.values().map(|hold| hold.until).chain(self.scaling_paused_until);
        ends.filter(|until| now < *until).min()
    }
}
