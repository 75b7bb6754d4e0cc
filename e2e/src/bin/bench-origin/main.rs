//! `cargo bench-origin`: what became of one dispatcher when it was made a fleet in two regions, measured.
//!
//! ```text
//!                   +--> plain: one pod, a pool of workers, retries, nothing kept --+
//! load, in "stays" -+                                                               +--> one sink, in "stays"
//!                   +--> a fleet: one shard in each of two regions -----------------+      slow or failing now and then
//! ```
//!
//! The same load, the same sink and the same faults for both, one after the other on one cluster: first a sink that is slow
//! and fails for moments, then the loss of a region, then a sink that becomes slower and slower. `plain` may have twice as
//! many requests at the sink at once as the fleet has; neither has a limit of processors. When a region is lost, producers are
//! many, and each tries again until its event is accepted: whoever waits for the region that is gone holds up nobody else.
//!
//! | module | what |
//! | --- | --- |
//! | `subject` | the two that are compared |
//! | `faults` | what is done to the sink and to the network meanwhile |
//! | `page` | the figures on one page; pure |

mod faults;
mod page;
mod subject;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use signalbox_cluster::Cluster;
use signalbox_e2e::bench::{ended, note, on_a_cluster, publish};
use signalbox_e2e::{Scene, Sinks, Stage};

use faults::Trouble;
use page::{Measured, page};
use subject::{Offered, Subject};

/// Compare one plain dispatcher with a fleet in two regions, under the same load and the same faults.
#[derive(Parser)]
#[command(name = "cargo bench-origin", version)]
struct Arguments {
    /// Events a second.
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u64).range(10..=2_000))]
    rate: u64,
    /// How long each part takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(30..=600))]
    seconds: u64,
    /// For how long the sink fails, once in 15 s. The default is so that the plain dispatcher turns about 2.5 % away.
    #[arg(long, value_name = "MS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(0..=5_000))]
    fail_ms: u64,
    /// How long producers wait for an answer before they try again, when a region is lost: 100ms to 30s. Whoever sends to a
    /// region in the moment in which it is lost waits so long.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = patience)]
    patience: Duration,
    /// Write all figures there, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the cluster as it is.
    #[arg(long)]
    keep: bool,
}

/// A time such as `2s` or `500ms`.
fn patience(text: &str) -> Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    let allowed = Duration::from_millis(100)..=Duration::from_secs(30);
    time.filter(|time| allowed.contains(time)).ok_or_else(|| "write a time from 100ms to 30s, such as 2s".to_owned())
}

/// The namespace.
const NAMESPACE: &str = "signalbox-origin";
/// Where the plain dispatcher's image is from: it is loaded, never pulled.
const PLAIN: &str = "localhost/signalbox-e2e/plain:1";

#[tokio::main]
async fn main() -> ExitCode {
    ended("cargo bench-origin", run(&Arguments::parse()).await)
}

async fn run(arguments: &Arguments) -> Result<()> {
    note("making the images");
    let (images, plain) = tokio::task::spawn_blocking(|| Ok::<_, anyhow::Error>((Stage::images()?, plain()?)))
        .await?
        .context("cannot make the images")?;
    let measured =
        on_a_cluster(arguments.keep, async |cluster| measure(cluster, &images, &plain, arguments).await).await?;
    publish(&measured, arguments.json.as_deref(), &page(&measured, arguments.patience))
}

fn plain() -> Result<PathBuf> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/images-out");
    signalbox_images::build_other(&folder, "signalbox-baseline", "plain", PLAIN)
}

async fn measure(
    cluster: &Cluster,
    images: &signalbox_images::Images,
    plain: &std::path::Path,
    arguments: &Arguments,
) -> Result<Vec<Measured>> {
    cluster.supports_faults().map_err(anyhow::Error::msg)?;
    let stage = Stage::set(cluster, images).await?;
    cluster.load_image(plain).await?;
    let stays = stage.leader_region(cluster).await?;
    let lost = cluster.regions().into_iter().find(|region| *region != stays).context("there is one region only")?;
    let scene = Scene::open(&stage, NAMESPACE).await?;
    let all = compare(cluster, &scene, &stays, &lost, arguments).await;
    scene.close().await?;
    all
}

async fn compare(
    cluster: &Cluster,
    scene: &Scene,
    stays: &str,
    lost: &str,
    arguments: &Arguments,
) -> Result<Vec<Measured>> {
    let sinks = Sinks::start(scene, "sink", &[stays.to_owned()]).await?;
    let subjects = [Subject::plain(scene, stays, lost).await?, Subject::fleet(scene, &sinks, stays, lost).await?];
    let troubles = [
        Trouble::Moments { fail: Duration::from_millis(arguments.fail_ms) },
        Trouble::LostRegion { region: lost.to_owned() },
        Trouble::Slower,
    ];
    let Arguments { rate, seconds, patience, .. } = *arguments;
    let offered = Offered { rate, seconds, patience, from: stays };
    let mut all = Vec::new();
    for trouble in &troubles {
        for subject in &subjects {
            note(&format!("{}: {}", subject.what(), trouble.what()));
            let measured = subject.measure(cluster, &sinks, trouble, offered).await;
            let measured = measured.with_context(|| format!("{}: {}", subject.what(), trouble.what()))?;
            note(&format!("  {}", page::line(&measured)));
            all.push(measured);
        }
    }
    Ok(all)
}
