//! When regions are taken out of service, and how new events are led to those that are left, parsed.

use super::{SpecError, count, duration};
use crate::api;
use crate::fleet::breaker::{BreakerIntent, WhenAllUnhealthy};
use crate::fleet::traffic::{GatewayIntent, ParentIntent, TrafficIntent};

/// Most entries of a ramp.
const RAMP_ENTRIES: usize = 16;

pub(super) fn parse(breaker: &api::Breaker) -> Result<BreakerIntent, SpecError> {
    let base_trip_time = duration("breaker.baseTripTime", &breaker.base_trip_time)?;
    Ok(BreakerIntent {
        failure_ratio: percent("breaker.failureRatio", breaker.failure_ratio)?,
        window: duration("breaker.window", &breaker.window)?,
        minimum_attempts: count("breaker.minimumAttempts", breaker.minimum_attempts)?.into(),
        base_trip_time,
        max_trip_time: duration("breaker.maxTripTime", &breaker.max_trip_time)?.max(base_trip_time),
        ramp: ramp(&breaker.ramp_percents)?,
        when_all_unhealthy: match breaker.when_all_unhealthy {
            api::WhenAllUnhealthy::HoldWeights => WhenAllUnhealthy::HoldWeights,
            api::WhenAllUnhealthy::Shed => WhenAllUnhealthy::Shed,
        },
    })
}

fn ramp(percents: &[i32]) -> Result<Vec<u32>, SpecError> {
    let field = "breaker.rampPercents";
    let ramp: Vec<_> = percents.iter().map(|step| percent(field, *step)).collect::<Result<_, _>>()?;
    let grows = ramp.is_sorted_by(|before, after| before < after);
    if !grows || ramp.last() != Some(&100) || ramp.len() > RAMP_ENTRIES {
        return Err(SpecError::Unreadable {
            field: field.to_owned(),
            text: format!("{percents:?}"),
            instead: "write 1 to 16 percentages that grow and end with 100, such as [5, 10, 25, 50, 100]",
        });
    }
    Ok(ramp)
}

fn percent(field: &str, value: i32) -> Result<u32, SpecError> {
    u32::try_from(value).ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| SpecError::OutOfRange {
        field: field.to_owned(),
        value: value.into(),
        instead: "write a number from 1 to 100",
    })
}

/// Most Services that one rule of an `HTTPRoute` leads to.
const MOST_BACKENDS: usize = 16;

pub(super) fn parse_traffic(traffic: &api::Traffic, regions: usize) -> Result<TrafficIntent, SpecError> {
    let gateway = match traffic.mode {
        api::TrafficMode::EndpointSlice => None,
        api::TrafficMode::Gateway if regions > MOST_BACKENDS => {
            return Err(SpecError::OutOfRange {
                field: "regions".to_owned(),
                value: i64::try_from(regions).unwrap_or(i64::MAX),
                instead: "with traffic.mode Gateway write at most 16 regions",
            });
        }
        api::TrafficMode::Gateway => {
            let gateway = traffic.gateway.as_ref().filter(|gateway| !gateway.parent_refs.is_empty());
            Some(parse_gateway(gateway.ok_or(SpecError::Empty("traffic.gateway.parentRefs"))?))
        }
    };
    Ok(TrafficIntent { gateway })
}

fn parse_gateway(gateway: &api::Gateway) -> GatewayIntent {
    let parents = gateway.parent_refs.iter().map(|parent| ParentIntent {
        name: parent.name.clone(),
        namespace: parent.namespace.clone(),
        section: parent.section_name.clone(),
    });
    GatewayIntent { parents: parents.collect(), hostnames: gateway.hostnames.clone() }
}
