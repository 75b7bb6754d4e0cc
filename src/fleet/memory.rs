//! What earlier decisions must be remembered, parsed from the status: a new leader goes on where the last one was.
//!
//! Whatever is not there, or makes no sense, is taken for forgotten. Forgetting is always the careful way: a size is
//! kept, a window begins anew, a capacity is learned again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::breaker::{BreakerMemory, TripCause};
use super::drill::DrillMemory;
use super::routing::Routing;
use super::traffic::TrafficMemory;
use super::units::parse_share;
use crate::api::{BreakerStatus, EventDispatcherStatus, ScalingStatus, TrafficStatus};

/// Of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetMemory {
    /// By region.
    pub regions: BTreeMap<String, RegionMemory>,
    /// The routing of those that have one, by region.
    pub routing: BTreeMap<String, Routing>,
    /// The breakers of regions, by region.
    pub breakers: BTreeMap<String, BreakerMemory>,
    /// Of traffic across regions.
    pub traffic: TrafficMemory,
    /// Whether there may be an `HTTPRoute`.
    pub route: bool,
    /// The latest drill.
    pub drill: Option<DrillMemory>,
}

/// Of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionMemory {
    /// Shards that were wanted last. `None`: nothing was decided yet.
    pub wanted: Option<u32>,
    /// What one shard can settle. `None`: not seen yet.
    pub capacity: Option<Capacity>,
    /// Sizes below `wanted` that were called for lately, the largest and oldest first; at most [`WINDOW_ENTRIES`].
    pub window: Vec<Called>,
    /// The latest growth, while it is not known what it brought.
    pub trial: Option<Trial>,
    /// Growth that was of no use.
    pub hold: Option<Hold>,
}

/// Most sizes that a window remembers. More are joined, keeping the larger size and the later time.
pub const WINDOW_ENTRIES: usize = 8;

/// What one shard can settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Events a second, to two digits, at least 1.
    pub per_second: u64,
    /// How often it was seen, up to [`Capacity::MOST_SAMPLES`]. 0: inferred from how busy processors are.
    pub samples: u32,
    /// When it was last seen, to ten minutes once it was seen often enough.
    pub seen_at: Timestamp,
}

/// A size that was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// Shards.
    pub shards: u32,
    /// When it was last called for; `None`: it is now. May be a little later than it was, never earlier.
    pub until: Option<Timestamp>,
}

/// A growth of which it is not known yet what it brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// When it was decided.
    pub at: Timestamp,
    /// Shards before.
    pub from: u32,
    /// Shards after: more.
    pub to: u32,
    /// Events a second that the region settled before.
    pub settled: u64,
    /// How often the size grew since then, at least 1.
    pub steps: u32,
}

/// Growth that was of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// When growth may be tried again.
    pub until: Timestamp,
    /// How often in a row it was of no use, at least 1.
    pub times: u32,
}

impl Capacity {
    /// More are not counted: the status is to come to rest.
    pub const MOST_SAMPLES: u32 = 8;
}

impl FleetMemory {
    /// What the status says.
    pub fn of(status: Option<&EventDispatcherStatus>) -> Self {
        let regions = || status.into_iter().flat_map(|status| &status.regions);
        Self {
            regions: regions()
                .filter_map(|region| Some((region.name.clone(), of_region(region.scaling.as_ref()?))))
                .collect(),
            routing: regions()
                .filter_map(|region| Some((region.name.clone(), Routing::of_status(region.routing.as_ref()?)?)))
                .collect(),
            breakers: regions()
                .filter_map(|region| Some((region.name.clone(), of_breaker(region.breaker.as_ref()?)?)))
                .collect(),
            traffic: status.and_then(|status| status.traffic.as_ref()).map(of_traffic).unwrap_or_default(),
            route: status.and_then(|status| status.traffic.as_ref()?.http_route.as_ref()).is_some(),
            drill: status.and_then(|status| DrillMemory::of_status(status.drill.as_ref()?)),
        }
    }
}

fn of_region(scaling: &ScalingStatus) -> RegionMemory {
    let count = |number: i32| u32::try_from(number).ok().filter(|count| (1..=1000).contains(count));
    let rate = |number: i64| u64::try_from(number).ok().filter(|rate| *rate > 0);
    let capacity = scaling.capacity.as_ref().and_then(|capacity| {
        Some(Capacity {
            per_second: rate(capacity.events_per_second)?,
            samples: u32::try_from(capacity.samples).ok()?.min(Capacity::MOST_SAMPLES),
            seen_at: capacity.seen_at.0,
        })
    });
    let called = |entry: &crate::api::WindowStatus| {
        Some(Called { shards: count(entry.shards)?, until: entry.until.as_ref().map(|until| until.0) })
    };
    // One entry that makes no sense, and the rest says nothing: the window begins anew.
    let window: Option<Vec<_>> = scaling.window.iter().take(WINDOW_ENTRIES).map(called).collect();
    let trial = scaling.trial.as_ref().and_then(|trial| {
        let (from, to) = (count(trial.from)?, count(trial.to)?);
        let settled = u64::try_from(trial.settled_per_second).ok()?;
        let steps = count(trial.steps)?;
        Some(Trial { at: trial.at.0, from, to, settled, steps }).filter(|_| from < to)
    });
    let hold = scaling.hold.as_ref().and_then(|hold| Some(Hold { until: hold.until.0, times: count(hold.times)? }));
    RegionMemory { wanted: count(scaling.wanted), capacity, window: window.unwrap_or_default(), trial, hold }
}

