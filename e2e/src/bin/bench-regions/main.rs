//! `cargo bench-regions`: what regions that fail cost, over many injections each, on a real cluster.
//!
//! ```text
//! load, in "stays" --> Service --> shards in two regions --> a sink in each
//!   |                                |
//!   tap: connections to "fails"      fault: its network, or its sink
//! ```
//!
//! | part | what is injected | what is measured |
//! | --- | --- | --- |
//! | `cut` | the region is off the network | until the last new connection to it, where packets leave the sender's node |
//! | `sink` | the region's sink fails | until the region is Tripped in the status |
//! | `blip` | the region's sink fails for 5 s | whether the region is Tripped within 15 s |
//! | `hang` | the region's sink takes events and answers nothing | until the region is Tripped in the status |
//! | `hang-blip` | the same for 5 s | whether the region is Tripped within 15 s |
//! | `relapse` | the region's sink fails again at one step of the ramp, each step in turn | the share that the region had at that step, and what failed until it was Tripped again |
//! | `lost` | one of three regions is off the network, at 80 % load | until waits are as before; what the others had, of what they can do |
//!
//! | module | what |
//! | --- | --- |
//! | `parts` | one injection of each |
//! | `relapse` | one relapse |
//! | `lost` | one of three regions is lost |
//! | `third` | a third region on a cluster of two |
//! | `looks` | what is seen of regions that stay, and what it says; pure |
//! | `page` | the figures on one page; pure |

mod looks;
mod lost;
mod page;
mod parts;
mod relapse;
mod third;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use signalbox_cluster::Cluster;
use signalbox_e2e::bench::{ended, note, on_a_cluster, publish};
use signalbox_e2e::{Scene, Stage};

use page::{Measured, page};

/// Measure how fast a region that fails is out of service, and what producers notice of it.
#[derive(Parser)]
#[command(name = "cargo bench-regions", version)]
struct Arguments {
    /// What to measure. Default: everything.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Injections of each part.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    injections: u32,
    /// Events a second; of `lost`, as many as the regions can do.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=2_000))]
    rate: u64,
    /// For how long all is well before a sink fails or hangs once more. A shard watches a sink's next outage as closely as its
    /// first after half a minute of serving; with less, how long it takes to find outages that come so soon.
    #[arg(long, value_name = "SECONDS", default_value_t = 35, value_parser = clap::value_parser!(u64).range(0..=600))]
    rest: u64,
    /// Write every single figure there, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the cluster as it is.
    #[arg(long)]
    keep: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// A region is cut off the network.
    Cut,
    /// A sink of one region fails.
    Sink,
    /// A sink of one region fails for 5 s.
    Blip,
    /// A sink of one region answers nothing.
    Hang,
    /// A sink of one region answers nothing for 5 s.
    HangBlip,
    /// A region fails again while it comes back.
    Relapse,
    /// One of three regions is lost.
    Lost,
}

/// So many fleets are measured at once: more would wait for each other on a machine of two processors.
const TOGETHER: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    ended("cargo bench-regions", run(&Arguments::parse()).await)
}

async fn run(arguments: &Arguments) -> Result<()> {
    note("making the images");
    let images = tokio::task::spawn_blocking(Stage::images).await?.context("cannot make the images")?;
    let measured = on_a_cluster(arguments.keep, async |cluster| measure(cluster, &images, arguments).await).await?;
    publish(&measured, arguments.json.as_deref(), &page(&measured))
}

async fn measure(
    cluster: &Arc<Cluster>,
    images: &signalbox_images::Images,
    arguments: &Arguments,
) -> Result<Vec<Measured>> {
    cluster.supports_faults().map_err(anyhow::Error::msg)?;
    third::clear(cluster).await?;
    let stage = Stage::set(cluster, images).await?;
    let parts = if arguments.parts.is_empty() { Part::value_variants() } else { &arguments.parts };
    // What is done to the network disturbs everybody; sinks that fail disturb their own fleet only.
    let (alone, together): (Vec<Part>, Vec<Part>) =
        parts.iter().partition(|part| matches!(part, Part::Cut | Part::Lost));
    let mut measured = Vec::new();
    for part in alone {
        measured.push(measure_part(part, &stage, cluster, arguments).await?);
    }
    let together = together.into_iter().map(|part| measure_part(part, &stage, cluster, arguments));
    let together: Vec<Measured> = stream::iter(together).buffered(TOGETHER).try_collect().await?;
    measured.extend(together);
    Ok(measured)
}

async fn measure_part(part: Part, stage: &Stage, cluster: &Arc<Cluster>, arguments: &Arguments) -> Result<Measured> {
    let scene = Scene::open(stage, &format!("signalbox-{}", part.name())).await?;
    let (scenery, cluster, injections) = (scene.clone(), cluster.clone(), arguments.injections);
    let measured = match part {
        Part::Lost => lost::measure(scenery, cluster, part.what(), injections).await,
        _ => part.measure(scenery, cluster, injections, arguments.rate, Duration::from_secs(arguments.rest)).await,
    };
    scene.close().await?;
    measured
}
