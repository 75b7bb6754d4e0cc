//! Bad manifests: each rule of the API refuses with a sentence that says what to write instead.

mod regions;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::theatre::{Act, Story};

type Change = fn(&mut Value);

/// A name, what is wrong, and the sentence that the API server answers.
const RULES: &[(&str, Change, &str)] = &[
    (
        "a_name_that_is_too_long_is_refused",
        |fleet| fleet["metadata"]["name"] = json!("a-name-of-more-than-thirty-characters"),
        "metadata.name: use 1 to 30 lower-case letters, digits or '-', starting with a letter",
    ),
    (
        "a_name_that_no_service_could_have_is_refused",
        |fleet| fleet["metadata"]["name"] = json!("1-orders"),
        "starting with a letter and not ending with '-'",
    ),
    (
        "weights_that_are_all_zero_are_refused",
        |fleet| fleet["spec"]["regions"][0]["weight"] = json!(0),
        "regions: give at least one region a weight above 0",
    ),
    (
        "a_fleet_without_sinks_is_refused",
        |fleet| fleet["spec"]["sinks"] = json!([]),
        "spec.sinks in body should have at least 1 items",
    ),
    (
        "a_fleet_without_regions_is_refused",
        |fleet| fleet["spec"]["regions"] = json!([]),
        "spec.regions in body should have at least 1 items",
    ),
    (
        "two_sinks_of_one_name_are_refused",
        |fleet| {
            let sink = fleet["spec"]["sinks"][0].clone();
            fleet["spec"]["sinks"] = json!([sink, sink]);
        },
        "spec.sinks[1]: Duplicate value: {\"name\":\"audit\"}",
    ),
    (
        "two_regions_of_one_name_are_refused",
        |fleet| {
            let region = fleet["spec"]["regions"][0].clone();
            fleet["spec"]["regions"] = json!([region, region]);
        },
        "spec.regions[1]: Duplicate value: {\"name\":\"eu-west\"}",
    ),
    (
        "a_sink_with_a_name_that_is_no_label_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["name"] = json!("Audit!"),
        "name: use 1 to 63 lower-case letters, digits or '-'",
    ),
    (
        "a_uri_without_a_scheme_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["uri"] = json!("audit.shop.svc:8080/events"),
        "uri: write an absolute http or https URI without user, password or fragment",
    ),
    (
        "a_uri_of_another_scheme_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["uri"] = json!("ftp://audit.shop.svc/events"),
        "uri: write an absolute http or https URI",
    ),
    (
        "a_uri_with_a_password_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["uri"] = json!("http://user:secret@audit.shop.svc/"),
        "uri: write an absolute http or https URI without user, password or fragment",
    ),
    (
        "a_timeout_that_is_no_duration_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["timeout"] = json!("soon"),
        "timeout: write a duration from 100ms to 10m; for example \"5s\"",
    ),
    (
        "a_timeout_that_is_too_long_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["timeout"] = json!("11m"),
        "timeout: write a duration from 100ms to 10m",
    ),
    (
        "a_concurrency_of_zero_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["maxConcurrency"] = json!(0),
        "spec.sinks[0].maxConcurrency in body should be greater than or equal to 1",
    ),
    (
        "an_initial_backoff_that_is_too_short_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["retry"] = json!({"initialBackoff": "1ms"}),
        "initialBackoff: write a duration from 10ms to 1h",
    ),
    (
        "a_longest_backoff_that_is_too_long_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["retry"] = json!({"maxBackoff": "2h"}),
        "maxBackoff: write a duration from 10ms to 1h",
    ),
    (
        "a_first_backoff_beyond_the_longest_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["retry"] = json!({"initialBackoff": "1m", "maxBackoff": "1s"}),
        "retry: initialBackoff must not be longer than maxBackoff",
    ),
    (
        "an_ordering_that_does_not_exist_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["ordering"] = json!("Fifo"),
        "spec.sinks[0].ordering: Unsupported value: \"Fifo\": supported values: \"PerKey\", \"None\"",
    ),
    (
        "a_filter_by_a_name_that_no_attribute_has_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["filter"] = json!({"ce-type": "com.shop."}),
        "filter: write the names of CloudEvents attributes, in lower-case letters and digits",
    ),
    (
        "a_filter_by_data_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["filter"] = json!({"data": "x"}),
        "and not data, which is looked at by sinks only",
    ),
    (
        "a_filter_by_an_empty_prefix_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["filter"] = json!({"type": ""}),
        "spec.sinks[0].filter.type in body should be at least 1 chars long",
    ),
    (
        "a_filter_by_a_control_character_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["filter"] = json!({"type": "com.shop.\n"}),
        "filter: write prefixes without control characters, which no attribute has",
    ),
    (
        "a_filter_by_a_prefix_that_is_too_long_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["filter"] = json!({"type": "x".repeat(257)}),
        "spec.sinks[0].filter.type: Too long: may not be more than 256",
    ),
    (
        "a_filter_by_too_many_attributes_is_refused",
        |fleet| {
            for number in 0..17 {
                fleet["spec"]["sinks"][0]["filter"][format!("attribute{number}")] = json!("x");
            }
        },
        "spec.sinks[0].filter: Too many: 17: must have at most 16 items",
    ),
    (
        "attempts_of_zero_are_refused",
        |fleet| fleet["spec"]["sinks"][0]["retry"] = json!({"maxAttempts": 0}),
        "spec.sinks[0].retry.maxAttempts in body should be greater than or equal to 1",
    ),
    (
        "a_signature_without_a_secret_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["signing"] = json!({"key": "secret"}),
        "spec.sinks[0].signing.secretName: Required value",
    ),
    (
        "a_signing_secret_that_could_not_exist_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["signing"] = json!({"secretName": "Audit!"}),
        "secretName: use 1 to 253 lower-case letters, digits, '-' or '.'",
    ),
    (
        "a_key_that_no_secret_could_have_is_refused",
        |fleet| fleet["spec"]["sinks"][0]["signing"] = json!({"secretName": "audit", "key": "../key"}),
        "key: use 1 to 253 letters, digits, '-', '_' or '.', not starting with '.'",
    ),
    (
        "a_certificate_that_could_not_exist_is_refused",
        |fleet| fleet["spec"]["tls"] = json!({"secretName": "-orders"}),
        "secretName: use 1 to 253 lower-case letters, digits, '-' or '.'",
    ),
    (
        "a_limit_of_no_events_is_refused",
        |fleet| fleet["spec"]["queue"] = json!({"limits": {"events": 0}}),
        "spec.queue.limits.events in body should be greater than or equal to 1",
    ),
    (
        "a_limit_of_no_age_is_refused",
        |fleet| fleet["spec"]["queue"] = json!({"limits": {"age": "0s"}}),
        "age: write a duration from 1s to 720h; for example \"1h\"",
    ),
    (
        "a_duplicate_window_that_is_too_long_is_refused",
        |fleet| fleet["spec"]["queue"] = json!({"duplicateWindow": "2h"}),
        "duplicateWindow: write a duration from 0s to 1h; for example \"2m\"",
    ),
    (
        "a_storage_that_is_too_small_is_refused",
        |fleet| fleet["spec"]["queue"] = json!({"storage": "512Mi"}),
        "storage: write a quantity from 1Gi to 64Ti; for example \"1Gi\"",
    ),
    (
        "a_storage_that_is_no_quantity_is_refused",
        |fleet| fleet["spec"]["queue"] = json!({"storage": "plenty"}),
        "storage: write a quantity from 1Gi to 64Ti",
    ),
    (
        "an_empty_storage_class_is_refused",
        |fleet| fleet["spec"]["queue"] = json!({"storageClassName": ""}),
        "spec.queue.storageClassName in body should be at least 1 chars long",
    ),
    (
        "a_region_called_any_is_refused",
        |fleet| fleet["spec"]["regions"][0]["name"] = json!("any"),
        "and not \"any\", which names the fallback Service",
    ),
    (
        "a_region_with_a_name_that_is_no_label_is_refused",
        |fleet| fleet["spec"]["regions"][0]["name"] = json!("EU West"),
        "name: use 1 to 20 lower-case letters, digits or '-'",
    ),
    (
        "a_negative_weight_is_refused",
        |fleet| fleet["spec"]["regions"][0]["weight"] = json!(-1),
        "spec.regions[0].weight in body should be greater than or equal to 0",
    ),
    (
        "a_region_without_shards_is_refused",
        |fleet| fleet["spec"]["regions"][0]["shards"] = json!({"min": 0}),
        "spec.regions[0].shards.min in body should be greater than or equal to 1",
    ),
    (
        "a_maximum_below_the_minimum_is_refused",
        |fleet| fleet["spec"]["regions"][0]["shards"] = json!({"min": 3, "max": 2}),
        "shards: max must not be below min; raise max, or leave it out to run min shards always",
    ),
    (
        "a_maximum_of_too_many_shards_is_refused",
        |fleet| fleet["spec"]["regions"][0]["shards"] = json!({"min": 1, "max": 65}),
        "spec.regions[0].shards.max in body should be less than or equal to 64",
    ),
    (
        "a_maximum_where_the_number_is_fixed_is_refused",
        |fleet| {
            fleet["spec"]["autoscaling"] = json!({"mode": "Fixed"});
            fleet["spec"]["regions"][0]["shards"] = json!({"min": 1, "max": 2});
        },
        "autoscaling: with mode Fixed every region runs shards.min shards; leave shards.max out, or use mode Internal",
    ),
    (
        "a_maximum_where_somebody_else_decides_is_refused",
        |fleet| {
            fleet["spec"]["autoscaling"] = json!({"mode": "External"});
            fleet["spec"]["regions"][0]["shards"] = json!({"min": 1, "max": 2});
        },
        "autoscaling: with mode External leave shards.max out, and write it as maxReplicas in the HorizontalPodAutoscaler",
    ),
    (
        "a_mode_that_does_not_exist_is_refused",
        |fleet| fleet["spec"]["autoscaling"] = json!({"mode": "Auto"}),
        "spec.autoscaling.mode: Unsupported value: \"Auto\": supported values: \"Internal\", \"External\", \"Fixed\"",
    ),
    (
        "a_drain_time_that_is_too_short_is_refused",
        |fleet| fleet["spec"]["autoscaling"] = json!({"targetDrainTime": "1s"}),
        "targetDrainTime: write a duration from 5s to 1h; for example \"60s\"",
    ),
    (
        "a_utilization_beyond_all_is_refused",
        |fleet| fleet["spec"]["autoscaling"] = json!({"targetUtilization": 101}),
        "spec.autoscaling.targetUtilization in body should be less than or equal to 100",
    ),
    (
        "a_stabilization_that_is_no_duration_is_refused",
        |fleet| fleet["spec"]["autoscaling"] = json!({"scaleDownStabilization": "a while"}),
        "scaleDownStabilization: write a duration from 0s to 24h; for example \"5m\"",
    ),
    (
        "a_node_label_that_is_too_long_is_refused",
        |fleet| fleet["spec"]["regions"][0]["nodeSelector"] = json!({"pool": "x".repeat(64)}),
        "nodeSelector: a label's value has at most 63 characters",
    ),
    (
        "an_empty_image_is_refused",
        |fleet| fleet["spec"]["image"] = json!(""),
        "spec.image in body should be at least 1 chars long",
    ),
    (
        "a_field_that_does_not_exist_is_refused",
        |fleet| fleet["spec"]["regoins"] = json!([]),
        "unknown field \"spec.regoins\"",
    ),
];

