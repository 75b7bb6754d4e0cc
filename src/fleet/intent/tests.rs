//! One test per error: each a single change to a spec that parses.

use super::*;
use crate::api::Ordering;
use crate::fixtures;

fn error_after(change: impl FnOnce(&mut EventDispatcher)) -> String {
    let mut dispatcher = fixtures::dispatcher();
    change(&mut dispatcher);
    FleetIntent::parse(&dispatcher, &fixtures::shard_defaults()).unwrap_err().to_string()
}

#[test]
fn the_sample_parses_with_its_defaults_filled_in() {
    let intent = fixtures::intent();
    assert_eq!(intent.queue.storage_bytes, 1 << 30);
    assert_eq!(intent.image, "signalbox.dev/dispatcher:test");
    assert_eq!(intent.sinks[0].timeout, Duration::from_secs(5));
    assert_eq!(intent.regions[0].node_selector["topology.kubernetes.io/region"], "eu-west");
}

#[test]
fn a_node_selector_replaces_the_region_label() {
    let mut dispatcher = fixtures::dispatcher();
    dispatcher.spec.regions[0].node_selector = BTreeMap::from([("pool".to_owned(), "fast".to_owned())]);
    let intent = FleetIntent::parse(&dispatcher, &fixtures::shard_defaults()).unwrap();
    assert_eq!(intent.regions[0].node_selector, BTreeMap::from([("pool".to_owned(), "fast".to_owned())]));
}

