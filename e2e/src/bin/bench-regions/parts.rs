//! One injection of each kind, from a fleet at rest to a fleet at rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use signalbox::api::BreakerStatus;
use signalbox_cluster::Cluster;
use signalbox_e2e::bench::note;
use signalbox_e2e::{Load, Pair, Scene, breaker, last_connection};

use crate::page::{Injection, Measured};
use crate::{Part, relapse};

/// The longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// How a sink answers that fails.
pub(crate) const FAILS: &str = r#"{"status": 500, "failRatio": 1}"#;
/// How one does that answers nothing.
const HANGS: &str = r#"{"hang": true}"#;

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Sink => "sink",
            Self::Blip => "blip",
            Self::Hang => "hang",
            Self::HangBlip => "hang-blip",
            Self::Relapse => "relapse",
            Self::Lost => "lost",
        }
    }

    /// As a spec that says nothing of it, but for how long a region is out: so that the next injection can come soon.
    fn breaker(self) -> Value {
        let (window, ramp) = match self {
            Self::Cut => ("5s", &[100][..]),
            Self::Relapse => ("5s", &relapse::RAMP[..]),
            Self::Sink | Self::Blip | Self::Hang | Self::HangBlip | Self::Lost => ("10s", &[100][..]),
        };
        json!({"window": window, "baseTripTime": "2s", "maxTripTime": "2s", "rampPercents": ramp})
    }

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Cut => "region cut off: until the last new connection to it",
            Self::Sink => "sink of one region fails: until Tripped",
            Self::Blip => "sink of one region fails for 5 s: until Tripped, if it is",
            Self::Hang => "sink of one region answers nothing: until Tripped",
            Self::HangBlip => "sink of one region answers nothing for 5 s: until Tripped, if it is",
            Self::Relapse => "region fails again while it comes back: until Tripped again",
            Self::Lost => "one of three regions is lost at 80 % load: until p99 from due to delivered is as before",
        }
    }

    /// So many injections.
    pub(crate) async fn measure(
        self,
        scene: Scene,
        cluster: Arc<Cluster>,
        injections: u32,
        rate: u64,
    ) -> Result<Measured> {
        let pair = Pair::start(scene, cluster, 1, self.breaker(), "5s").await?;
        let mut all = Vec::new();
        for number in 1..=injections {
            let one = self.inject(&pair, rate, number).await.with_context(|| format!("injection {number}"))?;
            note(&format!("{}: {number} of {injections}: {one:?}", self.name()));
            all.push(one);
        }
        Ok(Measured { what: self.what().to_owned(), injections: all })
    }

    async fn inject(self, pair: &Pair, rate: u64, number: u32) -> Result<Injection> {
        pair.fleet.breaker(&pair.fails, "Serving", LIMIT).await?;
        // The leader may have changed its place since.
        ensure!(
            pair.scene.stage.leader_region(&pair.cluster).await? == pair.stays,
            "the leader is in the other region"
        );
        if self == Self::Relapse {
            return relapse::inject(pair, rate, number).await;
        }
        let load = pair.load(rate, 20).await?;
        let seconds = match self {
            Self::Cut => cut(pair, &load).await?,
            Self::Sink => sink(pair, FAILS).await?,
            Self::Hang => sink(pair, HANGS).await?,
            Self::Blip => blip(pair, FAILS).await?,
            Self::HangBlip => blip(pair, HANGS).await?,
            Self::Relapse | Self::Lost => bail!("{} is not injected here", self.name()),
        };
        let sent = pair.all_arrive(&load, LIMIT).await?;
        Ok(Injection::of(seconds, &sent))
    }
}

async fn cut(pair: &Pair, load: &Load) -> Result<Option<f64>> {
    let tap = pair.tap(load).await?;
    let fault = pair.cut().await?;
    let last = last_connection(&tap, fault.began(), LIMIT).await?;
    pair.fleet.breaker(&pair.fails, "Tripped", LIMIT).await?;
    fault.mend().await?;
    Ok(Some(last.as_secs_f64()))
}

async fn sink(pair: &Pair, behaviour: &str) -> Result<Option<f64>> {
    // Some of it has to be on its way first.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begin = Instant::now();
    pair.sinks.behave_in(&pair.fails, behaviour).await?;
    let tripped = trips_within(pair, begin, LIMIT).await;
    pair.sinks.behave_in(&pair.fails, "{}").await?;
    tripped
}

async fn blip(pair: &Pair, behaviour: &str) -> Result<Option<f64>> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begin = Instant::now();
    pair.sinks.behave_in(&pair.fails, behaviour).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    pair.sinks.behave_in(&pair.fails, "{}").await?;
    trips_within(pair, begin, Duration::from_secs(15)).await
}

/// After how many seconds the status first said that the region is Tripped, if it did.
pub(crate) async fn trips_within(pair: &Pair, begin: Instant, limit: Duration) -> Result<Option<f64>> {
    seen_within(pair, begin, limit, |found| found.phase == "Tripped").await
}

/// After how many seconds the status first said this of the region's breaker, if it did.
pub(crate) async fn seen_within(
    pair: &Pair,
    begin: Instant,
    limit: Duration,
    is: impl Fn(&BreakerStatus) -> bool,
) -> Result<Option<f64>> {
    const LOOK: Duration = Duration::from_millis(50);
    while begin.elapsed() < limit {
        if is(breaker(&pair.fleet.status().await?, &pair.fails)?) {
            return Ok(Some(begin.elapsed().as_secs_f64()));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}
