//! The same for what is written of breakers and of traffic across regions.

use serde_json::{Value, json};

use super::Change;

/// A name, what is wrong, and the sentence that the API server answers.
pub(super) const RULES: &[(&str, Change, &str)] = &[
    (
        "a_failure_ratio_of_zero_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"failureRatio": 0}),
        "spec.breaker.failureRatio in body should be greater than or equal to 1",
    ),
    (
        "a_window_that_is_too_short_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"window": "4s"}),
        "window: write a duration from 5s to 5m; for example \"10s\"",
    ),
    (
        "a_minimum_of_no_attempts_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"minimumAttempts": 0}),
        "spec.breaker.minimumAttempts in body should be greater than or equal to 1",
    ),
    (
        "a_first_trip_of_no_time_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"baseTripTime": "0s"}),
        "baseTripTime: write a duration from 1s to 1h; for example \"30s\"",
    ),
    (
        "a_longest_trip_that_is_too_long_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"maxTripTime": "25h"}),
        "maxTripTime: write a duration from 1s to 24h; for example \"10m\"",
    ),
    (
        "a_first_trip_beyond_the_longest_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"baseTripTime": "2m", "maxTripTime": "1m"}),
        "breaker: baseTripTime must not be longer than maxTripTime",
    ),
    (
        "a_ramp_that_does_not_grow_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"rampPercents": [25, 5, 100]}),
        "rampPercents: write 1 to 16 percentages that grow and end with 100",
    ),
    (
        "a_ramp_that_stands_still_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"rampPercents": [5, 5, 100]}),
        "rampPercents: write 1 to 16 percentages that grow and end with 100",
    ),
    (
        "a_ramp_that_does_not_end_with_all_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"rampPercents": [5, 50]}),
        "rampPercents: write 1 to 16 percentages that grow and end with 100",
    ),
    (
        "a_ramp_without_steps_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"rampPercents": []}),
        "spec.breaker.rampPercents in body should have at least 1 items",
    ),
    (
        "a_ramp_beyond_all_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"rampPercents": [100, 101]}),
        "spec.breaker.rampPercents[1] in body should be less than or equal to 100",
    ),
    (
        "an_end_of_all_regions_that_does_not_exist_is_refused",
        |fleet| fleet["spec"]["breaker"] = json!({"whenAllUnhealthy": "Panic"}),
        "spec.breaker.whenAllUnhealthy: Unsupported value: \"Panic\": supported values: \"HoldWeights\", \"Shed\"",
    ),
    (
        "a_way_of_traffic_that_does_not_exist_is_refused",
        |fleet| fleet["spec"]["traffic"] = json!({"mode": "Dns"}),
        "spec.traffic.mode: Unsupported value: \"Dns\": supported values: \"EndpointSlice\", \"Gateway\"",
    ),
    (
        "mode_gateway_without_a_gateway_is_refused",
        |fleet| fleet["spec"]["traffic"] = json!({"mode": "Gateway"}),
        "traffic: with mode Gateway write gateway.parentRefs, the Gateways that producers use",
    ),
    (
        "a_gateway_without_its_mode_is_refused",
        |fleet| fleet["spec"]["traffic"] = json!({"gateway": {"parentRefs": [{"name": "public"}]}}),
        "traffic: gateway is for mode Gateway only; write mode: Gateway, or leave gateway out",
    ),
    (
        "a_route_to_no_gateway_is_refused",
        |fleet| fleet["spec"]["traffic"] = json!({"mode": "Gateway", "gateway": {"parentRefs": []}}),
        "spec.traffic.gateway.parentRefs in body should have at least 1 items",
    ),
    (
        "a_gateway_that_could_not_exist_is_refused",
        |fleet| fleet["spec"]["traffic"] = gateway(&json!({"name": "Public!"})),
        "name: use 1 to 253 lower-case letters, digits, '-' or '.', not starting or ending with '-' or '.'; for example \"public\"",
    ),
    (
        "a_gateway_in_a_namespace_that_could_not_exist_is_refused",
        |fleet| fleet["spec"]["traffic"] = gateway(&json!({"name": "public", "namespace": "a.b"})),
        "namespace: use 1 to 63 lower-case letters, digits or '-'",
    ),
    (
        "a_listener_that_could_not_exist_is_refused",
        |fleet| fleet["spec"]["traffic"] = gateway(&json!({"name": "public", "sectionName": "-https"})),
        "sectionName: use 1 to 253 lower-case letters, digits, '-' or '.'",
    ),
    (
        "a_host_with_a_port_is_refused",
        |fleet| {
            fleet["spec"]["traffic"] = gateway(&json!({"name": "public"}));
            fleet["spec"]["traffic"]["gateway"]["hostnames"] = json!(["orders.example.com:443"]);
        },
        "hostnames: write host names in lower case without scheme and port",
    ),
    (
        "mode_gateway_with_more_regions_than_a_route_has_is_refused",
        |fleet| {
            fleet["spec"]["traffic"] = gateway(&json!({"name": "public"}));
            fleet["spec"]["regions"] = (0..17).map(|number| json!({"name": format!("r{number}")})).collect();
        },
        "traffic: with mode Gateway have at most 16 regions",
    ),
];

/// Each at a bound that it may still have.
pub(super) fn with_every_field(fleet: &mut Value) {
    fleet["spec"]["breaker"] = json!({
        "failureRatio": 100, "window": "5m", "minimumAttempts": 1_000_000, "baseTripTime": "1h", "maxTripTime": "24h",
        "rampPercents": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 100], "whenAllUnhealthy": "Shed",
    });
    let parent = json!({"name": "public.edge", "namespace": "gateways", "sectionName": "https.1"});
    fleet["spec"]["traffic"] = gateway(&parent);
    fleet["spec"]["traffic"]["gateway"]["hostnames"] = json!(["*.example.com", "localhost"]);
}

/// Traffic that comes through this Gateway.
fn gateway(parent: &Value) -> Value {
    json!({"mode": "Gateway", "gateway": {"parentRefs": [parent]}})
}
