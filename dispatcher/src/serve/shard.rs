//! A shard that is up: its sinks' tasks and its events port, until it is told to stop, and the way down from there.
//!
//! This file knows the order of what happens there, and nothing else.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use hyper::service::service_fn;
use signalbox_contract::ShardConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::addresses::Addresses;
use super::client::Client;
use super::config::{self, ConfigError};
use super::dead_letters::DeadLetters;
use super::deliver::Delivery;
use super::gates::Gate;
use super::ingest::{Ingest, Store};
use super::log::ShardLog;
use super::metrics::Metrics;
use super::ownership::Ownership;
use super::report::Health;
use super::shutdown::{CLOSE_TIME, DRAIN_TIME, FINISH_TIME, Phase, Signals};
use super::traces::Traces;
use super::writer::Writer;
use crate::server::{Server, Tls};

/// The parts of a shard that is up.
pub(super) struct Shard {
    pub(super) config: Arc<ShardConfig>,
    pub(super) log: Arc<dyn ShardLog>,
    pub(super) writer: Writer,
    pub(super) writer_thread: JoinHandle<()>,
    pub(super) dead_letters: DeadLetters,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
    pub(super) phase: tokio::sync::watch::Sender<Phase>,
    pub(super) ownership: Ownership,
}

impl Shard {
    /// Starts a task for each sink.
    pub(super) fn start_sinks(
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

    /// Serves until it is told to stop, or cannot go on.
    pub(super) async fn serve(
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
            self.ownership.routing(),
        ));
        self.ownership.open(&store);
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
            () = self.ownership.ended() => return Err(anyhow!("the claims ended on their own: see the log above")),
        };
        if let Some(error) = failed {
            // What is on disk is unknown: leave it to the next start, and acknowledge nothing meanwhile.
            return Err(anyhow!("{error}: exiting, so that the next start recovers what is on disk"));
        }

        let told = Instant::now();
        self.phase.send_replace(Phase::Leaving);
        tokio::select! {
            () = self.ownership.left(told) => {}
            _ = signals.next() => {}
        }
        let stays = self.ownership.owns_slots();
        self.phase.send_replace(Phase::Draining);
        tokio::select! {
            () = self.drained() => {}
            () = tokio::time::sleep(DRAIN_TIME) => {}
            _ = signals.next() => {}
        }
        if stays {
            // The table may have come meanwhile.
            tokio::select! {
                () = self.ownership.emptied(told) => {}
                _ = signals.next() => {}
            }
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

    /// Resolves when the backlog is empty.
    async fn drained(&self) {
        while self.log.stats().is_ok_and(|stats| stats.events > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
