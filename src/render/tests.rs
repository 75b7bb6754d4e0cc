//! The list of everything we own, and each object as it is sent.

use kube::ResourceExt;
use serde::Serialize;

use super::*;
use crate::decide::decide;
use crate::fixtures;
use crate::fleet::FleetMemory;

fn rendered() -> Manifests<Rendered> {
    let (intent, snapshot) = (fixtures::intent(), fixtures::settled());
    render(&intent, &decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now()), &fixtures::keyring())
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
    assert_eq!(names_of(&manifests.secrets), ["orders-authority", "orders-keys"]);
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

fn rendered_equipped() -> Manifests<Rendered> {
    let intent = FleetIntent::parse(&fixtures::equipped(), &fixtures::shard_defaults()).unwrap();
    render(
        &intent,
        &decide(&intent, &fixtures::settled(), &FleetMemory::default(), fixtures::now()),
        &fixtures::keyring(),
    )
}

#[test]
fn a_fleet_with_everything_that_it_could_do_without_is_as_reviewed() {
    let manifests = rendered_equipped();
    insta::assert_snapshot!("config_map_with_everything", yaml(&manifests.config_maps[..1]));
    let pod = manifests.stateful_sets[0].spec.clone().unwrap().template.spec.unwrap();
    insta::assert_snapshot!("volumes_with_secrets", yaml(&[pod.volumes.unwrap()]));
    insta::assert_snapshot!("mounts_with_secrets", yaml(&[pod.containers[0].volume_mounts.clone().unwrap()]));
}

