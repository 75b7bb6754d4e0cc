//! Why a size is what it is, in a sentence that does not change while nothing does. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::demand::Doubt;
use crate::fleet::{Hold, Limit, ScalingReason, names};

/// What a sentence is made from. Numbers that move all the time are not in it: they are metrics, and in decisions.
pub(super) struct Told<'a> {
    pub(super) fleet: &'a str,
    pub(super) region: &'a str,
    pub(super) to: u32,
    pub(super) max: u32,
    pub(super) reason: ScalingReason,
    pub(super) doubt: Option<&'a (u32, Doubt)>,
    pub(super) limit: Option<&'a Limit>,
    pub(super) hold: Option<Hold>,
    pub(super) paused: Option<Timestamp>,
    pub(super) stabilization: Duration,
}

pub(super) fn message(told: &Told<'_>) -> String {
    let shards = if told.to == 1 { "1 shard".to_owned() } else { format!("{} shards", told.to) };
    let text = match told.reason {
        ScalingReason::Fixed | ScalingReason::External => return String::new(),
        ScalingReason::SpecRange => format!("{shards}, as the range in the spec has it"),
        ScalingReason::Suits => format!("{shards} {} the load", if told.to == 1 { "suits" } else { "suit" }),
        ScalingReason::LoadHigher => format!("the load asks for {shards}"),
        ScalingReason::LoadLower => {
            format!("{shards} {} been enough for long", if told.to == 1 { "has" } else { "have" })
        }
        ScalingReason::Stabilizing => {
            let minutes = told.stabilization.as_secs();
            format!("{shards}; fewer would do, if that is still so {minutes} s after more were called for")
        }
        ScalingReason::AtMaximum => {
            format!("the load asks for more than {shards}, which is shards.max; raise it, or take load away")
        }
        ScalingReason::CapacityUnknown => {
            format!("{shards}; a backlog waits, and no shard has been seen to settle anything; see status.sinks")
        }
        ScalingReason::ReportsMissing => format!("{shards}; none goes while not all is known"),
        ScalingReason::LimitedElsewhere => format!("{shards}; more would not help: {}", told.limit.map_or("", culprit)),
        ScalingReason::Ineffective => {
            let until = told.hold.map(|hold| format!(" until {}", hold.until)).unwrap_or_default();
            format!("{shards}; the last ones added brought next to nothing, so none are added{until}")
        }
        ScalingReason::ShiftAhead => format!("{shards}, for traffic that is shifted here from other regions"),
        ScalingReason::Standby => format!("{shards}; the size waits for the region's traffic to come back"),
        ScalingReason::Paused => {
            let until = told.paused.map(|until| format!(" until {until}")).unwrap_or_default();
            format!("{shards}; sizes are not changed{until}, as somebody has asked")
        }
    };
    let max = told.to == told.max && matches!(told.reason, ScalingReason::LoadHigher | ScalingReason::ShiftAhead);
    let max = if max { ", which is shards.max" } else { "" };
    let doubt =
        told.doubt.map(|(ordinal, doubt)| format!("; Pod {} {doubt}", names::pod(told.fleet, told.region, *ordinal)));
    let sink = match (told.reason, told.limit.and_then(Limit::sink)) {
        (ScalingReason::LimitedElsewhere, Some(sink)) => format!(" of sink {sink}"),
        _ => String::new(),
    };
    format!("{text}{sink}{max}{}", doubt.unwrap_or_default())
}

fn culprit(limit: &Limit) -> &'static str {
    match limit {
        Limit::Sink(_) => "what limits the region is the rate",
        Limit::HotKey(_) => "what limits the region is one key",
        Limit::Skew => "one shard has more to do than the others",
        Limit::Cpu | Limit::Disk | Limit::ConcurrencyLimit(_) | Limit::Ingest | Limit::Nothing => "",
    }
}
