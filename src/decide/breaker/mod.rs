//! Where the breaker of each region is. Pure and total.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use crate::fleet::{
    BreakerHistory, BreakerMemory, BreakerPlan, BreakerReason, FleetIntent, FleetMemory, FleetSnapshot, whole_second,
};

/// The breakers of a fleet, and what to know of this look with the next one.
pub(super) struct Breakers {
    /// Of each region of the spec, by name.
    pub(super) plans: BTreeMap<String, BreakerPlan>,
    /// By region.
    pub(super) history: BTreeMap<String, BreakerHistory>,
}

/// Decides about all regions of the spec together: how many may be taken out depends on how many are left.
pub(super) fn desired_phases(
    intent: &FleetIntent,
    snapshot: &FleetSnapshot,
    memory: &FleetMemory,
    now: Timestamp,
) -> Breakers {
    let plans = intent.regions.iter().map(|region| {
        let remembered = memory.breakers.get(&region.name).copied();
        let memory = remembered.unwrap_or_else(|| BreakerMemory::serving(whole_second(now)));
        let plan = BreakerPlan {
            memory: BreakerMemory { phase: BreakerPhase::Serving, ..memory },
            from: None,
            reachable: true,
            reason: BreakerReason::Healthy,
            message: String::new(),
            recheck_after: None,
        };
        (region.name.clone(), plan)
    });
    Breakers { plans: plans.collect(), history: snapshot.history.breakers.clone() }
}
