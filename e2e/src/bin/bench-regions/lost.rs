//! One of three regions is lost, while they have four fifths of what they can do.
//!
//! ```text
//! load, 240/s --> Service --> 2 shards of 50/s in each of three regions --> a sink in each, 160 ms an event
//!                                                    |
//!                                                    one region's only node is off the network
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::{join_all, try_join_all};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use signalbox::api::EventDispatcherStatus;
use signalbox_cluster::{Cluster, Fault};
use signalbox_e2e::bench::note;
use signalbox_e2e::{
    Fleet, FleetSpec, Load, LoadSpec, PATIENCE, Scene, SinkSpec, Sinks, accepted_arrives, eventually, known_everywhere,
};

use crate::looks::{Look, Seen, judge};
use crate::page::{Injection, Measured};
use crate::parts::LIMIT;
use crate::third::{REGION, Third};

/// How the sinks answer, and how many requests a shard has there at once: together 50 events a second a shard.
const SINK: (&str, u32) = (r#"{"delayMs": 160}"#, 8);
const PER_SHARD: u64 = 50;
/// Shards of each region at rest, and at most.
const SHARDS: (u32, u32) = (2, 4);
/// Four fifths of what three regions can do at rest.
const RATE: u64 = 3 * SHARDS.0 as u64 * PER_SHARD * 4 / 5;
/// Events that each shard is given before, all at once: half a minute of work.
const TAUGHT: u64 = 30 * PER_SHARD;
/// Seconds that are looked at before the fault, for which the region is gone, and in which there is load when it comes back.
const BEFORE: u64 = 10;
const GONE: u64 = 40;
const AFTER: u64 = 3;

struct Three {
    scene: Scene,
    cluster: Arc<Cluster>,
    third: Third,
    fleet: Fleet,
    sinks: Sinks,
}

/// So many injections.
pub(crate) async fn measure(scene: Scene, cluster: Arc<Cluster>, what: &str, injections: u32) -> Result<Measured> {
    let three = Three::start(scene, cluster).await?;
    three.teach().await?;
    let mut all = Vec::new();
    for number in 1..=injections {
        let one = three.inject(number).await.with_context(|| format!("injection {number}"))?;
        note(&format!("lost: {number} of {injections}: {one:?}"));
        all.push(one);
    }
    Ok(Measured { what: what.to_owned(), injections: all })
}

impl Three {
    async fn start(scene: Scene, cluster: Arc<Cluster>) -> Result<Self> {
        let third = Third::make(&scene.stage, &cluster).await?;
        let regions = [third.stays.clone(), third.from.clone(), REGION.to_owned()];
        let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
        sinks.behave(SINK.0).await?;
        let mut spec = FleetSpec::new("orders", &regions, SHARDS.0, &sinks);
        spec.sinks = vec![SinkSpec::new("fulfilment", sinks.uri()).with("maxConcurrency", json!(SINK.1))];
        let shards = json!({"min": SHARDS.0, "max": SHARDS.1});
        let regions = regions.map(|name| json!({"name": name, "weight": 1, "shards": shards}));
        spec.more = vec![
            ("regions".to_owned(), json!(regions)),
            (
                "autoscaling".to_owned(),
                // So that four fifths ask for no more, and what was added is gone before the next injection.
                json!({"targetUtilization": 95, "targetDrainTime": "10s", "scaleDownStabilization": "5s"}),
            ),
            (
                "breaker".to_owned(),
                json!({"window": "5s", "baseTripTime": "2s", "maxTripTime": "2s", "rampPercents": [100]}),
            ),
        ];
        let fleet = Fleet::apply(&scene, &spec).await?;
        fleet.ready().await?;
        known_everywhere(&scene, "orders").await?;
        Ok(Self { scene, cluster, third, fleet, sinks })
    }

    /// Gives every shard more than it can do for a while: what one can settle is learned from that. No shard is added
    /// meanwhile, because nothing is learned while it is not known yet what that brought.
    async fn teach(&self) -> Result<()> {
        // The first events may have asked for a shard more, and it is of no use here.
        self.at_rest().await?;
        let until = jiff::Timestamp::now() + Duration::from_mins(10);
        self.fleet.order("pause-scaling", Some(&format!("until {}", until.strftime("%FT%TZ")))).await?;
        let mut sources = Vec::new();
        for pod in self.scene.pods("signalbox.dev/fleet=orders").await? {
            let (pod, source) = (pod.name_any(), format!("/taught/{}", pod.name_any()));
            let event = |number: u64| {
                json!({"specversion": "1.0", "id": number.to_string(), "source": source, "type": "taught",
                    "partitionkey": number.to_string()})
            };
            let events: Vec<Value> = (0..TAUGHT).map(event).collect();
            self.scene.send_batch_to_pod(&pod, &Value::Array(events)).await?;
            sources.push(source);
        }
        let known = self.fleet.status_where("what a shard can settle is known", LIMIT, |status| {
            for region in &status.regions {
                let scaling = region.scaling.as_ref().context("nothing is said of its size")?;
                ensure!(scaling.capacity.is_some(), "{}: {}", region.name, scaling.message);
            }
            Ok(())
        });
        for region in known.await?.regions {
            let capacity = region.scaling.and_then(|scaling| scaling.capacity);
            note(&format!("lost: {}: a shard can settle {capacity:?}", region.name));
        }
        for source in sources {
            self.sinks.all_arrive(&source, TAUGHT, LIMIT).await?;
        }
        self.fleet.order("pause-scaling", None).await
    }

    async fn inject(&self, number: u32) -> Result<Injection> {
        self.at_rest().await?;
        // A number of its own, because the pod is called by it.
        let count = RATE * (3 + BEFORE + GONE + AFTER) + u64::from(number);
        let mut spec =
            LoadSpec::new("orders", RATE, count).from_region(&self.third.stays).trying(PATIENCE, 1).of_many();
        // Not a new connection for each event: one client's ports come round within seconds then, and its node still remembers
        // for two minutes that a port's last connection went to the lost region, where nobody has answered it.
        (spec.connections, spec.reconnect_every) = (RATE, 20);
        let load = Load::start_with(&self.scene, &spec).await?;
        load.sends().await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut looks = self.look_on(Instant::now(), Duration::from_secs(BEFORE)).await?;
        let fault = self.cluster.inject(Fault::NodeGone { node: &self.third.node }).await?;
        let began = fault.began();
        looks.extend(self.look_on(began, Duration::from_secs(GONE)).await?);
        fault.mend().await?;
        self.fleet.breaker(REGION, "Serving", LIMIT).await?;
        let sent = accepted_arrives(&self.sinks, &load, LIMIT).await?;
        let looks: Vec<Look> = looks
            .into_iter()
            .map(|(at, regions)| {
                let (since, until) = (at.saturating_duration_since(began), began.saturating_duration_since(at));
                Look { at: since.as_secs_f64() - until.as_secs_f64(), regions }
            })
            .collect();
        let judged = judge(&looks, f64::from(u32::try_from(PER_SHARD)?)).context("nothing arrived")?;
        let mut injection = Injection::of(judged.normal, &sent);
        injection.loss = Some(judged);
        Ok(injection)
    }

    /// Waits until every region is as large as at rest, and holds nothing.
    async fn at_rest(&self) -> Result<()> {
        eventually("all regions are at rest", LIMIT, async || {
            for region in &self.fleet.status().await?.regions {
                let (shards, least) = (&region.shards, i32::try_from(SHARDS.0)?);
                let serves = region.breaker.as_ref().is_some_and(|breaker| breaker.phase == "Serving");
                ensure!(serves && shards.ready == least && shards.desired == least, "{region:?}");
                ensure!(region.backlog == "0", "{} holds {}", region.name, region.backlog);
            }
            Ok(Some(()))
        })
        .await
    }

    /// Looks at the regions that stay once a second.
    async fn look_on(&self, from: Instant, total: Duration) -> Result<Vec<(Instant, Vec<Seen>)>> {
        let mut looks = Vec::new();
        let mut next = from + Duration::from_secs(1);
        while next <= from + total {
            tokio::time::sleep_until(next.into()).await;
            let status = self.fleet.status().await?;
            let stays = [&self.third.stays, &self.third.from];
            let seen = try_join_all(stays.map(|region| self.seen(&status, region))).await?;
            looks.push((Instant::now(), seen));
            next = (next + Duration::from_secs(1)).max(Instant::now());
        }
        Ok(looks)
    }

    async fn seen(&self, status: &EventDispatcherStatus, region: &str) -> Result<Seen> {
        let pods = self.scene.pods(&format!("signalbox.dev/fleet=orders,signalbox.dev/region={region}")).await?;
        let names: Vec<String> = pods.iter().map(kube::ResourceExt::name_any).collect();
        let backlogs = names.iter().map(|name| self.scene.figure(name, "signalbox_dispatcher_backlog_events"));
        let (latencies, backlogs) = tokio::join!(self.sinks.latencies(region), join_all(backlogs));
        // One that is only about to start holds nothing.
        let backlog = backlogs.into_iter().map(|backlog| backlog.unwrap_or(0)).sum();
        let found = status.regions.iter().find(|known| known.name == region).context("there is no such region")?;
        Ok(Seen { latencies: latencies?, backlog, ready: u32::try_from(found.shards.ready)? })
    }
}
