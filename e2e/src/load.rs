//! Events, sent from inside the cluster by `dispatcher load` in a pod.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use serde::Deserialize;

use crate::{Scene, eventually};

/// A pod that sends.
pub struct Load {
    scene: Scene,
    pod: String,
    limit: Duration,
    /// The `source` of the events.
    pub source: String,
}

/// What became of the events.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadResult {
    /// Events that were to be sent.
    pub sent: u64,
    /// Events answered 202.
    pub accepted: u64,
    /// Answers other than 202, by status.
    pub rejected: BTreeMap<String, u64>,
    /// Requests without an answer, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Requests beyond the first for the same event.
    pub retries: u64,
    /// From the first request to the last answer.
    pub elapsed_seconds: f64,
    /// From the moment an event was meant to be sent to its 202, in milliseconds.
    pub latency_ms: Latency,
}

/// Quantiles, in milliseconds.
#[derive(Clone, Debug, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// None was slower.
    pub max: f64,
}

impl Load {
    /// Starts to send `count` events, `rate` a second, to the Service `service`, or to one pod of it, which is then
    /// written `pod.service`.
    pub async fn start(scene: &Scene, service: &str, rate: u64, count: u64) -> Result<Self> {
        let pod = format!("load-{}-{count}", service.replace('.', "-"));
        let source = format!("/load/{}/{pod}", scene.namespace);
        let (image, namespace) = (&scene.stage.dispatcher_image, &scene.namespace);
        let _ = scene.api::<Pod>().delete(&pod, &DeleteParams::default().grace_period(0)).await;
        let manifest = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {pod}}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: load
    image: {image}
    imagePullPolicy: IfNotPresent
    args: [load, --target, 'http://{service}.{namespace}.svc:8080/', --rate, '{rate}', --count, '{count}',
      --source, {source}, --connections, '32', --reconnect-every, '20', --retry-until-accepted, 60s, --json]
    securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"
        );
        eventually("the load generator can be made", Duration::from_secs(30), async || {
            scene.apply(&manifest).await.map(Some)
        })
        .await?;
        let limit = Duration::from_mins(2) + Duration::from_secs(count / rate.max(1));
        Ok(Self { scene: scene.clone(), pod, limit, source })
    }

    /// Waits until it sends.
    pub async fn sends(&self) -> Result<()> {
        eventually("the load generator runs", Duration::from_secs(30), async || {
            Ok((self.phase().await? == "Running").then_some(()))
        })
        .await
    }

    /// Waits until it has ended, and tells what became of the events.
    pub async fn finish(&self) -> Result<LoadResult> {
        let phase = eventually("the load generator ends", self.limit, async || {
            Ok(Some(self.phase().await?).filter(|phase| phase == "Succeeded" || phase == "Failed"))
        })
        .await?;
        let log = self.scene.api::<Pod>().logs(&self.pod, &LogParams::default()).await?;
        let Some(json) = log.lines().rfind(|line| line.starts_with('{') && line.contains("\"sent\"")) else {
            bail!("the load generator {phase} and said: {log}");
        };
        serde_json::from_str(json).with_context(|| json.to_owned())
    }

    async fn phase(&self) -> Result<String> {
        let pod = self.scene.api::<Pod>().get(&self.pod).await?;
        Ok(pod.status.and_then(|status| status.phase).unwrap_or_default())
    }
}
