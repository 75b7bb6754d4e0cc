//! What a timeline comes to, in a few numbers. Pure.

use serde::Serialize;

use super::run::Timeline;
use crate::fleet::{FleetIntent, ScalingMode};

/// A timeline in a few numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How long it lasted.
    pub seconds: u64,
    /// What to know before reading on.
    pub notes: Vec<String>,
    /// By region, in the order of the spec.
    pub regions: Vec<RegionSummary>,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionSummary {
    /// Its name.
    pub name: String,
    /// The fewest shards that were wanted.
    pub least_shards: u32,
    /// The most shards that were wanted.
    pub most_shards: u32,
    /// How often the size changed.
    pub changes: usize,
    /// How often it changed in the other direction than before.
    pub turns: usize,
    /// The largest backlog.
    pub most_backlog_events: u64,
    /// The backlog at the end.
    pub last_backlog_events: u64,
    /// The last reason.
    pub last_reason: &'static str,
}

/// Sums a timeline up.
pub fn summary(intent: &FleetIntent, timeline: &Timeline, seconds: u64) -> Summary {
    let regions = intent.regions.iter().map(|region| of_region(&region.name, timeline)).collect();
    let mut notes = Vec::new();
    match intent.scaling.mode {
        ScalingMode::External => notes.push(
            "autoscaling.mode is External: somebody else decides how many shards there are, so nothing scales here"
                .to_owned(),
        ),
        ScalingMode::Fixed => notes.push("autoscaling.mode is Fixed: nothing scales".to_owned()),
        ScalingMode::Internal => {
            let fixed = intent.regions.iter().filter(|region| region.shards.min == region.shards.max);
            notes.extend(fixed.map(|region| {
                format!("region {} has no shards.max above shards.min: its size does not change", region.name)
            }));
        }
    }
    Summary { seconds, notes, regions }
}

fn of_region(name: &str, timeline: &Timeline) -> RegionSummary {
    let samples = || timeline.samples.iter().filter(|sample| sample.region == name);
    let changes: Vec<_> = timeline.changes.iter().filter(|change| change.region == name).collect();
    let sizes = || samples().map(|sample| sample.wanted_shards).chain(changes.iter().map(|change| change.to));
    let up = |change: &super::run::Change| change.to > change.from;
    RegionSummary {
        name: name.to_owned(),
        least_shards: sizes().min().unwrap_or(0),
        most_shards: sizes().max().unwrap_or(0),
        changes: changes.len(),
        turns: changes.iter().zip(changes.iter().skip(1)).filter(|(a, b)| up(a) != up(b)).count(),
        most_backlog_events: samples().map(|sample| sample.backlog_events).max().unwrap_or(0),
        last_backlog_events: samples().next_back().map_or(0, |sample| sample.backlog_events),
        last_reason: samples().next_back().map_or("", |sample| sample.reason),
    }
}
