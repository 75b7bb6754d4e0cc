//! A HorizontalPodAutoscaler for a StatefulSet, and a controller for it that looks more often.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::json;
use signalbox_cluster::Cluster;
use signalbox_e2e::Scene;

use crate::adapter::{FLEET, METRIC};

/// How the autoscaler is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As Kubernetes has it, upwards.
    Default,
    /// No window and no policy that holds it back.
    Fastest,
}

/// Applies the autoscaler: 100 events of backlog for each shard.
pub(crate) async fn apply(scene: &Scene, stateful_set: &str, pace: Pace) -> Result<()> {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": stateful_set},
        "minReplicas": 1,
        "maxReplicas": 4,
        "metrics": [{"type": "External", "external": {
            "metric": {"name": METRIC, "selector": {"matchLabels": {FLEET: fleet_of(stateful_set)}}},
            "target": {"type": "AverageValue", "averageValue": "100"},
        }}],
    });
    // By default it would hold the size of a spike for five minutes, and so undo that the fleet is made small again.
    spec["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    if pace == Pace::Fastest {
        spec["behavior"]["scaleUp"] = json!({
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}],
        });
    }
    let object = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": stateful_set},
        "spec": spec,
    });
    scene.apply(&serde_yaml::to_string(&object)?).await
}

/// The fleet of a StatefulSet: all but the region, which here has no dash before its own name.
fn fleet_of(stateful_set: &str) -> &str {
    stateful_set.split('-').next().unwrap_or(stateful_set)
}

/// One more controller for HorizontalPodAutoscalers, which looks every second, beside the cluster's own.
pub(crate) struct Controller(Child);

impl Controller {
    /// Starts it. It ends when this is dropped.
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let program = cluster.program("kube-controller-manager")?;
        let kubeconfig = cluster.kubeconfig();
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(kubeconfig).args([
            "--controllers=horizontal-pod-autoscaler-controller",
            "--horizontal-pod-autoscaler-sync-period=1s",
            "--leader-elect=false",
            "--secure-port=0",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("cannot start kube-controller-manager")?))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