/// The same for changes of a fleet that exists.
const TRANSITIONS: &[(&str, Change, &str)] = &[
    (
        "a_change_of_storage_is_refused",
        |fleet| fleet["spec"]["queue"]["storage"] = json!("2Gi"),
        "queue.storage cannot be changed later; make a new EventDispatcher, move the producers, and delete this one",
    ),
    (
        "a_change_of_storage_class_is_refused",
        |fleet| fleet["spec"]["queue"]["storageClassName"] = json!("other"),
        "queue.storageClassName cannot be changed later",
    ),
    (
        "a_removal_of_the_storage_class_is_refused",
        |fleet| drop(fleet["spec"]["queue"].as_object_mut().map(|queue| queue.remove("storageClassName"))),
        "queue.storageClassName cannot be set or removed later",
    ),
];

pub(crate) fn stories() -> Vec<Story> {
    let refused = RULES.iter().chain(regions::RULES).map(|(name, change, sentence)| {
        Story::new(name, move |act| async move {
            expect_refusal(apply(&act, &changed(manifest(), *change)).await, sentence)
        })
    });
    let kept = TRANSITIONS.iter().map(|(name, change, sentence)| {
        Story::new(name, move |act| async move {
            let mut fleet = manifest();
            // Its shards run nowhere: this is about the manifest alone.
            fleet["spec"]["regions"][0]["nodeSelector"] = json!({"pool": "none"});
            fleet["spec"]["queue"] = json!({"storage": "1Gi", "storageClassName": "standard"});
            kubectl(&act, &["apply"], &fleet).await?;
            expect_refusal(apply(&act, &changed(fleet, *change)).await, sentence)
        })
    });
    let fine = Story::new("the_manifest_that_the_bad_ones_are_made_from_is_accepted", |act| async move {
        apply(&act, &manifest()).await.map(drop)
    });
    let full = Story::new("a_manifest_with_every_field_is_accepted", |act| async move {
        apply(&act, &changed(manifest(), with_every_field)).await.map(drop)
    });
    refused.chain(kept).chain([fine, full]).collect()
}

