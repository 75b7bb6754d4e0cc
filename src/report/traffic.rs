//! What is told of traffic across regions: shares, which the next decision remembers, and one condition. Pure.

use std::collections::BTreeMap;

use kube::runtime::events::{Event, EventType};
use signalbox_contract::BreakerPhase;

use super::breaker::several;
use super::conditions::Draft;
use super::events::event;
use crate::api::{EventDispatcherStatus, TrafficStatus};
use crate::fleet::{FleetIntent, FleetPlan, share_text};
use crate::manifests::Applied;

pub(super) const TRAFFIC_SHIFTED: &str = "TrafficShifted";
/// Nothing is shifted.
const BY_WEIGHT: &str = "ByWeight";

/// Regions that are all named in the column.
const NAMED: usize = 4;

/// The state of traffic: also what the next decision remembers. A version that was given out once is never forgotten, for
/// shards go by the highest that they were given.
pub(super) fn status(
    old: Option<&TrafficStatus>,
    intent: &FleetIntent,
    plan: &FleetPlan,
    applied: &Applied,
) -> Option<TrafficStatus> {
    let traffic = &plan.traffic;
    let version = traffic.table.as_ref().map_or(0, |table| i64::try_from(table.version).unwrap_or(i64::MAX));
    let shares = traffic.regions.iter().map(|(name, region)| (name.clone(), share_text(region.share_permille)));
    let status = TrafficStatus {
        version: version.max(old.map_or(0, |old| old.version)),
        digest: if traffic.digest == 0 { String::new() } else { format!("{:x}", traffic.digest) },
        shares: if several(plan) { shares.collect() } else { BTreeMap::new() },
        http_route: (intent.traffic.gateway.is_some() || applied.route_left).then(|| intent.name.clone()),
        message: traffic.shift.as_ref().map(|shift| shift.message.clone()).unwrap_or_default(),
    };
    (status != TrafficStatus::default()).then_some(status)
}

/// The shares in one line: of many regions, those that are not Serving, and the others together.
pub(super) fn summary(plan: &FleetPlan) -> String {
    if !several(plan) {
        return String::new();
    }
    let share = |name: &str| plan.traffic.regions.get(name).map(|region| region.share_permille);
    let shares: Vec<_> = plan
        .regions
        .iter()
        .filter_map(|region| {
            let breaker = region.breaker.as_ref()?;
            Some((region.name.as_str(), share(&region.name)?, breaker.memory.phase == BreakerPhase::Serving))
        })
        .collect();
    let text = |(name, share, _): &(&str, u32, bool)| format!("{name} {}", share_text(*share));
    if shares.len() <= NAMED {
        return shares.iter().map(text).collect::<Vec<_>>().join(", ");
    }
    let out: Vec<_> = shares.iter().filter(|(_, _, serving)| !serving).collect();
    let named = out.iter().take(NAMED - 1).copied();
    let left: u32 =
        shares.iter().map(|(_, share, _)| share).sum::<u32>() - named.clone().map(|(_, share, _)| share).sum::<u32>();
    let others = format!("{} others {}", shares.len() - named.len(), share_text(left));
    let all = if out.is_empty() { vec!["by weight".to_owned()] } else { named.map(text).chain([others]).collect() };
    all.join(", ")
}

/// The condition of a fleet of several regions.
pub(super) fn draft(plan: &FleetPlan) -> Option<Draft> {
    several(plan).then(|| match &plan.traffic.shift {
        Some(shift) => Draft {
            type_: TRAFFIC_SHIFTED,
            status: "True",
            reason: if shift.done { "Shifted" } else { "Shifting" }.to_owned(),
            message: shift.message.clone(),
        },
        None => Draft { type_: TRAFFIC_SHIFTED, status: "False", reason: BY_WEIGHT.to_owned(), message: String::new() },
    })
}

/// A shift that begins, is done, or is over.
pub(super) fn of_shift(old: &EventDispatcherStatus, new: &EventDispatcherStatus) -> Option<Event> {
    let of = |status: &EventDispatcherStatus| {
        let told = status.conditions.iter().find(|condition| condition.type_ == TRAFFIC_SHIFTED)?;
        Some((told.reason.clone(), told.message.clone()))
    };
    let (reason, message) = of(new)?;
    let before = of(old).map_or_else(|| BY_WEIGHT.to_owned(), |(reason, _)| reason);
    let note = if message.is_empty() { "traffic is as the weights of the spec say again".to_owned() } else { message };
    (before != reason).then(|| event(EventType::Normal, &reason, note, &reason))
}
