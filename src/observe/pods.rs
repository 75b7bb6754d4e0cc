//! What a pod says of itself, and why it does not start. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt as _;

use crate::fleet::{PodSnapshot, PodTrouble, TroubleKind, names};

/// Longest message taken over from Kubernetes, in characters: enough for a sentence, too little for a stack trace.
const MESSAGE_LENGTH: usize = 240;

/// A container that lived for less than this, in seconds, has crashed rather than ended.
const SHORT_LIFE_SECONDS: i64 = 60;

/// Restarts from which on a container that is waiting to be started again counts as crashing.
const CRASHES: i32 = 2;

/// What there is to know of a pod.
pub(super) fn pod(pod: &Pod) -> PodSnapshot {
    let status = pod.status.clone().unwrap_or_default();
    PodSnapshot {
        uid: pod.uid().unwrap_or_default(),
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        zone: pod.labels().get(names::ZONE_LABEL).cloned(),
        ready: condition(&status, "Ready").is_some_and(|(state, _)| state == "True"),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        mounting: mounting(&status),
        trouble: trouble(&status),
    }
}

/// Whether the kubelet has the pod and cannot start its containers yet. While a Secret is missing that is all that the
/// status says.
fn mounting(status: &PodStatus) -> bool {
    let is = |type_, expected| condition(status, type_).is_some_and(|(state, _)| state == expected);
    is("PodScheduled", "True") && is("PodReadyToStartContainers", "False")
}

fn trouble(status: &PodStatus) -> Option<PodTrouble> {
    if let Some(("False", message)) = condition(status, "PodScheduled") {
        let about_volume = ["storageclass", "persistentvolume", "volume"];
        let lower = message.to_ascii_lowercase();
        let kind = if about_volume.iter().any(|word| lower.contains(word)) {
            TroubleKind::VolumeUnavailable
        } else {
            TroubleKind::Unschedulable
        };
        return Some(PodTrouble { kind, message: shortened(message) });
    }
    status.container_statuses.iter().flatten().find_map(container_trouble)
}

fn container_trouble(container: &ContainerStatus) -> Option<PodTrouble> {
    let state = container.state.as_ref()?;
    if state.running.is_some() && !container.ready && keeps_crashing(container) {
        // It has just been started once more.
        return Some(PodTrouble { kind: TroubleKind::Crashing, message: shortened(&last_words(container)) });
    }
    let waiting = state.waiting.as_ref()?;
    let message = waiting.message.clone().unwrap_or_default();
    let reason = waiting.reason.as_deref()?;
    let trouble = |kind, message: &str| Some(PodTrouble { kind, message: shortened(message) });
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError" => {
            trouble(TroubleKind::ImageUnavailable, &format!("image {} cannot be had: {message}", container.image))
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            trouble(TroubleKind::ContainerRejected, &format!("{reason}: {message}"))
        }
        "CrashLoopBackOff" => trouble(TroubleKind::Crashing, &last_words(container)),
        _ if keeps_crashing(container) => trouble(TroubleKind::Crashing, &last_words(container)),
        _ => None,
    }
}

/// Whether the container ended again and again, the last time soon after its start.
fn keeps_crashing(container: &ContainerStatus) -> bool {
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let lived = ended.and_then(|ended| {
        let (started, finished) = (ended.started_at.as_ref()?, ended.finished_at.as_ref()?);
        Some(finished.0.duration_since(started.0).as_secs())
    });
    container.restart_count >= CRASHES && lived.is_some_and(|seconds| seconds < SHORT_LIFE_SECONDS)
}

fn last_words(container: &ContainerStatus) -> String {
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let code = ended.map_or(0, |ended| ended.exit_code);
    let said = ended.and_then(|ended| ended.message.as_deref()).unwrap_or_default();
    let last_line = said.trim().lines().next_back().map(plain).unwrap_or_default();
    let colon = if last_line.is_empty() { "" } else { ": " };
    format!("the container ended {} times, last with exit code {code}{colon}{last_line}", container.restart_count + 1)
}

