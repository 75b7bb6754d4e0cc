//! A cluster to try things on, by hand: `cargo cluster up`, `status`, `kubectl -- get nodes`, `down`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use signalbox_cluster::{Cluster, Options};

#[derive(Parser)]
#[command(name = "cluster", about = "A real multi-node Kubernetes to try things on")]
struct Arguments {
    /// Tells clusters on one machine apart [default: `SIGNALBOX_E2E_NAME`, or signalbox]
    #[arg(long, global = true)]
    name: Option<String>,
    /// Show no progress
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make the cluster, or find it up
    Up,
    /// Say what there is
    Status,
    /// Remove the cluster and all that it left
    Down,
    /// Run kubectl on the cluster
    Kubectl {
        /// What to pass to kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run Helm on the cluster
    Helm {
        /// What to pass to Helm
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Make the images in an archive known to every node
    Load {
        /// An OCI or Docker image archive
        archive: PathBuf,
    },
    /// Take a region off the network
    Cut {
        /// The region, as in the nodes' labels
        region: String,
    },
    /// Put a region back on the network
    Heal {
        /// The region, as in the nodes' labels
        region: String,
    },
    /// Send SIGKILL to the main process of a container
    Kill {
        /// The pod's namespace
        namespace: String,
        /// The pod
        pod: String,
        /// The container
        container: String,
    },
    /// Write what may explain a failure into a directory
    Evidence {
        /// The directory
        into: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        // Whoever read our output has read enough of it, as `head` does.
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut options = Options::from_env();
    options.quiet = arguments.quiet;
    if let Some(name) = arguments.name {
        options.name = name;
    }
    let mut out = std::io::stdout();
    match arguments.action {
        Action::Up => {
            let begin = Instant::now();
            let cluster = Cluster::up(&options).await?;
            let seconds = begin.elapsed().as_secs_f64();
            describe(&cluster)?;
            let how = if cluster.was_reused() { "found up" } else { "made" };
            writeln!(out, "The cluster was {how} in {seconds:.1} s. To use it:")?;
            writeln!(out, "export KUBECONFIG={}", cluster.kubeconfig().display())?;
        }
        Action::Status => {
            let Some(cluster) = Cluster::attach(&options).await else {
                writeln!(out, "There is no cluster {:?} up.", options.name)?;
                return Ok(ExitCode::FAILURE);
            };
            describe(&cluster)?;
            writeln!(out, "export KUBECONFIG={}", cluster.kubeconfig().display())?;
        }
        Action::Down => {
            let begin = Instant::now();
            if Cluster::remove(&options).await? {
                let seconds = begin.elapsed().as_secs_f64();
                writeln!(out, "The cluster {:?} was removed in {seconds:.1} s.", options.name)?;
            } else {
                writeln!(out, "There is no cluster {:?}.", options.name)?;
            }
        }
        Action::Kubectl { args } => {
            let cluster = attached(&options).await?;
            return pass(cluster.kubectl_path(), &cluster, &args);
        }
        Action::Helm { args } => {
            let cluster = attached(&options).await?;
            return pass(cluster.helm_path(), &cluster, &args);
        }
        Action::Load { archive } => attached(&options).await?.load_image(&archive).await?,
        Action::Cut { region } => attached(&options).await?.cut_off(&region).await?,
        Action::Heal { region } => attached(&options).await?.bring_back(&region).await?,
        Action::Kill { namespace, pod, container } => {
            attached(&options).await?.kill(&namespace, &pod, &container).await?;
        }
        Action::Evidence { into } => attached(&options).await?.evidence(&into).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn attached(options: &Options) -> Result<Cluster> {
    let name = &options.name;
    Cluster::attach(options).await.with_context(|| format!("there is no cluster {name:?} up: cargo cluster up"))
}

fn describe(cluster: &Cluster) -> Result<()> {
    let mut out = std::io::stdout();
    let startup = cluster.startup().as_secs_f64();
    writeln!(out, "{} nodes ({}), Ready {startup:.1} s after the start:", cluster.nodes().len(), cluster.source())?;
    let widest = cluster.nodes().iter().map(|node| node.name.len()).max().unwrap_or_default();
    for node in cluster.nodes() {
        writeln!(out, "  {:<widest$}  {}", node.name, node.region)?;
    }
    writeln!(out, "kubectl: {}", cluster.kubectl_path().display())?;
    writeln!(out, "helm: {}", cluster.helm_path().display())?;
    if let Some(log) = cluster.audit_log() {
        writeln!(out, "audit log: {}", log.display())?;
    }
    Ok(())
}

/// Runs a client in our place: with our terminal, and its exit status as ours.
fn pass(program: &std::path::Path, cluster: &Cluster, args: &[String]) -> Result<ExitCode> {
    let status = std::process::Command::new(program)
        .args(args)
        .envs(cluster.environment())
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
