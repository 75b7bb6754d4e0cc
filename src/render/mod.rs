//! Builds every object of a fleet from its plan. Pure and infallible: whatever could fail was settled when the
//! spec was parsed.

mod config;
mod disruption_budget;
mod endpoint_slice;
mod http_route;
mod keys;
mod metadata;
mod secrets;
mod services;
mod stateful_set;

#[cfg(test)]
mod tests;

use crate::fleet::{FleetIntent, FleetPlan, Keyring, RegionIntent, RegionPlan, Standing, names};
use crate::manifests::{Manifests, Rendered, Replicas, Route};

/// Builds the fleet: the list of everything we own, in one place.
pub(crate) fn render(intent: &FleetIntent, plan: &FleetPlan, keyring: &Keyring) -> Manifests<Rendered> {
    let staying: Vec<(&RegionIntent, &RegionPlan)> =
        plan.regions.iter().filter_map(|region| Some((intent.region(&region.name)?, region))).collect();
    let mut services = vec![services::front(intent), services::any(intent)];
    for (region, _) in &staying {
        services.push(services::region(intent, region));
        services.push(services::shards(intent, region));
    }
    Manifests {
        namespace: intent.namespace.clone(),
        owner_name: intent.name.clone(),
        owner_uid: intent.uid.clone(),
        secrets: keys::secrets(intent, keyring),
        config_maps: staying.iter().map(|(region, _)| config::config_map(intent, region)).collect(),
        services,
        disruption_budgets: staying
            .iter()
            .map(|(region, _)| disruption_budget::disruption_budget(intent, region))
            .collect(),
        // Also of regions that are leaving: their shards stay visible, and unlisted.
        endpoint_slices: plan
            .regions
            .iter()
            .filter(|region| region.standing != Standing::Gone)
            .flat_map(|region| endpoint_slice::endpoint_slices(intent, region))
            .collect(),
        route: match http_route::http_route(intent, plan) {
            Some(route) => Route::Wanted(Box::new(route)),
            None if plan.had_route => Route::Unwanted(intent.name.clone()),
            None => Route::None,
        },
        stateful_sets: staying.iter().map(|(region, _)| stateful_set::stateful_set(intent, region)).collect(),
        replicas: staying
            .iter()
            .filter(|(_, plan)| plan.writes_replicas)
            .map(|(region, plan)| Replicas { name: names::region(&intent.name, &region.name), replicas: plan.replicas })
            .collect(),
        untouched_regions: plan
            .regions
            .iter()
            .filter(|region| region.standing == Standing::Leaving)
            .map(|region| region.name.clone())
            .collect(),
        stage: Rendered,
    }
}
