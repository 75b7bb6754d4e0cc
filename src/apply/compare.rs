//! Whether an object in the cluster is as we would send it. Pure.
//!
//! Two questions. Is it what we sent last time? The digest tells, also when a field was removed. Has somebody
//! changed it since? Every field that we send must be there with our value; what others added is theirs.

use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::fleet::names;

/// Fields that cannot be changed, and that the API server writes in a form of its own.
const IMMUTABLE: &[&str] = &["volumeClaimTemplates"];

/// Whether sending `rendered` would change nothing.
pub(super) fn is_as_rendered<K: Resource + Serialize>(live: &K, rendered: &K) -> bool {
    let digest = |object: &K| object.annotations().get(names::RENDERED_ANNOTATION).cloned();
    if digest(live) != digest(rendered) || live.meta().deletion_timestamp.is_some() {
        return false;
    }
    match (serde_json::to_value(live), serde_json::to_value(rendered)) {
        (Ok(live), Ok(rendered)) => covers(&live, &rendered),
        _ => false,
    }
}

/// Whether everything in `sent` is in `live` too.
fn covers(live: &Value, sent: &Value) -> bool {
    match (live, sent) {
        (Value::Object(live), Value::Object(sent)) => sent.iter().all(|(key, sent)| {
            IMMUTABLE.contains(&key.as_str()) || is_empty(sent) || live.get(key).is_some_and(|live| covers(live, sent))
        }),
        (Value::Array(live), Value::Array(sent)) => {
            live.len() == sent.len() && live.iter().zip(sent).all(|(live, sent)| covers(live, sent))
        }
        (live, sent) => live == sent,
    }
}

/// The API server leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let live = json!({"spec": {"ports": [{"port": 8080, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}});
        assert!(covers(&live, &json!({"spec": {"ports": [{"port": 8080}]}})));
    }

    #[test]
    fn a_changed_value_is_a_difference() {
        assert!(!covers(&json!({"spec": {"replicas": 3}}), &json!({"spec": {"replicas": 2}})));
    }

    #[test]
    fn a_removed_value_is_a_difference() {
        assert!(!covers(&json!({"spec": {}}), &json!({"spec": {"replicas": 2}})));
    }

    #[test]
    fn an_added_or_removed_list_item_is_a_difference() {
        assert!(!covers(&json!([1, 2]), &json!([1])));
        assert!(!covers(&json!([1]), &json!([1, 2])));
    }

    #[test]
    fn what_is_empty_may_be_left_out() {
        assert!(covers(&json!({}), &json!({"endpoints": [], "labels": {}})));
    }

    #[test]
    fn a_quantity_in_an_immutable_template_may_be_written_otherwise() {
        let live = json!({"volumeClaimTemplates": [{"storage": "1Gi"}]});
        assert!(covers(&live, &json!({"volumeClaimTemplates": [{"storage": "1024Mi"}]})));
    }
}
