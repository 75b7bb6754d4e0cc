//! `cargo demo`: the main job, end to end, on a real cluster.
//!
//! A cluster, the operator through its chart, a fleet in two regions, real events through its Service from inside the
//! cluster, and what arrived at real sinks compared with what was sent. Then a region is taken off the network and put back,
//! while events come. Then everything is taken down again.

mod loss;
mod page;
mod steps;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use signalbox_cluster::{Cluster, ClusterError, Options};
use signalbox_e2e::Stage;
use steps::Steps;

/// Run a fleet of event dispatchers on a real Kubernetes, send it events, and see what arrives.
#[derive(Parser)]
#[command(name = "cargo demo", version)]
struct Arguments {
    /// How many events to send.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    events: u64,
    /// How many of them a second.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    rate: u64,
    /// Leave the cluster and the fleet as they are, to look around.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "\ncargo demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool> {
    let mut steps = Steps::new();
    let images = steps.run("images", Stage::images)?;
    let options = Options::from_env();
    let cluster = match Cluster::up(&options).await {
        Ok(cluster) => cluster,
        Err(ClusterError::Unavailable(why)) => anyhow::bail!("{why}"),
        Err(ClusterError::Failed(error)) => return Err(error.context("the cluster did not come up")),
    };
    steps.done("cluster", cluster_line(&cluster));
    let played = tokio::select! {
        played = steps::play(&mut steps, &cluster, &images, arguments) => played,
        stop = tokio::signal::ctrl_c() => stop.map_err(Into::into).and(Err(anyhow::anyhow!("interrupted; taking everything down"))),
    };
    let passed = match &played {
        Ok(result) => {
            std::io::stdout().write_all(page::page(&steps, result).as_bytes()).context("cannot print the result")?;
            result.passed()
        }
        Err(error) => {
            let evidence = std::env::temp_dir().join("signalbox-demo-evidence");
            let kept = cluster.evidence(&evidence).await.is_ok();
            let look = if kept { format!("; evidence is in {}", evidence.display()) } else { String::new() };
            let _ = writeln!(std::io::stderr(), "\ncargo demo: {error:#}{look}");
            false
        }
    };
    if arguments.keep {
        let path = cluster.kubeconfig().display().to_string();
        let hint = format!(
            "\nKept. Look around with: export KUBECONFIG={path}; cargo cluster kubectl -- get ed -A\nTake it down with: cargo cluster down\n"
        );
        std::io::stdout().write_all(hint.as_bytes())?;
    } else if cluster.was_reused() {
        steps::clear(&cluster).await?;
    } else {
        cluster.down().await.context("taking the cluster down")?;
    }
    Ok(passed)
}

fn cluster_line(cluster: &Cluster) -> String {
    let reused = if cluster.was_reused() { ", was up" } else { "" };
    format!("{} nodes in {}{reused}", cluster.nodes().len(), cluster.regions().join(" and "))
}