/// A breaker of which one part makes no sense says nothing: it begins anew, Serving.
fn of_breaker(breaker: &BreakerStatus) -> Option<BreakerMemory> {
    let phases = [BreakerPhase::Serving, BreakerPhase::Tripped, BreakerPhase::Probing];
    let phase = phases.into_iter().find(|phase| phase_word(*phase) == breaker.phase)?;
    let small = |number: i32| u32::try_from(number).ok().filter(|number| *number <= 16);
    let cause = match &breaker.cause {
        Some(word) => Some(TripCause::of(word)?),
        None => None,
    };
    let until = breaker.until.as_ref().map(|until| until.0);
    let memory = BreakerMemory {
        phase,
        since: breaker.since.0,
        until,
        step: small(breaker.step)?,
        trips: small(breaker.trips)?,
        cause,
    };
    // Without a time it would be Tripped for ever, and without a cause nobody could say why.
    let whole = phase != BreakerPhase::Tripped || (until.is_some() && cause.is_some());
    whole.then_some(memory)
}

/// The phase in the words of the status.
pub fn phase_word(phase: BreakerPhase) -> &'static str {
    match phase {
        BreakerPhase::Serving => "Serving",
        BreakerPhase::Tripped => "Tripped",
        BreakerPhase::Probing => "Probing",
    }
}

/// A digest that cannot be read is none: the next table gets a version of its own.
fn of_traffic(traffic: &TrafficStatus) -> TrafficMemory {
    let share = |(name, text): (&String, &String)| Some((name.clone(), parse_share(text)?));
    let shares: Option<_> = traffic.shares.iter().map(share).collect();
    TrafficMemory {
        version: u64::try_from(traffic.version).unwrap_or(0),
        digest: u64::from_str_radix(&traffic.digest, 16).unwrap_or(0),
        shares: shares.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_makes_no_sense_is_forgotten_and_not_acted_on() {
        let text = r#"{"wanted": -3, "min": 1, "max": 8, "reason": "", "message": "",
            "capacity": {"eventsPerSecond": -1, "samples": 3, "confidence": "", "seenAt": "2026-03-01T12:00:00Z"},
            "window": [{"shards": 0}, {"shards": 3}],
            "trial": {"at": "2026-03-01T12:00:00Z", "from": 5, "to": 2, "settledPerSecond": 7, "steps": 1},
            "hold": {"until": "2026-03-01T12:00:00Z", "times": 0}}"#;
        assert_eq!(of_region(&serde_json::from_str(text).unwrap()), RegionMemory::default());
    }

    #[test]
    fn a_breaker_that_makes_no_sense_is_forgotten() {
        let well =
            r#"{"phase": "Probing", "since": "2026-03-01T12:00:00Z", "step": 3, "trips": 2, "cause": "Refusing"}"#;
        let of = |text: &str| of_breaker(&serde_json::from_str(text).unwrap());
        let memory = of(well).unwrap();
        assert_eq!((memory.phase, memory.step, memory.trips), (BreakerPhase::Probing, 3, 2));
        assert_eq!(memory.cause, Some(TripCause::Refusing));
        let wrong = [
            ("\"Probing\"", "\"Open\""),
            ("\"step\": 3", "\"step\": -1"),
            ("\"trips\": 2", "\"trips\": 17"),
            ("Refusing", "Bored"),
            ("Probing", "Tripped"),
        ];
        for (what, instead) in wrong {
            assert_eq!(of(&well.replacen(what, instead, 1)), None, "{instead}");
        }
    }

    #[test]
    fn what_is_said_of_traffic_and_makes_no_sense_is_forgotten() {
        let of = |text: &str| of_traffic(&serde_json::from_str(text).unwrap());
        let read = of(r#"{"version": 7, "digest": "00ff", "shares": {"eu": "2.5%", "us": "97.5%"}}"#);
        let shares = [("eu".to_owned(), 25), ("us".to_owned(), 975)].into();
        assert_eq!(read, TrafficMemory { version: 7, digest: 255, shares });
        let garbage = of(r#"{"version": -7, "digest": "xyz", "shares": {"eu": "2.5%", "us": "all"}}"#);
        assert_eq!(garbage, TrafficMemory::default());
    }

    #[test]
    fn a_fleet_without_a_status_remembers_nothing() {
        assert_eq!(FleetMemory::of(None), FleetMemory::default());
    }
}
