//! A fleet under test: its YAML, and what can be seen of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams};
use signalbox::api::{BreakerStatus, EventDispatcher, EventDispatcherStatus};

use crate::{Scene, Sinks, eventually};

/// What a fleet's YAML is made from.
#[derive(Clone, Debug)]
pub struct FleetSpec {
    /// `metadata.name`.
    pub name: String,
    /// Its sinks.
    pub sinks: Vec<SinkSpec>,
    /// Regions: name, weight, shards.
    pub regions: Vec<(String, u32, u32)>,
    /// Further fields of the spec, as JSON by name.
    pub more: Vec<(String, serde_json::Value)>,
}

/// One sink of a fleet.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Its name.
    pub name: String,
    /// Its URI.
    pub uri: String,
    /// Further fields, as JSON by name.
    pub more: Vec<(String, serde_json::Value)>,
}

impl SinkSpec {
    /// A sink with defaults for all else.
    pub fn new(name: &str, uri: String) -> Self {
        Self { name: name.to_owned(), uri, more: Vec::new() }
    }

    /// The same with one field more.
    #[must_use]
    pub fn with(mut self, field: &str, value: serde_json::Value) -> Self {
        self.more.push((field.to_owned(), value));
        self
    }

    fn json(&self) -> serde_json::Value {
        let mut json = serde_json::json!(
            {"name": self.name, "uri": self.uri, "timeout": "1s", "retry": {"maxBackoff": "2s"}});
        for (field, value) in &self.more {
            json[field] = value.clone();
        }
        json
    }
}

impl FleetSpec {
    /// A fleet with `shards` shards in each region of equal weight, and one sink.
    pub fn new(name: &str, regions: &[String], shards: u32, sinks: &Sinks) -> Self {
        Self {
            name: name.to_owned(),
            sinks: vec![SinkSpec::new("fulfilment", sinks.uri())],
            regions: regions.iter().map(|region| (region.clone(), 1, shards)).collect(),
            more: Vec::new(),
        }
    }

    /// The manifest.
    pub fn yaml(&self) -> Result<String> {
        let sinks: Vec<_> = self.sinks.iter().map(SinkSpec::json).collect();
        let regions: Vec<_> = self
            .regions
            .iter()
            .map(
                |(name, weight, shards)| serde_json::json!({"name": name, "weight": weight, "shards": {"min": shards}}),
            )
            .collect();
        let mut spec = serde_json::json!({"sinks": sinks, "regions": regions, "queue": {"storage": "1Gi"}});
        for (field, value) in &self.more {
            spec[field] = value.clone();
        }
        Ok(serde_yaml::to_string(&serde_json::json!({
            "apiVersion": "signalbox.dev/v1alpha1",
            "kind": "EventDispatcher",
            "metadata": {"name": self.name},
            "spec": spec,
        }))?)
    }
}

/// A fleet in the cluster.
#[derive(Clone)]
pub struct Fleet {
    scene: Scene,
    /// `metadata.name`.
    pub name: String,
}

impl Fleet {
    /// Applies the manifest, for the first time or again.
    pub async fn apply(scene: &Scene, spec: &FleetSpec) -> Result<Self> {
        scene.apply(&spec.yaml()?).await?;
        Ok(Self { scene: scene.clone(), name: spec.name.clone() })
    }

    /// Waits until it is ready with the latest spec, and every shard has reported.
    pub async fn ready(&self) -> Result<EventDispatcherStatus> {
        self.status_where("the fleet is ready", Duration::from_mins(2), |status| {
            let ready = condition(status, "Ready")?;
            ensure!(ready.status == "True", "{}: {}", ready.reason, ready.message);
            let reconciling = condition(status, "Reconciling")?;
            ensure!(reconciling.status == "False", "{}: {}", reconciling.reason, reconciling.message);
            // Its shards report a moment later than they are ready.
            ensure!(condition(status, "SinksHealthy")?.status != "Unknown", "no shard has reported");
            let told = status.summary.as_ref().context("there is no summary")?;
            ensure!(told.backlog.chars().all(|c| c != '?' && c != 'u'), "not every shard has reported: {told:?}");
            Ok(())
        })
        .await
    }