/// The message of a line of a JSON log: its time would make each crash look like another.
fn plain(line: &str) -> String {
    let message = serde_json::from_str::<serde_json::Value>(line)
        .ok()
        .and_then(|line| line["message"].as_str().map(str::to_owned));
    message.unwrap_or_else(|| line.to_owned())
}

fn condition<'a>(status: &'a PodStatus, type_: &str) -> Option<(&'a str, &'a str)> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == type_)?;
    Some((&condition.status, condition.message.as_deref().unwrap_or_default()))
}

fn shortened(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE_LENGTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble_of(status: &serde_json::Value) -> Option<(TroubleKind, String)> {
        let pod_ = serde_json::from_value(serde_json::json!({"metadata": {"name": "orders-0"}, "status": status}));
        pod(&pod_.unwrap()).trouble.map(|trouble| (trouble.kind, trouble.message))
    }

    fn waiting(reason: &str, message: &str) -> serde_json::Value {
        serde_json::json!({"containerStatuses": [{
            "name": "dispatcher", "image": "none:1", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": {"exitCode": 2, "message": "starting\n{\"timestamp\":\"1\",\"message\":\"config: bad\"}\n",
                "startedAt": "2026-03-01T12:00:00Z", "finishedAt": "2026-03-01T12:00:01Z"}},
        }]})
    }

    #[test]
    fn a_pod_that_no_node_takes_is_unschedulable() {
        let status = serde_json::json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: 4 Insufficient cpu."}]});
        let (kind, message) = trouble_of(&status).unwrap();
        assert_eq!(kind, TroubleKind::Unschedulable);
        assert!(message.contains("Insufficient cpu"));
    }

    #[test]
    fn a_missing_storage_class_is_trouble_with_the_volume() {
        let status = serde_json::json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "storageclass.storage.k8s.io \"fast\" not found"}]});
        assert_eq!(trouble_of(&status).unwrap().0, TroubleKind::VolumeUnavailable);
    }

    #[test]
    fn an_image_that_cannot_be_had_is_named() {
        let (kind, message) = trouble_of(&waiting("ImagePullBackOff", "not found")).unwrap();
        assert_eq!((kind, message.as_str()), (TroubleKind::ImageUnavailable, "image none:1 cannot be had: not found"));
    }

    #[test]
    fn a_container_that_crashes_is_quoted() {
        let (kind, message) = trouble_of(&waiting("CrashLoopBackOff", "back-off 10s")).unwrap();
        assert_eq!(kind, TroubleKind::Crashing);
        assert_eq!(message, "the container ended 4 times, last with exit code 2: config: bad");
    }

    #[test]
    fn a_container_that_was_just_started_once_more_still_crashes() {
        let mut status = waiting("", "");
        status["containerStatuses"][0]["state"] = serde_json::json!({"running": {}});
        assert_eq!(trouble_of(&status).unwrap().0, TroubleKind::Crashing);
        status["containerStatuses"][0]["lastState"]["terminated"]["finishedAt"] = "2026-03-01T13:00:00Z".into();
        assert_eq!(trouble_of(&status), None);
    }

    #[test]
    fn a_pod_that_is_just_starting_is_in_no_trouble() {
        let mut status = waiting("ContainerCreating", "");
        status["containerStatuses"][0]["restartCount"] = 0.into();
        assert_eq!(trouble_of(&status), None);
    }

    #[test]
    fn a_pod_waits_for_its_volumes_from_when_it_has_a_node_until_its_containers_can_start() {
        let mounting = |scheduled: &str, startable: &str| {
            let conditions = serde_json::json!([
                {"type": "PodScheduled", "status": scheduled},
                {"type": "PodReadyToStartContainers", "status": startable}]);
            let pod_ = serde_json::json!({"metadata": {"name": "orders-0"}, "status": {"conditions": conditions}});
            pod(&serde_json::from_value(pod_).unwrap()).mounting
        };
        assert!(mounting("True", "False"));
        assert!(!mounting("True", "True"));
        assert!(!mounting("False", "False"));
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        assert_eq!(shortened(&"ü".repeat(300)).chars().count(), MESSAGE_LENGTH + 1);
    }
}
