//! The list of everything we own, and each object as it is sent.

use kube::ResourceExt;
use serde::Serialize;

use super::*;
use crate::decide::decide;
use crate::fixtures;

fn rendered() -> Manifests<Rendered> {
    let (intent, snapshot) = (fixtures::intent(), fixtures::settled());
    render(&intent, &decide(&intent, &snapshot, fixtures::now()))
}

fn names_of<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

fn yaml(objects: &[impl Serialize]) -> String {
    objects.iter().map(|object| serde_yaml::to_string(object).unwrap()).collect::<Vec<_>>().join("---\n")
}

#[test]
fn a_fleet_of_two_regions_owns_exactly_this() {
    let manifests = rendered();
    assert_eq!(names_of(&manifests.config_maps), ["orders-eu-west", "orders-us-east"]);
    assert_eq!(
        names_of(&manifests.services),
        ["orders", "orders-any", "orders-eu-west", "orders-eu-west-shards", "orders-us-east", "orders-us-east-shards",]
    );
    assert_eq!(names_of(&manifests.disruption_budgets), ["orders-eu-west", "orders-us-east"]);
    assert_eq!(names_of(&manifests.endpoint_slices), ["orders-eu-west-ipv4", "orders-us-east-ipv4"]);
    assert_eq!(names_of(&manifests.stateful_sets), ["orders-eu-west", "orders-us-east"]);
    let replicas: Vec<_> = manifests.replicas.iter().map(|set| (set.name.as_str(), set.replicas)).collect();
    assert_eq!(replicas, [("orders-eu-west", 2), ("orders-us-east", 2)]);
}

#[test]
fn the_objects_are_as_reviewed() {
    let manifests = rendered();
    insta::assert_snapshot!("config_map", yaml(&manifests.config_maps[..1]));
    insta::assert_snapshot!("services", yaml(&manifests.services[..4]));
    insta::assert_snapshot!("disruption_budget", yaml(&manifests.disruption_budgets[..1]));
    insta::assert_snapshot!("endpoint_slice", yaml(&manifests.endpoint_slices[..1]));
    insta::assert_snapshot!("stateful_set", yaml(&manifests.stateful_sets[..1]));
}

#[test]
fn nothing_that_is_sent_holds_a_null_or_a_status() {
    let manifests = rendered();
    let sent = [
        serde_json::to_value(&manifests.config_maps),
        serde_json::to_value(&manifests.services),
        serde_json::to_value(&manifests.disruption_budgets),
        serde_json::to_value(&manifests.endpoint_slices),
        serde_json::to_value(&manifests.stateful_sets),
    ];
    for objects in sent {
        let text = objects.unwrap().to_string();
        assert!(!text.contains(":null"), "{text}");
        assert!(!text.contains("\"status\""), "{text}");
    }
}

#[test]
fn the_stateful_set_leaves_replicas_to_their_own_field_manager() {
    for set in rendered().stateful_sets {
        assert_eq!(set.spec.unwrap().replicas, None);
    }
}

#[test]
fn only_what_shards_read_makes_their_pods_restart() {
    let (mut intent, snapshot) = (fixtures::intent(), fixtures::settled());
    let templates = |intent: &FleetIntent| {
        let manifests = render(intent, &decide(intent, &snapshot, fixtures::now()));
        manifests.stateful_sets.into_iter().map(|set| set.spec.unwrap().template).collect::<Vec<_>>()
    };
    let before = templates(&intent);
    intent.regions[0].weight = 7;
    intent.regions[0].shards = 5;
    assert_eq!(templates(&intent), before);
    intent.sinks[0].max_concurrency = 17;
    assert!(templates(&intent).iter().zip(&before).all(|(after, before)| after != before));
}

#[test]
fn a_region_that_is_leaving_keeps_its_slice_and_is_left_alone_otherwise() {
    let (mut intent, mut snapshot) = (fixtures::intent(), fixtures::settled());
    intent.regions.truncate(1);
    let shard = snapshot.regions.get_mut("us-east").unwrap().shards.get_mut(&0).unwrap();
    shard.report = fixtures::reading(1, std::time::Duration::ZERO);
    let manifests = render(&intent, &decide(&intent, &snapshot, fixtures::now()));
    assert_eq!(names_of(&manifests.stateful_sets), ["orders-eu-west"]);
    assert_eq!(names_of(&manifests.endpoint_slices), ["orders-eu-west-ipv4", "orders-us-east-ipv4"]);
    assert_eq!(manifests.untouched_regions.iter().collect::<Vec<_>>(), ["us-east"]);
}

#[test]
fn the_region_is_put_into_the_uris_of_its_sinks() {
    let intent = fixtures::intent();
    let uris: Vec<_> =
        intent.regions.iter().map(|region| config::shard_config(&intent, region).sinks[0].uri.clone()).collect();
    assert_eq!(
        uris,
        ["http://fulfilment-eu-west.shop.svc:8080/events", "http://fulfilment-us-east.shop.svc:8080/events"]
    );
}
