//! `dispatcher serve`: one shard.
//!
//! ```text
//! producer --POST /--> ingest --> writer --> log        admin <-- report, metrics
//!                                   ^         |
//!                                 settle     read
//!                                   |         v
//!                                 deliver (one task per sink: intake, flow, client) --> sink
//! ```
//!
//! This file knows the order in which these start and stop, and nothing else.

mod addresses;
mod admin;
mod answer;
mod backoff;
mod breaker;
mod budget;
mod claiming;
mod client;
mod clock;
mod config;
mod control;
mod dead_letters;
mod deliver;
mod evacuation;
mod failing;
mod file;
mod filter;
mod flow;
mod gates;
mod ingest;
mod intake;
mod lanes;
mod lengths;
mod limit;
mod log;
mod metrics;
mod neighbours;
mod ownership;
mod patience;
mod peers;
mod processor;
mod report;
mod shard;
mod showing;
mod shutdown;
mod signature;
mod slots;
mod stopwatch;
mod traces;
mod traffic;
mod transfers;
mod watch;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use signalbox_contract::TlsConfig;

use crate::output;
use crate::server::{self, Tls};
use control::{Control, Ports};
use dead_letters::{DeadLetters, Desk};
use evacuation::Evacuation;
use log::{PairLog, ShardLog};
use metrics::Metrics;
use ownership::Ownership;
use peers::{Door, Links};
use report::{Health, Reporter};
use shard::Shard;
use shutdown::{Phase, Signals};
use slots::SlotSet;
use traces::Traces;
use traffic::Traffic;
use transfers::Transfers;
use writer::Writer;

pub use config::ConfigError;
pub use dead_letters::StoreError;
pub use log::LogError;
#[doc(hidden)]
pub use log::{bench, fuzz};
#[doc(hidden)]
pub use peers::fuzz as bodies;
pub use traces::TraceOptions;

/// What `dispatcher serve` is told on the command line.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// A `ShardConfig` in JSON. Exclusive with `sinks`.
    pub config: Option<PathBuf>,
    /// URIs of sinks, for a shard that no operator configures.
    pub sinks: Vec<String>,
    /// Certificate and key of the events port, for a shard that no operator configures.
    pub tls: Option<TlsConfig>,
    /// Where events come in.
    pub listen: SocketAddr,
    /// Where probes, metrics and report are.
    pub admin_listen: SocketAddr,
    /// Where the log is.
    pub data_dir: PathBuf,
    /// The shard's number in its region: it takes part in routing, for which the configuration has to have a control port.
    pub ordinal: Option<u32>,
    /// The same, as the environment says it: without a control port it takes part in no routing.
    pub pod_ordinal: Option<u32>,
    /// Where to write down the addresses once they are bound.
    pub addresses: Option<PathBuf>,
    /// Where spans go, if they go anywhere.
    pub traces: Option<TraceOptions>,
}

