//! The two that are compared, and how each is measured.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use signalbox::api::EventDispatcherStatus;
use signalbox_cluster::Cluster;
use signalbox_e2e::{Fleet, FleetSpec, Load, LoadSpec, Scene, SinkSpec, Sinks, breaker, condition, eventually};

use crate::PLAIN;
use crate::faults::Trouble;
use crate::page::{Measured, Warning};

/// Requests at the sink at once, of each shard.
const CONCURRENCY: u32 = 32;
/// How long a producer waits for an answer that does not try again.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Nothing is told of any trouble for so long, and the fleet is at rest.
const QUIET: Duration = Duration::from_secs(5);
/// The longest wait for that: a region that was lost comes back in steps.
const LIMIT: Duration = Duration::from_mins(5);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    /// Events a second.
    pub(crate) rate: u64,
    /// For so long.
    pub(crate) seconds: u64,
    /// From this region.
    pub(crate) from: &'a str,
    /// How long a producer waits for an answer before it tries again, where a region is lost.
    pub(crate) patience: Duration,
}

impl Offered<'_> {
    fn load(self, service: &str, trouble: &Trouble) -> LoadSpec {
        let Self { rate, seconds, from, patience } = self;
        // A count of its own for each part, because the pod is called by it.
        let count = rate * seconds + u64::from(matches!(trouble, Trouble::Slower));
        let spec = LoadSpec::new(service, rate, count).from_region(from);
        let mut spec = match trouble {
            // Until they are accepted: nobody's wait is cut off.
            Trouble::LostRegion { .. } => LoadSpec { timeout: patience, ..spec.of_many() },
            Trouble::Moments { .. } | Trouble::Slower => spec.trying(TIMEOUT, 0),
        };
        spec.keys = 1_000;
        spec
    }
}

/// Who is measured.
pub(crate) struct Subject {
    scene: Scene,
    what: &'static str,
    /// The Service that events are sent to.
    service: &'static str,
    fleet: Option<Fleet>,
}

impl Subject {
    /// One plain dispatcher, in the region that is going to be lost: it has to be in one.
    pub(crate) async fn plain(scene: &Scene, stays: &str, lost: &str) -> Result<Self> {
        let sink = format!("http://sink-{stays}.{}.svc:8080/", scene.namespace);
        let workers = 4 * CONCURRENCY;
        scene
            .apply(&format!(
                "apiVersion: v1
kind: Service
metadata: {{name: plain}}
spec:
  selector: {{app: plain}}
  ports: [{{name: http, port: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: plain}}
spec:
  selector: {{matchLabels: {{app: plain}}}}
  template:
    metadata: {{labels: {{app: plain}}}}
    spec:
      nodeSelector: {{topology.kubernetes.io/region: {lost}}}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 1
      securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: plain
        image: {PLAIN}
        imagePullPolicy: Never
        args: [--sink, '{sink}', --workers, '{workers}']
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
        securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"
            ))
            .await?;
        eventually("the plain dispatcher is ready", Duration::from_mins(1), async || {
            let status = scene.api::<Deployment>().get("plain").await?.status;
            Ok(status.and_then(|status| status.ready_replicas).filter(|ready| *ready > 0))
        })
        .await?;
        Ok(Self { scene: scene.clone(), what: "plain", service: "plain", fleet: None })
    }

    /// A fleet with a shard in each of the two regions.
    pub(crate) async fn fleet(scene: &Scene, sinks: &Sinks, stays: &str, lost: &str) -> Result<Self> {
        let mut spec = FleetSpec::new("orders", &[stays.to_owned(), lost.to_owned()], 1, sinks);
        let uri = format!("http://sink-{stays}.{}.svc:8080/", scene.namespace);
        spec.sinks = vec![SinkSpec::new("sink", uri).with("maxConcurrency", json!(CONCURRENCY))];
        spec.more = vec![("breaker".to_owned(), json!({"baseTripTime": "5s", "maxTripTime": "30s"}))];
        let fleet = Fleet::apply(scene, &spec).await?;
        fleet.ready().await?;
        Ok(Self { scene: scene.clone(), what: "fleet", service: "orders", fleet: Some(fleet) })
    }

    pub(crate) fn what(&self) -> &'static str {
        self.what
    }