#[test]
fn a_duration_that_does_not_parse_is_named() {
    let error = error_after(|dispatcher| dispatcher.spec.sinks[0].timeout = "soon".to_owned());
    assert_eq!(error, r#"sinks[fulfilment].timeout: "soon" cannot be read; write a duration such as 5s"#);
}

#[test]
fn a_storage_that_does_not_parse_is_named() {
    let error = error_after(|dispatcher| dispatcher.spec.queue.storage = "plenty".to_owned());
    assert_eq!(error, r#"queue.storage: "plenty" cannot be read; write a quantity such as 1Gi"#);
}

#[test]
fn a_negative_weight_is_named() {
    let error = error_after(|dispatcher| dispatcher.spec.regions[0].weight = -1);
    assert_eq!(error, "regions[eu-west].weight: -1 is out of range; write a number from 0 to 1000");
}

#[test]
fn a_region_without_shards_is_named() {
    let error = error_after(|dispatcher| dispatcher.spec.regions[1].shards.min = 0);
    assert_eq!(error, "regions[us-east].shards.min: 0 is out of range; write a number above 0");
}

#[test]
fn what_is_left_out_of_a_sink_and_a_queue_changes_nothing() {
    let intent = fixtures::intent();
    let sink = &intent.sinks[0];
    assert_eq!((sink.ordering, sink.max_attempts, sink.filter.len()), (Ordering::PerKey, None, 0));
    assert_eq!((sink.signing.as_ref(), intent.tls_secret.as_ref()), (None, None));
    let queue = &intent.queue;
    assert_eq!((queue.limit_events, queue.limit_age, queue.duplicate_window), (None, None, Duration::from_mins(2)));
    assert!(intent.secrets().is_empty());
}

#[test]
fn the_secrets_of_a_fleet_are_named_once() {
    let mut dispatcher = fixtures::equipped();
    let signing = dispatcher.spec.sinks[1].signing.clone();
    dispatcher.spec.sinks[0].signing = signing;
    let intent = FleetIntent::parse(&dispatcher, &fixtures::shard_defaults()).unwrap();
    assert_eq!(intent.secrets().into_iter().collect::<Vec<_>>(), ["audit-signing", "orders-tls"]);
}

#[test]
fn a_duplicate_window_may_be_off_but_must_be_a_duration() {
    let mut dispatcher = fixtures::dispatcher();
    dispatcher.spec.queue.duplicate_window = "0s".to_owned();
    let intent = FleetIntent::parse(&dispatcher, &fixtures::shard_defaults()).unwrap();
    assert_eq!(intent.queue.duplicate_window, Duration::ZERO);
    let error = error_after(|dispatcher| dispatcher.spec.queue.duplicate_window = "a while".to_owned());
    assert_eq!(error, r#"queue.duplicateWindow: "a while" cannot be read; write a duration such as 5s"#);
}

#[test]
fn limits_of_zero_are_named() {
    let error = error_after(|dispatcher| dispatcher.spec.queue.limits.events = Some(0));
    assert_eq!(error, "queue.limits.events: 0 is out of range; write a number above 0");
    let error = error_after(|dispatcher| dispatcher.spec.queue.limits.age = Some("0s".to_owned()));
    assert_eq!(error, r#"queue.limits.age: "0s" cannot be read; write a duration such as 5s"#);
    let error = error_after(|dispatcher| dispatcher.spec.sinks[0].retry.max_attempts = Some(0));
    assert_eq!(error, "sinks[fulfilment].retry.maxAttempts: 0 is out of range; write a number above 0");
}

#[test]
fn two_sinks_of_one_name_are_refused() {
    let error = error_after(|dispatcher| dispatcher.spec.sinks.push(dispatcher.spec.sinks[0].clone()));
    assert_eq!(error, r#"sinks: the name "fulfilment" is used twice; give each entry a name of its own"#);
}

#[test]
fn a_fleet_without_regions_is_refused() {
    assert_eq!(error_after(|dispatcher| dispatcher.spec.regions.clear()), "regions: give at least one entry");
}

#[test]
fn weights_that_are_all_zero_are_refused() {
    let error = error_after(|dispatcher| dispatcher.spec.regions.iter_mut().for_each(|region| region.weight = 0));
    assert_eq!(error, "regions: give at least one region a weight above 0");
}

#[test]
fn a_region_without_a_maximum_keeps_its_size() {
    assert_eq!(fixtures::intent().regions[0].shards, ShardRange { min: 2, max: 2 });
    assert_eq!(fixtures::intent().scaling.target_drain, Duration::from_mins(1));
}

#[test]
fn what_the_autoscaler_cannot_go_by_is_named() {
    let error = error_after(|dispatcher| dispatcher.spec.regions[0].shards.max = Some(1));
    assert_eq!(error, "regions[eu-west].shards.max: 1 is out of range; write a number not below shards.min");
    let error = error_after(|dispatcher| dispatcher.spec.autoscaling.target_utilization = 0);
    assert_eq!(error, "autoscaling.targetUtilization: 0 is out of range; write a number from 10 to 100");
    let error = error_after(|dispatcher| dispatcher.spec.autoscaling.target_drain_time = "soon".to_owned());
    assert!(error.starts_with("autoscaling.targetDrainTime: \"soon\" cannot be read"), "{error}");
}

#[test]
fn a_spec_that_says_nothing_of_breakers_and_traffic_means_the_defaults() {
    let intent = fixtures::intent();
    assert_eq!(intent.breaker, BreakerIntent::default());
    assert_eq!((intent.traffic, intent.manual), (TrafficIntent::default(), ManualIntent::default()));
}

#[test]
fn a_breaker_is_read_as_it_is_written() {
    let mut dispatcher = fixtures::dispatcher();
    let text = "{failureRatio: 20, window: 30s, minimumAttempts: 7, baseTripTime: 1m, maxTripTime: 1h, \
                rampPercents: [50, 100], whenAllUnhealthy: Shed}";
    dispatcher.spec.breaker = serde_yaml::from_str(text).unwrap();
    let expected = BreakerIntent {
        failure_ratio: 20,
        window: Duration::from_secs(30),
        minimum_attempts: 7,
        base_trip_time: Duration::from_mins(1),
        max_trip_time: Duration::from_hours(1),
        ramp: vec![50, 100],
        when_all_unhealthy: crate::fleet::WhenAllUnhealthy::Shed,
    };
    assert_eq!(FleetIntent::parse(&dispatcher, &fixtures::shard_defaults()).unwrap().breaker, expected);
}

#[test]
fn what_a_breaker_cannot_go_by_is_named() {
    let error = error_after(|dispatcher| dispatcher.spec.breaker.failure_ratio = 0);
    assert_eq!(error, "breaker.failureRatio: 0 is out of range; write a number from 1 to 100");
    let error = error_after(|dispatcher| dispatcher.spec.breaker.window = "0s".to_owned());
    assert_eq!(error, r#"breaker.window: "0s" cannot be read; write a duration such as 5s"#);
    for ramp in [vec![], vec![5, 50], vec![50, 5, 100], vec![5, 5, 100], (84..=100).collect()] {
        let error = error_after(|dispatcher| dispatcher.spec.breaker.ramp_percents = ramp.clone());
        assert!(error.ends_with("percentages that grow and end with 100, such as [5, 10, 25, 50, 100]"), "{error}");
    }
}

#[test]
fn a_gateway_is_read_with_its_listener_and_hosts() {
    let intent = FleetIntent::parse(&fixtures::behind_a_gateway(), &fixtures::shard_defaults()).unwrap();
    let gateway = intent.traffic.gateway.unwrap();
    let parent = &gateway.parents[0];
    let names = (parent.name.as_str(), parent.namespace.as_deref(), parent.section.as_deref());
    assert_eq!(names, ("public", Some("gateways"), Some("https")));
    assert_eq!(gateway.hostnames, ["orders.example.com"]);
}

#[test]
fn mode_gateway_without_a_gateway_or_with_too_many_regions_is_named() {
    let error = error_after(|dispatcher| dispatcher.spec.traffic.mode = crate::api::TrafficMode::Gateway);
    assert_eq!(error, "traffic.gateway.parentRefs: give at least one entry");
    let mut dispatcher = fixtures::behind_a_gateway();
    let region = dispatcher.spec.regions[0].clone();
    dispatcher.spec.regions = (0..17).map(|n| Region { name: format!("r{n}"), ..region.clone() }).collect();
    let error = FleetIntent::parse(&dispatcher, &fixtures::shard_defaults()).unwrap_err().to_string();
    assert_eq!(error, "regions: 17 is out of range; with traffic.mode Gateway write at most 16 regions");
}

#[test]
fn a_slip_in_an_annotation_stops_no_fleet() {
    let mut dispatcher = fixtures::dispatcher();
    dispatcher.metadata.annotations = Some([("signalbox.dev/drain-eu-west".to_owned(), "yes".to_owned())].into());
    let manual = FleetIntent::parse(&dispatcher, &fixtures::shard_defaults()).unwrap().manual;
    assert_eq!((manual.holds.len(), manual.problems.len()), (0, 1));
}
