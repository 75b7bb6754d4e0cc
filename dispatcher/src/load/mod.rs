//! `dispatcher load`: sends events on a schedule that does not wait for the answers, and measures.
//!
//! ```text
//! schedule --indices, each at its time--> worker 0..C --POST--> target
//!                                          one connection each; Outcome
//! ```
//!
//! - **Open loop.** Event `i` is meant to be sent at `start + i / rate`, and its latency counts from then, not from
//!   when a worker got round to it. So a slow target shows as latency, and not as a lower rate that looks fine.
//!   With rate 0 there is no schedule: every worker sends as fast as it is answered, and latency counts from the
//!   sending. That measures throughput, and its latencies are not to be trusted.
//! - **Keys.** Event `i` has key `key-<i mod K>` and is the `i / K`-th of it, which it says in `sequence`. All
//!   events of a key are sent by one worker, one after the other, so acceptance order is the order of `sequence`.
//!   With fewer keys than connections, only as many connections are used. With 0 keys, events have none.
//! - **Retries.** With `retry_until_accepted`, an event that was not accepted is sent again, with backoff, until
//!   it is or its time is up; its worker, and so every key of that worker, waits meanwhile. The schedule does not:
//!   their latency counts from when they were meant to be sent. Without it, every event is sent once.
//! - **Connections.** Each worker opens its own, and a new one after `reconnect_every` requests or any failure, so
//!   that all shards behind a Service are used, and changes of its endpoints are noticed.

mod outcome;
mod schedule;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Uri;
use tokio::task::JoinSet;

use crate::{output, random};
pub use outcome::{LatencyMs, Outcome, Report};
use schedule::Plan;
use worker::Worker;

/// What `dispatcher load` is told on the command line.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where to send to: an absolute `http` URI.
    pub target: String,
    /// Events per second over all workers. 0: as fast as they are answered.
    pub rate: f64,
    /// Events to send. Exactly one of this and `duration`.
    pub count: Option<u64>,
    /// How long to send, which makes `rate × duration` events.
    pub duration: Option<Duration>,
    /// Number of keys. 0: events have no key.
    pub keys: u64,
    /// Bytes of data of each event.
    pub size: usize,
    /// Connections, and so workers.
    pub connections: u64,
    /// `source` of the events. Default: one that no other run has.
    pub source: Option<String>,
    /// How long an event that was not accepted is sent again. Default: not at all.
    pub retry_until_accepted: Option<Duration>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Requests after which a worker opens a new connection. Default: only after a failure.
    pub reconnect_every: Option<u64>,
    /// One line of JSON instead of text.
    pub json: bool,
}

/// Sends everything, prints the result, and tells whether every event was accepted.
pub async fn run(options: LoadOptions) -> anyhow::Result<bool> {
    let target: Uri = options.target.parse().context("--target is not a URI: write one such as http://HOST:8080/")?;
    if target.scheme_str() != Some("http") || target.host().is_none() {
        bail!("--target {} is not an absolute http URI: write one such as http://HOST:8080/", options.target);
    }
    let count = match (options.count, options.duration) {
        (Some(count), None) => Some(count),
        (None, Some(duration)) if options.rate > 0.0 => Some(schedule::events_in(options.rate, duration)),
        (None, Some(_)) => None,
        _ => bail!("say how much to send: give either --count or --duration"),
    };
    let source = options.source.clone().unwrap_or_else(|| format!("/load/{:016x}", random::next()));
    let start = tokio::time::Instant::now();
    let plan = Arc::new(Plan {
        start: start.into_std(),
        rate: options.rate,
        count,
        until: options.duration.filter(|_| count.is_none()).map(|duration| start.into_std() + duration),
        keys: options.keys,
        workers: options.connections.max(1),
    });
    let data = Bytes::from(vec![b'x'; options.size]);
    let mut tasks = JoinSet::new();
    let mut senders = Vec::new();
    for number in 0..plan.workers {
        let (due, indices) = tokio::sync::mpsc::unbounded_channel();
        senders.push(due);
        tasks.spawn(
            Worker::new(number, plan.clone(), target.clone(), source.clone(), data.clone(), &options).run(indices),
        );
    }
    schedule::start(plan.clone(), senders)?;
    let mut total = Outcome::new()?;
    while let Some(outcome) = tasks.join_next().await {
        total.add(&outcome.context("a worker ended abnormally")??)?;
    }
    let report = total.report(source, options.rate, start.elapsed());
    output::line(&if options.json { serde_json::to_string(&report)? } else { report.to_string() });
    Ok(report.not_accepted == 0)
}