#[test]
fn what_shards_mount_holds_their_key_and_no_other() {
    let manifests = rendered();
    let [all, for_shards] = manifests.secrets.as_slice() else { panic!("{:?}", names_of(&manifests.secrets)) };
    let data = |secret: &k8s_openapi::api::core::v1::Secret| {
        let data = secret.data.clone().unwrap().into_iter();
        data.map(|(file, bytes)| (file, String::from_utf8(bytes.0).unwrap()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let expected = [
        ("ca.crt", "certificate of the new authority\ncertificate of the old authority\n"),
        ("tls.crt", "certificate of shards\n"),
        ("tls.key", "key of shards\n"),
    ];
    let expected = expected.map(|(file, text)| (file.to_owned(), text.to_owned()));
    assert_eq!(data(for_shards), expected.into());
    let kept: crate::fleet::Keyring = serde_json::from_str(&data(all)["keyring.json"]).unwrap();
    assert!(kept == fixtures::keyring());
    let pods = serde_json::to_string(&manifests.stateful_sets).unwrap();
    assert!(pods.contains("orders-keys") && !pods.contains("orders-authority"));
}

#[test]
fn new_keys_restart_nothing() {
    let (intent, snapshot) = (fixtures::intent(), fixtures::settled());
    let plan = decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now());
    let before = render(&intent, &plan, &fixtures::keyring());
    let after = render(&intent, &plan, &crate::fleet::Keyring { authorities: Vec::new(), ..fixtures::keyring() });
    assert_ne!(before.secrets, after.secrets);
    assert_eq!(before.stateful_sets, after.stateful_sets);
    assert_eq!(before.config_maps, after.config_maps);
}

#[test]
fn every_file_that_a_shard_is_told_of_is_mounted() {
    let intent = FleetIntent::parse(&fixtures::equipped(), &fixtures::shard_defaults()).unwrap();
    let config = config::shard_config(&intent, &intent.regions[0]);
    let volume = secrets::volume(&intent).projected.unwrap();
    let directory = secrets::mount().mount_path;
    let items = volume.sources.unwrap().into_iter().flat_map(|source| source.secret.unwrap().items.unwrap());
    let mut mounted: Vec<_> = items.map(|item| format!("{directory}/{}", item.path)).collect();
    let tls = config.tls.unwrap();
    let signing = config.sinks.into_iter().filter_map(|sink| sink.signing_secret_file);
    let control = config.control.unwrap();
    let control = [control.cert_file, control.key_file, control.ca_file];
    let mut told: Vec<_> = [tls.cert_file, tls.key_file].into_iter().chain(control).chain(signing).collect();
    mounted.sort();
    told.sort();
    assert_eq!(told, mounted);
}

#[test]
fn with_a_certificate_every_way_to_the_events_port_is_called_https() {
    for (manifests, protocol) in [(rendered(), "http"), (rendered_equipped(), "https")] {
        let services = manifests.services.iter().flat_map(|service| service.spec.clone().unwrap().ports.unwrap());
        let slices = manifests.endpoint_slices.iter().flat_map(|slice| slice.ports.clone().unwrap());
        let ports = services
            .map(|port| (port.name.unwrap(), port.app_protocol.unwrap()))
            .chain(slices.map(|port| (port.name.unwrap(), port.app_protocol.unwrap())));
        for (name, called) in ports {
            let expected = match name.as_str() {
                names::EVENTS_PORT_NAME => protocol,
                names::CONTROL_PORT_NAME => "https",
                _ => "http",
            };
            assert_eq!(called, expected, "{name}");
        }
    }
}

#[test]
fn the_address_of_a_shard_in_a_table_is_one_that_its_service_publishes_before_it_is_ready() {
    let manifests = rendered();
    let routing = crate::fleet::Routing { epoch: 1, shards: 1, peers: [(0, 7)].into(), ..Default::default() };
    let table = routing.table("orders", "eu-west", "shop");
    let (host, port) = table.peers[0].address.split_once(':').unwrap();
    let set = manifests.stateful_sets[0].spec.clone().unwrap();
    let service = manifests.services.iter().find(|service| Some(service.name_any()) == set.service_name).unwrap();
    assert_eq!(host, format!("orders-eu-west-0.{}.shop.svc", service.name_any()));
    let spec = service.spec.clone().unwrap();
    assert_eq!(spec.publish_not_ready_addresses, Some(true));
    assert!(spec.ports.unwrap().iter().any(|published| published.port.to_string() == port));
}

#[test]
fn backlog_dead_letters_and_the_stores_own_needs_fit_onto_the_volume() {
    let mut intent = fixtures::intent();
    for gibibytes in [1, 10, 1 << 16] {
        intent.queue.storage_bytes = gibibytes << 30;
        let config = config::shard_config(&intent, &intent.regions[0]);
        let store = config.backlog_limit_bytes + config.backlog_limit_bytes / 5 + (512 << 20);
        let taken = store + config.dead_letter_limit_bytes;
        let volume = intent.queue.storage_bytes;
        assert!(taken <= volume && volume - taken < volume / 100, "{gibibytes}: {taken} of {volume}");
    }
}

#[test]
fn nothing_that_is_sent_holds_a_null_or_a_status() {
    for manifests in [rendered(), rendered_equipped()] {
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
        let manifests =
            render(intent, &decide(intent, &snapshot, &FleetMemory::default(), fixtures::now()), &fixtures::keyring());
        manifests.stateful_sets.into_iter().map(|set| set.spec.unwrap().template).collect::<Vec<_>>()
    };
    let before = templates(&intent);
    intent.regions[0].weight = 7;
    intent.regions[0].shards = crate::fleet::ShardRange::always(5);
    assert_eq!(templates(&intent), before);
    intent.sinks[0].max_concurrency = 17;
    assert!(templates(&intent).iter().zip(&before).all(|(after, before)| after != before));
    // Another policy of whoever runs the operator is one for every shard.
    intent.sinks[0].max_concurrency = 16;
    assert_eq!(templates(&intent), before);
    intent.addresses.denied.clear();
    assert!(templates(&intent).iter().zip(&before).all(|(after, before)| after != before));
}

#[test]
fn a_region_that_is_leaving_keeps_its_slice_and_is_left_alone_otherwise() {
    let (mut intent, mut snapshot) = (fixtures::intent(), fixtures::settled());
    intent.regions.truncate(1);
    let shard = snapshot.regions.get_mut("us-east").unwrap().shards.get_mut(&0).unwrap();
    shard.report = fixtures::reading(1, std::time::Duration::ZERO);
    let manifests =
        render(&intent, &decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now()), &fixtures::keyring());
    assert_eq!(names_of(&manifests.stateful_sets), ["orders-eu-west"]);
    assert_eq!(names_of(&manifests.endpoint_slices), ["orders-eu-west-ipv4", "orders-us-east-ipv4"]);
    assert_eq!(manifests.untouched_regions.iter().collect::<Vec<_>>(), ["us-east"]);
}

#[test]
fn a_region_that_is_tripped_is_shown_as_serving_and_not_as_ready() {
    let mut intent = fixtures::intent();
    let hold = crate::fleet::RegionHold {
        phase: crate::fleet::HeldPhase::Tripped,
        until: fixtures::now() + std::time::Duration::from_mins(1),
        purpose: crate::fleet::HoldPurpose::Hold,
    };
    intent.manual.holds.insert("us-east".to_owned(), hold);
    let plan = decide(&intent, &fixtures::settled(), &FleetMemory::default(), fixtures::now());
    let slices = render(&intent, &plan, &fixtures::keyring()).endpoint_slices;
    let shown = |region: usize| {
        let conditions = slices[region].endpoints.iter().map(|endpoint| endpoint.conditions.as_ref().unwrap());
        conditions.map(|conditions| (conditions.ready, conditions.serving)).collect::<Vec<_>>()
    };
    assert_eq!(shown(0), [(Some(true), Some(true)); 2]);
    assert_eq!(shown(1), [(Some(false), Some(true)); 2]);
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

#[test]
fn where_somebody_else_decides_replicas_are_written_once() {
    let mut intent = fixtures::intent();
    intent.scaling.mode = crate::fleet::ScalingMode::External;
    let of = |snapshot: &crate::fleet::FleetSnapshot| {
        let plan = decide(&intent, snapshot, &FleetMemory::default(), fixtures::now());
        render(&intent, &plan, &fixtures::keyring()).replicas.iter().map(|set| set.replicas).collect::<Vec<_>>()
    };
    assert_eq!(of(&crate::fleet::FleetSnapshot::default()), [2, 2]);
    assert!(of(&fixtures::settled()).is_empty());
    let written = serde_json::to_value(&rendered().stateful_sets[0]).unwrap();
    assert!(written["spec"].get("replicas").is_none(), "{written}");
}

fn route(plan: impl FnOnce(&mut FleetPlan)) -> Route {
    let intent = FleetIntent::parse(&fixtures::behind_a_gateway(), &fixtures::shard_defaults()).unwrap();
    let mut decided = decide(&intent, &fixtures::settled(), &FleetMemory::default(), fixtures::now());
    plan(&mut decided);
    render(&intent, &decided, &fixtures::keyring()).route
}

fn share(plan: &mut FleetPlan, region: &str, share_permille: u32) {
    let share = crate::fleet::RegionTrafficPlan { share_permille, ..Default::default() };
    plan.traffic.regions.insert(region.to_owned(), share);
}

#[test]
fn a_route_leads_to_each_region_by_its_share() {
    let shifted = route(|plan| {
        share(plan, "eu-west", 0);
        share(plan, "us-east", 1000);
    });
    let Route::Wanted(shifted) = shifted else { panic!("{shifted:?}") };
    insta::assert_snapshot!("http_route", yaml(&[shifted]));
}

#[test]
fn a_route_never_leads_nowhere() {
    let Route::Wanted(nobody) = route(|plan| plan.traffic.regions.clear()) else { panic!("no route") };
    let weights: Vec<_> = nobody.spec.rules[0].backend_refs.iter().map(|backend| backend.weight).collect();
    assert_eq!(weights, [50, 50]);
}

#[test]
fn a_route_goes_when_the_mode_is_another_and_a_fleet_that_never_had_one_asks_for_none() {
    let (intent, snapshot) = (fixtures::intent(), fixtures::settled());
    let of = |memory: &FleetMemory| {
        render(&intent, &decide(&intent, &snapshot, memory, fixtures::now()), &fixtures::keyring()).route
    };
    assert!(matches!(of(&FleetMemory::default()), Route::None));
    let had = FleetMemory { route: true, ..FleetMemory::default() };
    assert!(matches!(of(&had), Route::Unwanted(name) if name == "orders"));
}
