//! `cargo bench-dispatcher`: measures the dispatcher as a whole process, beside the raw limits of the machine and a peer.
//!
//! ```text
//! options -> Lab --starts--> serve, sink, load, bare server, nats-server   (real processes on 127.0.0.1)
//!             └─ scenarios/*: what is done, and the figures that come of it -> text, JSON, HTML
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `figure` | one measured number, its goal, and what stands beside it; pure |
//! | `machine` | what it was measured on |
//! | `process` | a child process, its processor time and memory |
//! | `http` | one request; metrics in text |
//! | `lab` | shards, sinks and loads for the scenarios |
//! | `region` | several shards that route to each other |
//! | `raw` | the disk and a bare HTTP server: what cannot be beaten |
//! | `nats` | nats-server and its client, built from pinned modules |
//! | `scenarios` | one file each |
//! | `output` | the table, the JSON, the page |
//!
//! It knows the dispatcher by its command line and over HTTP only, as strangers would.

mod figure;
mod http;
mod lab;
mod machine;
mod nats;
mod output;
mod process;
mod raw;
mod region;
mod scenarios;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use figure::Figure;
use lab::Lab;
use scenarios::Scenario;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the dispatcher, and prints a table that can be put into a document.
#[derive(Parser)]
#[command(name = "cargo bench-dispatcher", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    helper: Option<Helper>,
    /// What to measure. Default: everything.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// How long each measurement takes.
    #[arg(long, value_name = "N", default_value_t = 12)]
    seconds: u64,
    /// Do everything so often, and take the median of each figure.
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    /// Events of the big backlog. Ten million of 1 KiB take 12 GB of disk.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Bytes of data of the events of the big backlog. All other events have 1 KiB.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    event_size: u64,
    /// Connections of the load, each with one request in flight.
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: u64,
    /// Where the logs are kept meanwhile: on the disk that is to be measured.
    #[arg(long, value_name = "DIR", default_value = "target")]
    dir: PathBuf,
    /// The program to measure. Default: a release build of this checkout.
    #[arg(long, value_name = "FILE", env = "SIGNALBOX_DISPATCHER")]
    dispatcher: Option<PathBuf>,
    /// Write the figures there as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the figures there as a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Helper {
    /// The bare server that stands beside the dispatcher.
    #[command(hide = true)]
    BareServer {
        /// Gets {"listen": ...} once it is bound.
        #[arg(long)]
        addresses: PathBuf,
        /// Answer once a request is on disk, in a file there.
        #[arg(long)]
        sync_in: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime").and_then(|runtime| {
            match &cli.helper {
                Some(Helper::BareServer { addresses, sync_in }) => {
                    runtime.block_on(raw::serve(addresses, sync_in.as_deref())).map(|()| true)
                }
                None => runtime.block_on(run(&cli)),
            }
        });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            output::note(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures, and tells whether every scenario could be run. Goals that are missed are no failure of the measurement.
async fn run(cli: &Cli) -> Result<bool> {
    let dispatcher = match &cli.dispatcher {
        Some(path) => path.clone(),
        None => lab::build_dispatcher()?,
    };
    let dir = std::path::absolute(&cli.dir)?;
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("cannot write to {}: choose another --dir", dir.display()))?;
    let lab = Lab {
        dispatcher: std::path::absolute(dispatcher)?,
        dir,
        seconds: cli.seconds.max(1),
        events: cli.events,
        event_size: cli.event_size,
        connections: cli.connections,
    };
    let scenarios = if cli.scenarios.is_empty() { Scenario::all() } else { cli.scenarios.clone() };
    let before = machine::Machine::read(&lab.dir);
    let mut runs: Vec<Figure> = Vec::new();
    let mut failures = Vec::new();
    for round in 1..=cli.runs.max(1) {
        for scenario in &scenarios {
            output::note(&format!("{} ({round} of {})", scenario.name(), cli.runs.max(1)));
            match scenario.run(&lab).await {
                Ok(figures) => {
                    for figure in &figures {
                        output::note(&format!("  {figure}"));
                    }
                    runs.extend(figures);
                }
                Err(e) => {
                    output::note(&format!("  failed: {e:#}"));
                    failures.push(format!("{}: {e:#}", scenario.name()));
                }
            }
        }
    }
    let result = output::Outcome { machine: before, options: cli.into(), figures: figure::medians(runs), failures };
    output::line(&result.table());
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_string_pretty(&result)?).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &cli.html {
        std::fs::write(path, result.page()).with_context(|| path.display().to_string())?;
    }
    Ok(result.failures.is_empty())
}

impl From<&Cli> for output::Options {
    fn from(cli: &Cli) -> Self {
        Self { seconds: cli.seconds, runs: cli.runs, connections: cli.connections }
    }
}
