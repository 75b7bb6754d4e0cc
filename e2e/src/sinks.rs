//! Sinks that count: one per region, and what they have received, united.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{Scene, eventually};

/// The sinks of one name: a Deployment and a Service in each region.
#[derive(Clone)]
pub struct Sinks {
    scene: Scene,
    name: String,
    regions: Vec<String>,
    /// The Secret that they verify signatures with, under its key `secret`.
    signing: Option<String>,
}

/// What one sink has counted.
#[derive(Clone, Debug, Deserialize)]
pub struct Tally {
    /// Events answered 2xx.
    pub received: u64,
    /// Of those, different ones.
    pub unique: u64,
    /// Of those, ones it had before.
    pub duplicates: u64,
    /// Events that came after a later one of the same source and key.
    pub out_of_order: u64,
    /// Events failed or left hanging because the sink was told to, each as often as it was tried.
    #[serde(default)]
    pub failed_on_purpose: u64,
    /// How requests were signed, where the sink looks at that.
    #[serde(default)]
    pub signatures: Option<Signatures>,
}

/// How requests were signed.
#[derive(Clone, Debug, Deserialize)]
pub struct Signatures {
    /// With the secret of the sink.
    pub valid: u64,
    /// With another.
    pub invalid: u64,
    /// Not at all.
    pub missing: u64,
}

/// Which events of one source have arrived, at all sinks together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// How many different events arrived at some sink.
    pub unique: u64,
    /// How often an event arrived that had arrived before, at the same or at another sink.
    pub duplicates: u64,
    /// The first events that arrived nowhere, of those that were sent.
    pub missing: Vec<u64>,
    /// How many arrived nowhere.
    pub lost: u64,
}

impl Sinks {
    /// Starts a sink in each region, under the Services `<name>-<region>`, and waits until they are ready.
    pub async fn start(scene: &Scene, name: &str, regions: &[String]) -> Result<Self> {
        Self::start_all(scene, name, regions, None).await
    }

    /// The same, for sinks that take only what is signed with the key `secret` of the Secret `signing`.
    pub async fn start_verifying(scene: &Scene, name: &str, regions: &[String], signing: &str) -> Result<Self> {
        Self::start_all(scene, name, regions, Some(signing.to_owned())).await
    }

    async fn start_all(scene: &Scene, name: &str, regions: &[String], signing: Option<String>) -> Result<Self> {
        let sinks = Self { scene: scene.clone(), name: name.to_owned(), regions: regions.to_vec(), signing };
        for region in regions {
            scene.apply(&sinks.manifests(region)).await?;
        }
        eventually("the sinks are ready", Duration::from_mins(1), async || {
            for region in regions {
                sinks.tally(region).await?;
            }
            Ok(Some(()))
        })
        .await?;
        Ok(sinks)
    }

    /// What a fleet's spec calls these sinks.
    pub fn uri(&self) -> String {
        format!("http://{}-{{region}}.{}.svc:8080/", self.name, self.scene.namespace)
    }

    /// What the sink of one region has counted.
    pub async fn tally(&self, region: &str) -> Result<Tally> {
        let json = self.scene.get(&self.service(region), "http", "/summary").await?;
        serde_json::from_str(&json).with_context(|| json)
    }

    /// How long the events took that have arrived at the sink of one region, from when they were meant to be sent: so many
    /// microseconds, so many events, in growing order.
    pub async fn latencies(&self, region: &str) -> Result<Vec<(u64, u64)>> {
        let json = self.scene.get(&self.service(region), "http", "/latencies").await?;
        serde_json::from_str(&json).with_context(|| json)
    }

    /// Tells all sinks how to behave: an object as `PUT /behaviour` takes it; `{}` for well.
    pub async fn behave(&self, behaviour: &str) -> Result<()> {
        for region in &self.regions {
            self.behave_in(region, behaviour).await?;
        }
        Ok(())
    }

    /// Tells the sink of one region how to behave.
    pub async fn behave_in(&self, region: &str, behaviour: &str) -> Result<()> {
        self.scene.put(&self.service(region), "http", "/behaviour", behaviour).await.map(drop)
    }

