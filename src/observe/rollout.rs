//! What a StatefulSet says of itself. Pure.

use k8s_openapi::api::apps::v1::StatefulSet;

use crate::fleet::Rollout;

/// `None` if it has no spec.
pub(super) fn rollout(set: &StatefulSet) -> Option<Rollout> {
    let spec = set.spec.as_ref()?;
    let replicas = spec.replicas.unwrap_or(1);
    let Some(status) = &set.status else {
        return Some(Rollout { replicas: unsigned(replicas), complete: false, replaces: false, updated: 0 });
    };
    let up_to_date = status.observed_generation >= set.metadata.generation;
    let updated = if up_to_date { status.updated_replicas.unwrap_or(0) } else { 0 };
    Some(Rollout {
        replicas: unsigned(replicas),
        complete: up_to_date && status.replicas == replicas && updated == replicas,
        replaces: status.current_revision != status.update_revision,
        updated: unsigned(updated),
    })
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(generation: i64, observed: i64, replicas: i32, updated: i32) -> StatefulSet {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "orders-eu-west", "generation": generation},
            "spec": {"replicas": 2, "serviceName": "s", "selector": {}, "template": {}},
            "status": {"observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated},
        }))
        .unwrap()
    }

    #[test]
    fn it_is_complete_when_every_pod_runs_the_latest_spec() {
        assert_eq!(
            rollout(&set(3, 3, 2, 2)),
            Some(Rollout { replicas: 2, complete: true, replaces: false, updated: 2 })
        );
    }

    #[test]
    fn it_is_not_complete_while_pods_are_old_or_missing() {
        assert!(!rollout(&set(3, 3, 2, 1)).unwrap().complete);
        assert!(!rollout(&set(3, 3, 1, 1)).unwrap().complete);
    }

    #[test]
    fn a_status_about_an_earlier_spec_says_nothing() {
        assert_eq!(
            rollout(&set(3, 2, 2, 2)),
            Some(Rollout { replicas: 2, complete: false, replaces: false, updated: 0 })
        );
    }
}
