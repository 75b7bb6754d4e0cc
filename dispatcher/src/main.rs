//! The `dispatcher` command: reads its arguments, and hands over to the library.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use signalbox_dispatcher::dead_letters_command::{self, DeadLettersArgs};
use signalbox_dispatcher::load::{self, LoadOptions};
use signalbox_dispatcher::serve::{self, ServeOptions};
use signalbox_dispatcher::sink::{self, SinkOptions, behaviour::Behaviour};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes events over HTTP, keeps them on disk, and delivers them in order and at least once.
#[derive(Parser)]
#[command(name = "dispatcher", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one shard: accept events, store them, deliver them.
    Serve(Serve),
    /// Run a receiver that counts and verifies what it is sent, and fails when told to.
    Sink(Sink),
    /// Send events at a steady rate and measure. Fails unless every event was accepted.
    Load(Load),
    /// See to events that were given up on: list them, look at one, replay or delete them.
    DeadLetters(DeadLettersArgs),
}

#[derive(Args)]
struct Serve {
    /// The shard's configuration, in JSON. Exclusive with --sink.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Deliver to this URL, with defaults for all else: 5s per attempt, 64 attempts at once, backoff from 200ms to
    /// 30s, 1 GiB of backlog, 1 MiB per event. May be given again for more sinks.
    #[arg(long = "sink", value_name = "URL")]
    sinks: Vec<String>,
    /// Where events come in.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where probes, metrics and the report are.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9090")]
    admin_listen: SocketAddr,
    /// Where the log is kept. One process at a time.
    #[arg(long, value_name = "DIR", default_value = "./signalbox-data")]
    data_dir: PathBuf,
    /// Write {"listen": ..., "admin": ...} here once both are bound: for callers that ask for port 0.
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
}

#[derive(Args)]
struct Sink {
    /// Where events and questions come in.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Write {"listen": ...} here once it is bound: for callers that ask for port 0.
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Status of the answers that fail.
    #[arg(long, default_value_t = Behaviour::default().status)]
    status: u16,
    /// Share of the events that fail, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    fail_ratio: f64,
    /// Milliseconds before each answer.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Never answer.
    #[arg(long)]
    hang: bool,
    /// Retry-After of the answers that fail.
    #[arg(long, value_name = "SECONDS")]
    retry_after_seconds: Option<u64>,
}

#[derive(Args)]
struct Load {
    /// Where to send to: an absolute http URL
    #[arg(long, value_name = "URL")]
    target: String,
    /// Events per second. 0: as fast as they are answered, which measures throughput and not latency.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: f64,
    /// How many events to send.
    #[arg(long, value_name = "N", required_unless_present = "duration", conflicts_with = "duration")]
    count: Option<u64>,
    /// How long to send, such as 30s, 500ms or 5m.
    #[arg(long, value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// Number of keys. 0: events have no key.
    #[arg(long, value_name = "K", default_value_t = 100)]
    keys: u64,
    /// Bytes of data of each event.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Connections. Each sends one event at a time.
    #[arg(long, value_name = "C", default_value_t = 16)]
    connections: u64,
    /// The events' source. Default: one that no other run has.
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Send an event again until it is accepted, for so long. Delays the other events of its connection.
    #[arg(long, value_name = "TIME", value_parser = span)]
    retry_until_accepted: Option<Duration>,
    /// How long to wait for an answer.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10s")]
    timeout: Duration,
    /// Open a new connection after so many requests, to follow the endpoints of a Service.
    #[arg(long, value_name = "N")]
    reconnect_every: Option<u64>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failure(&e.into()),
    };
    let result = runtime.block_on(run(cli.command));
    // A look-up of a name may still be blocking a thread. It is not worth waiting for.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => failure(&e),
    }
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Serve(Serve { config, sinks, listen, admin_listen, data_dir, addresses }) => {
            serve::run(ServeOptions { config, sinks, listen, admin_listen, data_dir, addresses }).await?;
            Ok(true)
        }
        Command::Sink(Sink { listen, addresses, status, fail_ratio, delay_ms, hang, retry_after_seconds }) => {
            let behaviour = Behaviour { status, fail_ratio, delay_ms, hang, retry_after_seconds };
            sink::run(SinkOptions { listen, behaviour, addresses }).await?;
            Ok(true)
        }
        Command::DeadLetters(args) => dead_letters_command::run(args).await,
        Command::Load(load) => {
            load::run(LoadOptions {
                target: load.target,
                rate: load.rate,
                count: load.count,
                duration: load.duration,
                keys: load.keys,
                size: load.size,
                connections: load.connections,
                source: load.source,
                retry_until_accepted: load.retry_until_accepted,
                timeout: load.timeout,
                reconnect_every: load.reconnect_every,
                json: load.json,
            })
            .await
        }
    }
}

/// Logs go to stderr, so that stdout is for results: text on a terminal, JSON otherwise. `RUST_LOG` says what.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::FAILURE
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches("/s");
    number
        .parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| format!("{text:?} is not a rate: write events per second, such as 500"))
}

fn span(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is not a time: write one such as 500ms, 30s or 5m")),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * seconds).ok())
        .ok_or_else(|| format!("{text:?} is not a time: write one such as 500ms, 30s or 5m"))
}
