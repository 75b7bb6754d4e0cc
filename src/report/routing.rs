//! What is told of routing: each region's table, which the next decision remembers, one condition, and what was lost. Pure.

use kube::runtime::events::{Event, EventType};

use super::conditions::Draft;
use super::events::event;
use super::status::whole;
use crate::api::{EventDispatcherStatus, PeerStatus, RegionStatus, RoutingStatus};
use crate::fleet::{FleetPlan, RoutingPlan, round_to_two_digits};

pub(super) const ORDERING_AT_RISK: &str = "OrderingAtRisk";

/// The table of a region: also what the next decision remembers.
pub(super) fn state(plan: &RoutingPlan) -> RoutingStatus {
    let routing = &plan.routing;
    let slots = |slots: u32| i32::try_from(round_to_two_digits(slots.into())).unwrap_or(i32::MAX);
    RoutingStatus {
        epoch: i64::try_from(routing.epoch).unwrap_or(i64::MAX),
        shards: whole(routing.shards),
        peers: routing
            .peers
            .iter()
            .map(|(&ordinal, log)| PeerStatus {
                ordinal: whole(ordinal),
                log: format!("{log:x}"),
                events: routing.held.get(&ordinal).map(|events| i64::try_from(*events).unwrap_or(i64::MAX)),
            })
            .collect(),
        lost: routing.lost.iter().copied().map(whole).collect(),
        claiming: slots(plan.claiming),
        at_risk: slots(plan.at_risk),
        volumes_lost: whole(routing.volumes_lost),
    }
}

/// Whether the API server has the tables, breakers and traffic that it was given: under a CRD from before them it drops them,
/// and what is not remembered must not be given out.
pub(super) fn is_kept(sent: &EventDispatcherStatus, kept: Option<&EventDispatcherStatus>) -> bool {
    let region_kept = |name: &str| kept?.regions.iter().find(|region| region.name == name);
    let regions = sent.regions.iter().all(|region| {
        let kept = region_kept(&region.name);
        region.routing.as_ref() == kept.and_then(|kept| kept.routing.as_ref())
            && region.breaker.as_ref() == kept.and_then(|kept| kept.breaker.as_ref())
    });
    regions && sent.traffic.as_ref() == kept.and_then(|kept| kept.traffic.as_ref())
}

/// The condition of a fleet of which some region has a table.
pub(super) fn draft(plan: &FleetPlan) -> Option<Draft> {
    let mut routed = plan.regions.iter().filter_map(|region| Some((region, region.routing.as_ref()?))).peekable();
    routed.peek()?;
    let risk = routed.find_map(|(region, routing)| {
        let lost = !routing.routing.lost.is_empty();
        Some((if lost { "ShardLost" } else { "LateEvents" }, region, routing.risk.as_ref()?))
    });
    Some(match risk {
        Some((reason, region, risk)) => Draft {
            type_: ORDERING_AT_RISK,
            status: "True",
            reason: reason.to_owned(),
            message: format!("region {}: {risk}", region.name),
        },
        None => {
            Draft { type_: ORDERING_AT_RISK, status: "False", reason: "InOrder".to_owned(), message: String::new() }
        }
    })
}

/// A shard that came back without its volume.
pub(super) fn of_region(before: Option<&RegionStatus>, region: &RegionStatus) -> Option<Event> {
    let lost = |region: &RegionStatus| region.routing.as_ref().map_or(0, |routing| routing.volumes_lost);
    let (then, now) = (before.map_or(0, lost), lost(region));
    (now > then).then(|| {
        let volumes = if now - then == 1 { "a volume is".to_owned() } else { format!("{} volumes are", now - then) };
        let note = format!("region {}: {volumes} gone, and what was there and not delivered is lost", region.name);
        event(EventType::Warning, "VolumeLost", note, &format!("Route-{}", region.name))
    })
}