    /// Waits until it is ready, and all that can be told of it is told: what limits it is known only after half a minute.
    pub async fn known(&self) -> Result<()> {
        self.ready().await?;
        self.status_where("what limits the fleet is known", Duration::from_mins(2), |status| {
            condition(status, "BottleneckForecast")?;
            ensure!(status.bottleneck.is_some(), "nothing is said about a bottleneck");
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Its status as it is now, whichever spec it is about.
    pub async fn status(&self) -> Result<EventDispatcherStatus> {
        let fleet = self.scene.api::<EventDispatcher>().get(&self.name).await?;
        fleet.status.context("there is no status")
    }

    /// Waits until its status, about the latest spec, passes `check`.
    pub async fn status_where(
        &self,
        what: &str,
        limit: Duration,
        check: impl Fn(&EventDispatcherStatus) -> Result<()>,
    ) -> Result<EventDispatcherStatus> {
        eventually(what, limit, async || {
            let fleet = self.scene.api::<EventDispatcher>().get(&self.name).await?;
            let status = fleet.status.context("there is no status yet")?;
            ensure!(status.observed_generation == fleet.metadata.generation, "the status is about an earlier spec");
            check(&status)?;
            Ok(Some(status))
        })
        .await
    }

    /// Waits until a region's breaker is in this phase, and says how long that took.
    pub async fn breaker(&self, region: &str, phase: &str, limit: Duration) -> Result<Duration> {
        let begin = Instant::now();
        self.status_where(&format!("{region} is {phase}"), limit, |status| {
            let found = breaker(status, region)?;
            ensure!(found.phase == phase, "{}: {} {}", found.phase, found.reason, found.message);
            Ok(())
        })
        .await?;
        Ok(begin.elapsed())
    }

    /// Gives an order by annotation, such as `drain-eu-west`; `None` takes it back.
    pub async fn order(&self, name: &str, order: Option<&str>) -> Result<()> {
        let key = format!("signalbox.dev/{name}");
        let patch = serde_json::json!({"metadata": {"annotations": {key: order}}});
        let api = self.scene.api::<EventDispatcher>();
        api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Waits until a condition has this status and reason, with `words` in its message.
    pub async fn says(&self, type_: &str, status: &str, reason: &str, words: &[&str]) -> Result<String> {
        let what = format!("{type_} is {status}, because {reason}");
        let told = self
            .status_where(&what, Duration::from_secs(90), |told| {
                let found = condition(told, type_)?;
                let said = format!("{} {} {}: {}", found.type_, found.status, found.reason, found.message);
                ensure!(found.status == status && found.reason == reason, "{said}");
                for word in words {
                    ensure!(found.message.contains(word), "{word:?} is not in: {said}");
                }
                Ok(())
            })
            .await?;
        Ok(condition(&told, type_)?.message.clone())
    }

    /// Deletes it, as `kubectl delete` does.
    pub async fn delete(&self) -> Result<()> {
        let api = self.scene.api::<EventDispatcher>();
        api.delete(&self.name, &DeleteParams::foreground()).await?;
        eventually("the fleet is gone", Duration::from_mins(2), async || {
            Ok(api.get_opt(&self.name).await?.is_none().then_some(()))
        })
        .await
    }
}

/// What the status says of a region's breaker.
pub fn breaker<'a>(status: &'a EventDispatcherStatus, region: &str) -> Result<&'a BreakerStatus> {
    let found = status.regions.iter().find(|known| known.name == region).context("there is no such region")?;
    found.breaker.as_ref().with_context(|| format!("nothing is said of the breaker of {region}"))
}

/// The condition of this type.
pub fn condition<'a>(status: &'a EventDispatcherStatus, type_: &str) -> Result<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_).with_context(|| format!("there is no {type_}"))
}