    /// Which of the events 0..`sent` of `source` have arrived.
    pub async fn receipts(&self, source: &str, sent: u64) -> Result<Receipts> {
        let mut ranges = Vec::new();
        let mut received = 0;
        for region in &self.regions {
            let path = format!("/received?source={}", source.replace('/', "%2F"));
            let json = self.scene.get(&self.service(region), "http", &path).await?;
            ranges.extend(serde_json::from_str::<Vec<(u64, u64)>>(&json).with_context(|| json)?);
            received += self.received_of(region, source).await?;
        }
        Ok(unite(ranges, received, sent))
    }

    /// Waits until every one of the events 0..`sent` of `source` has arrived.
    pub async fn all_arrive(&self, source: &str, sent: u64, limit: Duration) -> Result<Receipts> {
        eventually("every event arrives", limit, async || {
            let receipts = self.receipts(source, sent).await?;
            anyhow::ensure!(
                receipts.lost == 0,
                "{} of {sent} have not arrived, {:?} among them",
                receipts.lost,
                receipts.missing
            );
            Ok(Some(receipts))
        })
        .await
    }

    async fn received_of(&self, region: &str, source: &str) -> Result<u64> {
        #[derive(Deserialize)]
        struct Summary {
            sources: BTreeMap<String, Tally>,
        }
        let json = self.scene.get(&self.service(region), "http", "/summary").await?;
        let summary: Summary = serde_json::from_str(&json).with_context(|| json)?;
        Ok(summary.sources.get(source).map_or(0, |tally| tally.received))
    }

    fn service(&self, region: &str) -> String {
        format!("{}-{region}", self.name)
    }

    fn manifests(&self, region: &str) -> String {
        let (name, image) = (self.service(region), &self.scene.stage.dispatcher_image);
        let (flags, mounts, volumes) = match &self.signing {
            None => ("", String::new(), String::new()),
            Some(secret) => (
                ", --signing-secret, /etc/signing/secret",
                "\n        volumeMounts: [{name: signing, mountPath: /etc/signing, readOnly: true}]".to_owned(),
                format!("\n      volumes: [{{name: signing, secret: {{secretName: {secret}}}}}]"),
            ),
        };
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{sink: {name}}}
  ports: [{{name: http, port: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{sink: {name}}}}}
  template:
    metadata: {{labels: {{sink: {name}}}}}
    spec:
      nodeSelector: {{topology.kubernetes.io/region: {region}}}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 1
      securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: sink
        image: {image}
        imagePullPolicy: IfNotPresent
        args: [sink, --listen, '0.0.0.0:8080'{flags}]
        readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
        securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}{mounts}{volumes}
"
        )
    }
}

fn unite(mut ranges: Vec<(u64, u64)>, received: u64, sent: u64) -> Receipts {
    ranges.sort_unstable();
    let (mut unique, mut missing, mut next) = (0, Vec::new(), 0);
    for (first, last) in ranges {
        missing.extend((next..first.min(sent)).take(10));
        let from = first.max(next);
        unique += (last + 1).saturating_sub(from);
        next = next.max(last + 1);
    }
    missing.extend((next..sent).take(10));
    missing.truncate(10);
    Receipts { unique, duplicates: received.saturating_sub(unique), missing, lost: sent.saturating_sub(unique) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_of_two_sinks_make_a_whole() {
        let receipts = unite(vec![(0, 3), (5, 5), (4, 4), (6, 9)], 10, 10);
        assert_eq!(receipts, Receipts { unique: 10, duplicates: 0, missing: vec![], lost: 0 });
    }

    #[test]
    fn what_arrived_nowhere_is_named() {
        let receipts = unite(vec![(1, 2), (5, 6)], 4, 10);
        assert_eq!((receipts.lost, receipts.missing), (6, vec![0, 3, 4, 7, 8, 9]));
    }

    #[test]
    fn what_arrived_in_two_places_is_counted_as_twice() {
        let receipts = unite(vec![(0, 4), (3, 9)], 12, 10);
        assert_eq!((receipts.unique, receipts.duplicates, receipts.lost), (10, 2, 0));
    }
}