fn manifest() -> Value {
    json!({
        "apiVersion": "signalbox.dev/v1alpha1",
        "kind": "EventDispatcher",
        "metadata": {"name": "orders"},
        "spec": {
            "sinks": [{"name": "audit", "uri": "http://audit-{region}.shop.svc:8080/events"}],
            "regions": [{"name": "eu-west"}],
        },
    })
}

/// Each at a bound that it may still have.
fn with_every_field(fleet: &mut Value) {
    let filter: serde_json::Map<_, _> = (0..16).map(|n| (format!("attribute{n}"), json!("x".repeat(256)))).collect();
    let sink = &mut fleet["spec"]["sinks"][0];
    sink["ordering"] = json!("None");
    sink["filter"] = filter.into();
    sink["retry"] = json!({"maxAttempts": 1000});
    sink["signing"] = json!({"secretName": "audit.signing-1", "key": "_key.1"});
    fleet["spec"]["queue"] =
        json!({"limits": {"events": 1_000_000_000_000_i64, "age": "720h"}, "duplicateWindow": "0s"});
    fleet["spec"]["tls"] = json!({"secretName": "orders-tls"});
    fleet["spec"]["autoscaling"] = json!({
        "mode": "Internal", "targetDrainTime": "1h", "targetUtilization": 100, "scaleDownStabilization": "24h",
    });
    regions::with_every_field(fleet);
    fleet["spec"]["regions"][0]["shards"] = json!({"min": 64, "max": 64});
}

fn changed(mut fleet: Value, change: Change) -> Value {
    change(&mut fleet);
    fleet
}

/// As a user would, but for the dry run: it goes through all checks of the API server and stores nothing.
async fn apply(act: &Act, fleet: &Value) -> Result<String> {
    kubectl(act, &["apply", "--dry-run=server"], fleet).await
}

async fn kubectl(act: &Act, verb: &[&str], fleet: &Value) -> Result<String> {
    let arguments = [verb, &["--namespace", &act.scene.namespace, "--filename", "-"]].concat();
    act.cluster.kubectl_with_input(&arguments, &fleet.to_string()).await
}

fn expect_refusal(answer: Result<String>, sentence: &str) -> Result<()> {
    match answer {
        Ok(_) => bail!("it was accepted"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains(sentence), "{sentence:?} is not in: {said}");
            Ok(())
        }
    }
}
