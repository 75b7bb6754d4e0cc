//! The `signalbox` command: `run` is the operator, `crd` prints what it watches, `simulate` shows what it would decide.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use signalbox::Settings;
use tracing_subscriber::EnvFilter;

/// Runs fleets of event dispatchers on Kubernetes.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator, in a pod or with a kubeconfig.
    Run(Box<Run>),
    /// Print the CustomResourceDefinition, as YAML.
    Crd,
    /// Show what the autoscaler would do with a load. Changes nothing, and needs no cluster.
    Simulate(Box<signalbox::simulate::Simulate>),
}

#[derive(clap::Args)]
struct Run {
    /// Image of the shards of fleets that do not name one.
    #[arg(long, value_name = "IMAGE", default_value = concat!("signalbox.dev/dispatcher:", env!("CARGO_PKG_VERSION")))]
    dispatcher_image: String,
    /// When that image is pulled.
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    dispatcher_image_pull_policy: String,
    /// A network that sinks may be in, such as 10.0.0.0/8; may be given several times. With any, only these are allowed.
    /// Default: all, but for the addresses that shards never connect to.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    sink_addresses_allowed: Vec<String>,
    /// A network that sinks may not be in; may be given several times. Wins over what is allowed.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    sink_addresses_denied: Vec<String>,
    /// Look for fleets in this namespace only; may be given several times. Default: in all of them.
    #[arg(long, value_name = "NAMESPACE")]
    watch_namespace: Vec<String>,
    /// Where to serve /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    admin_listen: SocketAddr,
    /// Name of the Lease by which replicas agree on who leads.
    #[arg(long, value_name = "NAME", default_value = "signalbox-operator")]
    lease_name: String,
    /// Namespace of the Lease. Default: that of the pod or the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Who this replica is; must differ between replicas.
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value_t = format!("signalbox-{}", std::process::id()))]
    identity: String,
    /// Write down what is observed of regions whose size follows their load, for `signalbox simulate --load FILE`: one
    /// JSON object a line, every five seconds and region.
    #[arg(long, value_name = "FILE")]
    record: Option<std::path::PathBuf>,
    /// Most MiB that this takes, in FILE and FILE.old together.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    record_limit: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match execute(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: it is what the pod's status quotes. Where even that cannot be written, the exit code is left.
            let _ = writeln!(std::io::stderr(), "signalbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Crd => {
            let yaml = serde_yaml::to_string(&signalbox::api::crd())?;
            std::io::stdout().write_all(yaml.as_bytes()).context("cannot print the CRD")
        }
        Command::Simulate(simulate) => {
            let text = simulate.run()?;
            std::io::stdout().write_all(text.as_bytes()).context("cannot print the timeline")
        }
        Command::Run(run) => {
            let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
            tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
            signalbox::run(Settings {
                dispatcher_image: run.dispatcher_image,
                image_pull_policy: run.dispatcher_image_pull_policy,
                sink_addresses_allowed: run.sink_addresses_allowed,
                sink_addresses_denied: run.sink_addresses_denied,
                watch_namespaces: run.watch_namespace,
                admin_listen: run.admin_listen,
                lease_name: run.lease_name,
                namespace: run.namespace,
                identity: run.identity,
                record: run.record,
                record_limit: run.record_limit << 20,
            })
            .await
        }
    }
}

fn network(text: &str) -> Result<String, String> {
    signalbox::fleet::check_network(text).map(|()| text.to_owned())
}
