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
mod owning;
mod peers;
mod processor;
mod report;
mod showing;
mod shutdown;
mod signature;
mod slots;
mod stopwatch;
mod traces;
mod transfers;
mod watch;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use hyper::service::service_fn;
use signalbox_contract::{ShardConfig, TlsConfig};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::output;
use crate::server::{self, Server, Tls};
use addresses::Addresses;
use client::Client;
use control::{Control, Ports};
use dead_letters::{DeadLetters, Desk};
use deliver::Delivery;
use gates::Gate;
use ingest::{Ingest, Store};
use log::{PairLog, ShardLog};
use metrics::Metrics;
use owning::{Owning, Parts};
use peers::Door;
use report::{Health, Reporter};
use shutdown::{CLOSE_TIME, FINISH_TIME, Phase, Signals};
use traces::Traces;
use writer::Writer;

pub use config::ConfigError;
pub use dead_letters::StoreError;
pub use log::LogError;
#[doc(hidden)]
pub use log::{bench, fuzz};
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
    let links = owning::links(&config, options.ordinal, options.pod_ordinal)?;
    let admin = Arc::new(admin::Admin {
        routed: links.is_some(),
        claiming: OnceLock::new(),
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

    let with = Parts { config: &config, data_dir: &options.data_dir, log: pair, writer: &writer, metrics: &metrics };
    let (owning, gates) = Owning::start(with, links, &admin, door)?;
    let desk = Desk::open(
        dead_letters.clone(),
        config.clone(),
        log.clone(),
        writer.clone(),
        phases.clone(),
        metrics.clone(),
        owning.router(),
    )?;
    let _ = admin.desk.set(desk);
    let shard = Shard { config, log, writer, writer_thread, dead_letters, metrics, traces, phase, owning };
    let sinks = shard.start_sinks(&health, &addresses, gates)?;
    let result = shard.serve(events, tls, sinks, &mut signals).await;
    drop(ports);
    result
}

/// The parts of a shard that is up.
struct Shard {
    config: Arc<ShardConfig>,
    log: Arc<dyn ShardLog>,
    writer: Writer,
    writer_thread: JoinHandle<()>,
    dead_letters: DeadLetters,
    metrics: Metrics,
    traces: Traces,
    phase: tokio::sync::watch::Sender<Phase>,
    /// Whose the slots are. The sinks' tasks end with it.
    owning: Owning,
}

impl Shard {
    fn start_sinks(
        &self,
        health: &[Arc<Health>],
        addresses: &Arc<Addresses>,
        gates: Vec<Gate>,
    ) -> Result<JoinSet<()>, ConfigError> {
        let mut tasks = JoinSet::new();
        for (id, ((sink, health), gate)) in self.config.sinks.iter().zip(health).zip(gates).enumerate() {
            let connections = usize::try_from(sink.max_concurrency).unwrap_or(usize::MAX);
            let delivery = Delivery {
                id,
                config: sink.clone(),
                uri: config::uri(sink)?,
                client: Arc::new(Client::new(Duration::from_millis(sink.timeout_ms), connections, addresses.clone())),
                signer: config::signer(sink)?,
                log: self.log.clone(),
                writer: self.writer.clone(),
                dead_letters: self.dead_letters.clone(),
                metrics: self.metrics.clone(),
                traces: self.traces.clone(),
                health: health.clone(),
                phase: self.phase.subscribe(),
                gate,
            };
            tasks.spawn(delivery.run());
        }
        Ok(tasks)
    }

    async fn serve(
        mut self,
        listener: TcpListener,
        tls: Option<Tls>,
        mut sinks: JoinSet<()>,
        signals: &mut Signals,
    ) -> anyhow::Result<()> {
        let store = Arc::new(Store::new(
            self.config.clone(),
            self.log.clone(),
            self.log.stats()?,
            self.writer.clone(),
            self.metrics.clone(),
            self.phase.subscribe(),
            self.owning.routing(),
        ));
        self.owning.open(&store);
        let largest = self.config.max_event_bytes;
        let ingest = Arc::new(Ingest::new(largest, store, self.metrics.clone(), self.traces.clone()));
        self.phase.send_replace(Phase::Serving);
        let server = Server::start_with(listener, tls, move || {
            let ingest = ingest.clone();
            service_fn(move |request| {
                let ingest = ingest.clone();
                async move { Ok::<_, std::convert::Infallible>(ingest.handle(request).await) }
            })
        });

        let failed = tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, backlog_events = self.log.stats().map_or(0, |s| s.events), "stopping");
                None
            }
            error = self.writer.failed() => Some(error),
            // A sink's task ends only when told to, or when the writer has ended.
            _ = sinks.join_next() => match tokio::time::timeout(CLOSE_TIME, self.writer.failed()).await {
                Ok(error) => Some(error),
                Err(_) => return Err(anyhow!("the task of a sink ended on its own: see the log above")),
            },
            () = self.owning.ended() => return Err(anyhow!("the claims ended on their own: see the log above")),
        };
        if let Some(error) = failed {
            // What is on disk is unknown: leave it to the next start, and acknowledge nothing meanwhile.
            return Err(anyhow!("{error}: exiting, so that the next start recovers what is on disk"));
        }

        let told = Instant::now();
        self.phase.send_replace(Phase::Leaving);
        let stays = tokio::select! {
            stays = self.owning.left(told) => stays,
            _ = signals.next() => false,
        };
        self.phase.send_replace(Phase::Draining);
        tokio::select! {
            () = self.owning.drained(&*self.log, told, stays) => {}
            _ = signals.next() => {}
        }
        self.phase.send_replace(Phase::Finishing);
        let attempts = async { while sinks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FINISH_TIME, async { tokio::join!(attempts, server.stop()) }).await;
        sinks.abort_all();
        let closing = tokio::time::timeout(CLOSE_TIME, self.writer.close());
        let (closed, ()) = tokio::join!(closing, self.traces.written(CLOSE_TIME));
        if closed.is_ok() && self.writer_thread.join().is_err() {
            return Err(anyhow!("the log's thread ended abnormally: see the log above"));
        }
        if self.writer.is_failed() {
            return Err(anyhow!("the log failed while stopping: the next start recovers what is on disk"));
        }
        tracing::info!(backlog_events = self.log.stats().map_or(0, |s| s.events), "stopped");
        Ok(())
    }
}