    /// Sends, while something goes wrong.
    pub(crate) async fn measure(
        &self,
        cluster: &Cluster,
        sinks: &Sinks,
        trouble: &Trouble,
        offered: Offered<'_>,
    ) -> Result<Measured> {
        self.at_rest().await?;
        let (spec, total) = (offered.load(self.service, trouble), Duration::from_secs(offered.seconds));
        let load = Load::start_with(&self.scene, &spec).await?;
        load.sends().await?;
        let begin = Instant::now();
        let playing = trouble.play(cluster, sinks, begin, total);
        let (played, warning) = tokio::join!(playing, self.first_warning(begin, total));
        played?;
        let sent = load.finish().await?;
        let lost = sent.sent - sent.accepted;
        // What was accepted has to arrive; what was not may have, if its answer was lost.
        eventually("what was accepted arrives", Duration::from_mins(3), async || {
            let receipts = sinks.receipts(&load.source, sent.sent).await?;
            ensure!(receipts.lost <= lost, "{} are missing, {lost} were not accepted", receipts.lost);
            Ok(Some(()))
        })
        .await
        .or_else(|error| if self.fleet.is_some() { Err(error) } else { Ok(()) })?;
        let receipts = sinks.receipts(&load.source, sent.sent).await?;
        Ok(Measured {
            what: self.what.to_owned(),
            trouble: trouble.what().to_owned(),
            sent: sent.sent,
            accepted: sent.accepted,
            arrived: receipts.unique,
            p50_ms: sent.latency_ms.p50,
            p99_ms: sent.latency_ms.p99,
            max_ms: sent.latency_ms.max,
            p99_by_second: sent.intervals.iter().map(|interval| interval.p99_ms).collect(),
            failed_by_second: sent.intervals.iter().map(|interval| interval.failed).collect(),
            warning,
        })
    }

    /// Waits until the trouble before is over: nothing is told of it, every region serves, and nothing waits; and stays so.
    async fn at_rest(&self) -> Result<()> {
        let Some(fleet) = &self.fleet else { return Ok(()) };
        let mut since = None;
        eventually("the fleet is at rest", LIMIT, async || {
            let begin = since.take().unwrap_or_else(Instant::now);
            let status = fleet.status().await?;
            let told = warning_of(&status)?;
            ensure!(told.is_none(), "{told:?}");
            for region in &status.regions {
                let phase = &breaker(&status, &region.name)?.phase;
                ensure!(phase == "Serving" && region.backlog == "0", "{region:?}");
            }
            since = Some(begin);
            Ok((begin.elapsed() >= QUIET).then_some(()))
        })
        .await
    }

    /// When the status first said that something limits the fleet or a region is not well.
    async fn first_warning(&self, begin: Instant, total: Duration) -> Option<Warning> {
        let fleet = self.fleet.as_ref()?;
        while begin.elapsed() < total {
            if let Ok(status) = fleet.status().await
                && let Ok(Some(said)) = warning_of(&status)
            {
                return Some(Warning { after_seconds: begin.elapsed().as_secs_f64(), said });
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        None
    }
}

fn warning_of(status: &EventDispatcherStatus) -> Result<Option<String>> {
    if let Some(found) = status.bottleneck.as_ref().filter(|found| !["Nothing", "Unknown"].contains(&&*found.kind)) {
        return Ok(Some(format!("bottleneck {}: {}", found.kind, found.message)));
    }
    for type_ in ["RegionsHealthy", "SinksHealthy"] {
        let found = condition(status, type_)?;
        if found.status == "False" {
            return Ok(Some(format!("{type_} is False, {}: {}", found.reason, found.message)));
        }
    }
    Ok(None)
}
