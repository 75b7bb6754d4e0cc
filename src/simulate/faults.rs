//! What goes wrong in a model: when, where, and how. Pure.
//!
//! | fault | shards run | report | events ports answer the operator | and other regions | producers get in | sinks |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | `CutOff` | yes | no | no | no | no | not reached |
//! | `SinkFails` | yes | yes | | yes | yes | the first one fails, so many percent |
//! | `NoShardStarts` | no | no | no | no | no | |
//! | `Unheard` | yes | no | no | yes | yes | well |

use std::ops::Range;

use super::random::Random;

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where; `None`: in all regions at once.
    pub region: Option<String>,
    /// What.
    pub kind: FaultKind,
    /// From and until which second.
    pub seconds: Range<u64>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nobody reaches the region, and it reaches nobody.
    CutOff,
    /// The first sink fails, for so many percent of the attempts: 1 to 100.
    SinkFails(u32),
    /// All shards end, and none starts.
    NoShardStarts,
    /// The operator hears nothing of it, and reaches none of its ports: it is the operator who is cut off.
    Unheard,
}

impl Fault {
    fn is(&self, region: &str, kind: FaultKind, now: u64) -> bool {
        let here = self.region.as_deref().is_none_or(|name| name == region);
        here && self.kind == kind && self.seconds.contains(&now)
    }
}

/// All that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults<'a>(pub(super) &'a [Fault]);

impl Faults<'_> {
    /// Since when this is so in a region, if it is.
    pub(super) fn since(self, region: &str, kind: FaultKind, now: u64) -> Option<u64> {
        self.0.iter().filter(|fault| fault.is(region, kind, now)).map(|fault| fault.seconds.start).min()
    }

    pub(super) fn is(self, region: &str, kind: FaultKind, now: u64) -> bool {
        self.since(region, kind, now).is_some()
    }

    /// Since when no other region reaches this one, if that is so.
    pub(super) fn away_since(self, region: &str, now: u64) -> Option<u64> {
        let since = [FaultKind::CutOff, FaultKind::NoShardStarts].map(|kind| self.since(region, kind, now));
        since.into_iter().flatten().min()
    }

    /// What percentage of the attempts at the first sink fails from a region.
    pub(super) fn fails(self, region: &str, now: u64) -> u32 {
        let percents = self.0.iter().filter_map(|fault| match fault.kind {
            FaultKind::SinkFails(percent) if fault.is(region, fault.kind, now) => Some(percent.min(100)),
            _ => None,
        });
        let cut_off = self.is(region, FaultKind::CutOff, now).then_some(100);
        percents.chain(cut_off).max().unwrap_or(0)
    }

    /// Whether the operator reaches the events ports of a region.
    pub(super) fn answers(self, region: &str, now: u64) -> bool {
        self.away_since(region, now).is_none() && !self.is(region, FaultKind::Unheard, now)
    }

    /// The second from which on nothing goes wrong any more.
    #[cfg(test)]
    pub(super) fn end(self) -> u64 {
        self.0.iter().map(|fault| fault.seconds.end).max().unwrap_or(0)
    }
}

/// A schedule of faults within so many seconds, the same for the same seed.
pub fn drawn(regions: &[String], within: Range<u64>, seed: u64) -> Vec<Fault> {
    let mut random = Random::new(seed ^ 0x6661_756c_7473);
    let mut below = move |most: u64| random.next() % most.max(1);
    let span = within.end.saturating_sub(within.start);
    (0..=below(5))
        .map(|_| {
            let everywhere = below(6) == 0;
            let at = usize::try_from(below(u64::try_from(regions.len()).unwrap_or(1))).unwrap_or(0);
            let region = regions.get(at).cloned().filter(|_| !everywhere);
            let kind = match below(6) {
                0 | 1 => FaultKind::CutOff,
                2 => FaultKind::SinkFails(100),
                3 => FaultKind::SinkFails(30 + u32::try_from(below(60)).unwrap_or(0)),
                4 => FaultKind::NoShardStarts,
                _ => FaultKind::Unheard,
            };
            let start = within.start + below(span);
            let lasts = if below(3) == 0 { 1 + below(6) } else { 1 + below(span / 2) };
            Fault { region, kind, seconds: start..(start + lasts).min(within.end) }
        })
        .collect()
}