/// Runs a shard until it is told to stop. An error is one sentence for the user.
pub async fn run(options: ServeOptions) -> anyhow::Result<()> {
    let mut signals = Signals::install().context("signals cannot be handled")?;
    let mut config = config::load(options.config.as_deref(), &options.sinks)?;
    let addresses = Arc::new(config::addresses(&config, options.config.is_none())?);
    config.tls = options.tls.or(config.tls);
    let tls = match &config.tls {
        Some(TlsConfig { cert_file, key_file }) => Some(Tls::load(cert_file.as_ref(), key_file.as_ref(), None)?),
        None => None,
    };
    let config = Arc::new(config);
    let names: Vec<String> = config.sinks.iter().map(|sink| sink.name.clone()).collect();
    let metrics = Metrics::new(&names);
    let traces = Traces::start(options.traces.as_ref(), &config, &metrics)?;
    let health: Vec<Arc<Health>> = names.iter().map(|_| Arc::default()).collect();
    let (phase, phases) = tokio::sync::watch::channel(Phase::Recovering);

    // All ports are bound before the log is opened, so that an address that is taken is found out at once.
    let events = server::bind(options.listen).await?;
    let admin_listener = server::bind(options.admin_listen).await?;
    let admin_address = admin_listener.local_addr()?;
    let control = match &config.control {
        Some(control) => Some(Control::bind(control).await?),
        None => None,
    };
    let control_address = control.as_ref().map(Control::address).transpose()?;
    if let Some(path) = &options.addresses {
        output::write_addresses(path, events.local_addr()?, Some(admin_address), control_address)?;
    }
    if config.control.is_none() && options.ordinal.is_some() {
        return Err(anyhow!(
            "--ordinal needs a control port, where shards speak to each other: give the configuration one, or leave it out"
        ));
    }
    let links = match (&config.control, options.ordinal.or(options.pod_ordinal)) {
        (Some(control), Some(ordinal)) => Some((Links::new(&config, control, ordinal)?, ordinal)),
        _ => None,
    };
    let admin = Arc::new(admin::Admin {
        routed: links.is_some(),
        claiming: OnceLock::new(),
        traffic: OnceLock::new(),
        metrics: metrics.clone(),
        reporter: Reporter::new(config.clone(), metrics.clone(), health.clone()),
        phase: phases.clone(),
        store: OnceLock::new(),
        desk: Arc::default(),
        watchers: watch::Watchers::default(),
    });
    let door = Arc::new(Door::default());
    let ports = Ports::open(admin_listener, control, &admin, &door);

    let dir = options.data_dir.clone();
    let limit = config.dead_letter_limit_bytes;
    let opening = tokio::task::spawn_blocking(move || -> anyhow::Result<(Arc<PairLog>, DeadLetters)> {
        // The log first: it makes sure that nobody else is using the directory.
        let log = PairLog::open(&dir, &names)?;
        Ok((Arc::new(log), DeadLetters::open(&dir, limit)?))
    });
    let (pair, dead_letters) = tokio::select! {
        opened = opening => opened.context("opening the log was interrupted")??,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before the log was open");
            return Ok(());
        }
    };
    let log: Arc<dyn ShardLog> = pair.clone();
    let stats = log.stats()?;
    admin.reporter.opened(&stats);
    let window = Duration::from_millis(config.duplicate_window_ms);
    let (writer, writer_thread) =
        Writer::start(log.clone(), metrics.clone(), window).context("no thread for the log")?;
    // Set once, here.
    let _ = admin.store.set((log.clone(), writer.clone()));
    tracing::info!(
        fleet = config.fleet,
        region = config.region,
        events = %events.local_addr()?,
        admin = %admin_address,
        backlog_events = stats.events,
        backlog_bytes = stats.bytes,
        "serving"
    );

    let sink_names = config.sinks.iter().map(|sink| sink.name.clone()).collect();
    let (ownership, gates, evacuation) = match links {
        None => {
            // Every slot is this shard's: as long as nothing claims, nothing is closed.
            let (transfers, gates) = Transfers::new(pair, writer.clone(), sink_names, &SlotSet::default());
            (Ownership::None(transfers), gates, None)
        }
        Some((links, ordinal)) => {
            let of = (config.fleet.as_str(), config.region.as_str());
            let traffic = Arc::new(Traffic::load(of, options.data_dir.clone(), metrics.clone())?);
            let _ = admin.traffic.set(traffic.clone());
            tokio::spawn(neighbours::run(traffic.clone(), phases.clone()));
            let start = claiming::Start {
                fleet: config.fleet.clone(),
                region: config.region.clone(),
                ordinal,
                data_dir: options.data_dir.clone(),
                log: pair,
                writer: writer.clone(),
                sinks: sink_names,
                outbox: Arc::new(links.clone()),
                metrics: metrics.clone(),
                tick: claiming::TICK,
                batch_bytes: claiming::BATCH_BYTES,
            };
            let claiming::Started { claiming, gates, transfers, driver } = start.start()?;
            let takers = Arc::new(links.regions());
            let ends = (writer.end(), phases.clone());
            let evacuation = Evacuation::new(traffic.clone(), transfers, takers, metrics.clone(), ends)?;
            let _ = admin.claiming.set(claiming.clone());
            (Ownership::Driven { claiming, links, door, driver, traffic }, gates, Some(evacuation))
        }
    };
    let desk = Desk::open(
        dead_letters.clone(),
        config.clone(),
        log.clone(),
        writer.clone(),
        phases.clone(),
        metrics.clone(),
        ownership.router(),
    )?;
    let _ = admin.desk.set(desk);
    let shard = Shard { config, log, writer, writer_thread, dead_letters, metrics, traces, phase, ownership };
    let mut tasks = shard.start_sinks(&health, &addresses, gates)?;
    evacuation.map(|evacuation| tasks.spawn(evacuation.run()));
    let result = shard.serve(events, tls, tasks, &mut signals).await;
    drop(ports);
    result
}
