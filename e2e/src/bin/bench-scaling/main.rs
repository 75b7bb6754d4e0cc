//! `cargo bench-scaling`: from a spike of the backlog to more replicas, at the API server, on a real cluster.
//!
//! ```text
//! spike: one batch to shard 0 ----> backlog ----> whoever scales ----> StatefulSet.spec.replicas
//!   |                                                                       |
//!   t0 (before it is sent)                        t1 (our watch shows more) -
//! ```
//!
//! Three times in one run, on one cluster, with the same signal:
//! 1. the operator (`autoscaling.mode: Internal`);
//! 2. a HorizontalPodAutoscaler with its defaults (`mode: External`), fed by an adapter that asks the shards whenever it
//!    is asked, which is the best that any adapter could do;
//! 3. the same with a controller that looks every second, the shortest time that makes sense for it.
//!
//! | module | what |
//! | --- | --- |
//! | `spikes` | a spike, and the time until it is answered |
//! | `adapter` | the external metrics API, as an extension of the API server |
//! | `hpa` | the autoscaler's objects, and a faster controller for it |
//! | `page` | the figures on one page; pure |

mod adapter;
mod hpa;
mod page;
mod spikes;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use signalbox_cluster::Cluster;
use signalbox_e2e::bench::{ended, note, on_a_cluster, publish};
use signalbox_e2e::{Scene, Stage};

use page::{Measured, page};
use spikes::Subject;

/// Measure the time from a spike of the backlog to more replicas, beside a HorizontalPodAutoscaler.
#[derive(Parser)]
#[command(name = "cargo bench-scaling", version)]
struct Arguments {
    /// Spikes for the operator.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    spikes: u32,
    /// Spikes for the HorizontalPodAutoscaler, in each of its two settings. 0: leave it out.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=500))]
    hpa_spikes: u32,
    /// Write every single time there, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the cluster as it is.
    #[arg(long)]
    keep: bool,
}

/// The namespace of the fleets.
const NAMESPACE: &str = "signalbox-bench";

#[tokio::main]
async fn main() -> ExitCode {
    ended("cargo bench-scaling", run(&Arguments::parse()).await)
}

async fn run(arguments: &Arguments) -> Result<()> {
    note("making the images");
    let images = tokio::task::spawn_blocking(Stage::images).await?.context("cannot make the images")?;
    let measured = on_a_cluster(arguments.keep, async |cluster| measure(cluster, &images, arguments).await).await?;
    publish(&measured, arguments.json.as_deref(), &page(&measured))
}

async fn measure(cluster: &Cluster, images: &signalbox_images::Images, arguments: &Arguments) -> Result<Vec<Measured>> {
    let region = cluster.regions().into_iter().next().context("the cluster has no region")?;
    let stage = Stage::set(cluster, images).await?;
    adapter::clear(&stage).await?;
    let scene = Scene::open(&stage, NAMESPACE).await?;
    let all = compare(cluster, &scene, &region, arguments).await;
    adapter::clear(&stage).await?;
    scene.close().await?;
    all
}

async fn compare(cluster: &Cluster, scene: &Scene, region: &str, arguments: &Arguments) -> Result<Vec<Measured>> {
    let mut all = Vec::new();

    let subject = Subject::start(scene, "internal", region, "Internal").await?;
    all.push(subject.measure("Signalbox", arguments.spikes, true).await?);
    subject.end().await?;

    if arguments.hpa_spikes > 0 {
        let adapter = adapter::Adapter::start(cluster, scene).await?;
        let subject = Subject::start(scene, "external", region, "External").await?;
        hpa::apply(scene, &subject.stateful_set(), hpa::Pace::Default).await?;
        all.push(subject.measure("HPA, defaults", arguments.hpa_spikes, false).await?);
        hpa::apply(scene, &subject.stateful_set(), hpa::Pace::Fastest).await?;
        let controller = hpa::Controller::start(cluster)?;
        all.push(subject.measure("HPA, looks every second", arguments.hpa_spikes, false).await?);
        drop(controller);
        ensure!(adapter.asked() > 0, "the HorizontalPodAutoscaler never asked for its metric");
        subject.end().await?;
        adapter.end(&scene.stage).await?;
    }
    Ok(all)
}
