//! Events, sent from inside the cluster by `dispatcher load` in a pod.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use serde::Deserialize;

use crate::{Scene, eventually};

/// What is to be sent, how, and from where.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// The Service that it is sent to, or one pod of it, which is then written `pod.service`.
    pub service: String,
    /// Events a second.
    pub rate: u64,
    /// Events in all.
    pub count: u64,
    /// Where the pod runs; anywhere if it is not said.
    pub region: Option<String>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// How often an event is sent again at most; for a minute if it is not said.
    pub retries: Option<u32>,
    /// Keys of the events.
    pub keys: u64,
    /// Connections, each with one request at a time.
    pub connections: u64,
    /// Requests of a connection, before another is made.
    pub reconnect_every: u64,
}

/// Sends a few events to the Service, whose producers try until they are accepted.
///
/// A node's kube-proxy may hear of a new Service later than the operator that has made it: the first who send may find nobody
/// there. After this it is about those who come later.
pub async fn known_everywhere(scene: &Scene, service: &str) -> Result<()> {
    let first = Load::start(scene, service, 50, 150).await?.finish().await?;
    ensure!(first.accepted == 150, "not every event was accepted: {first:?}");
    Ok(())
}

/// Sends so many events to each region's own Service, all of which are accepted.
///
/// To the fleet's Service, they may all go to one region: to the one that a node's kube-proxy has heard of.
pub async fn every_region_accepts(scene: &Scene, fleet: &str, regions: &[String], count: u64) -> Result<Vec<Load>> {
    let mut loads = Vec::new();
    for region in regions {
        loads.push(Load::start(scene, &format!("{fleet}-{region}"), 50, count).await?);
    }
    for load in &loads {
        let sent = load.finish().await?;
        ensure!(sent.accepted == count, "not every event was accepted: {sent:?}");
    }
    Ok(loads)
}

impl LoadSpec {
    /// A load whose producers do not give up for a minute.
    pub fn new(service: &str, rate: u64, count: u64) -> Self {
        let (service, timeout) = (service.to_owned(), Duration::from_secs(10));
        Self {
            service,
            rate,
            count,
            region: None,
            timeout,
            retries: None,
            keys: 100,
            connections: 32,
            reconnect_every: 20,
        }
    }

    /// The same, from this region.
    #[must_use]
    pub fn from_region(mut self, region: &str) -> Self {
        self.region = Some(region.to_owned());
        self
    }

    /// The same, of producers that wait so long for an answer and then try so often again.
    #[must_use]
    pub fn trying(mut self, timeout: Duration, retries: u32) -> Self {
        (self.timeout, self.retries) = (timeout, Some(retries));
        self
    }

    /// The same, over connections of which each takes two events, as many producers have them: so many that those which wait
    /// for a region that is gone hold up nobody else.
    #[must_use]
    pub fn of_many(mut self) -> Self {
        (self.connections, self.reconnect_every, self.keys) = (4 * self.rate, 2, 4 * self.rate);
        self
    }

    fn arguments(&self, namespace: &str, source: &str) -> Vec<String> {
        let target = format!("http://{}.{namespace}.svc:8080/", self.service);
        let (rate, count, keys) = (self.rate.to_string(), self.count.to_string(), self.keys.to_string());
        let (connections, reconnect) = (self.connections.to_string(), self.reconnect_every.to_string());
        let timeout = format!("{}ms", self.timeout.as_millis());
        let retries = self.retries.map(|retries| retries.to_string());
        let again = retries.as_ref().map_or(["--retry-until-accepted", "60s"], |retries| ["--retries", retries]);
        let args = ["load", "--json", "--target", &target, "--rate", &rate, "--count", &count, "--keys", &keys];
        let more =
            ["--source", source, "--connections", &connections, "--reconnect-every", &reconnect, "--timeout", &timeout];
        args.iter().chain(&more).chain(&again).map(|&arg| arg.to_owned()).collect()
    }
}

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
    /// Events that were never answered 202, however often they were sent.
    pub not_accepted: u64,
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
    /// The run as it went.
    #[serde(default)]
    pub intervals: Vec<Interval>,
}

impl LoadResult {
    /// Whether the fleet answered each request, well and at the first try. For stories that run side by side: that the name server
    /// took too long is not the fleet's doing, because they share it, and the machine.
    pub fn is_undisturbed(&self) -> bool {
        let lookups = self.errors.get("timeout in lookup").copied().unwrap_or(0);
        self.rejected.is_empty() && self.errors.values().sum::<u64>() == lookups && self.retries <= lookups
    }
}

/// A piece of a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// When it begins, in seconds since the first event.
    pub second: f64,
    /// Events a second that were meant to be sent.
    pub offered: f64,
    /// Events a second that were answered 202.
    pub accepted: f64,
    /// Requests that were answered otherwise, or not at all.
    pub failed: u64,
    /// Half of the events answered were faster, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
    /// None was slower.
    pub max_ms: f64,
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
        Self::start_with(scene, &LoadSpec::new(service, rate, count)).await
    }

    /// Starts to send.
    pub async fn start_with(scene: &Scene, spec: &LoadSpec) -> Result<Self> {
        let LoadSpec { service, rate, count, .. } = spec;
        let pod = format!("load-{}-{count}", service.replace('.', "-"));
        // Or its events would be taken for those of a pod of the same name before it, sent again.
        let source = format!("/load/{}/{pod}/{}", scene.namespace, jiff::Timestamp::now().as_millisecond());
        let image = &scene.stage.dispatcher_image;
        let args = serde_json::to_string(&spec.arguments(&scene.namespace, &source))?;
        let place = spec
            .region
            .as_ref()
            .map_or(String::new(), |region| format!("\n  nodeSelector: {{topology.kubernetes.io/region: {region}}}"));
        let _ = scene.api::<Pod>().delete(&pod, &DeleteParams::default().grace_period(0)).await;
        let manifest = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: {pod}}}
spec:
  restartPolicy: Never{place}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: load
    image: {image}
    imagePullPolicy: IfNotPresent
    args: {args}
    securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"
        );
        eventually("the load generator can be made", Duration::from_secs(30), async || {
            scene.apply(&manifest).await.map(Some)
        })
        .await?;
        let limit = Duration::from_mins(2) + Duration::from_secs(count / (*rate).max(1));
        Ok(Self { scene: scene.clone(), pod, limit, source })
    }

    /// The name of its pod.
    pub fn pod(&self) -> &str {
        &self.pod
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
