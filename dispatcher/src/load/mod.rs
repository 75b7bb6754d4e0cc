//! `dispatcher load`: sends events on a schedule that does not wait for the answers, and measures.
//!
//! ```text
//! profile -> schedule --indices, each at its time--> worker 0..C --POST--> target
//!                                                       Outcome -> Report -> text, JSON, HTML
//! ```
//!
//! - **Open loop.** Event `i` is meant to be sent when the profile says so, and its latency counts from then, not
//!   from when a worker got round to it. So a slow target shows as latency, and not as a lower rate that looks fine.
//!   With rate 0 there is no schedule: every worker sends as fast as it is answered, and latency counts from the
//!   sending. That measures throughput, and its latencies are not to be trusted.
//! - **Keys.** Event `i` has key `key-<i mod K>` and is the `i / K`-th of it, which it says in `sequence`. All
//!   events of a key are sent by one worker, one after the other, so acceptance order is the order of `sequence`.
//!   With fewer keys than workers, only as many workers are used. With 0 keys, events have none.
//! - **Batches.** A worker sends its events together once it has enough of them, or the schedule ends. All of them
//!   count as meant to be sent when the last one is.
//! - **Retries.** With `retry_until_accepted`, a request that was not accepted is sent again, with backoff or after
//!   what `Retry-After` says, until it is or its time is up; its worker, and so every key of that worker, waits
//!   meanwhile. The schedule does not: their latency counts from when they were meant to be sent.
//! - **Connections.** Each worker opens its own, and a new one after `reconnect_every` requests or any failure, so
//!   that all shards behind a Service are used, and changes of its endpoints are noticed. With HTTP/2, as many
//!   workers as it has streams share one.
//! - **The generator measures itself.** How late it sends although a connection is free, its processor time, and how
//!   busy the connections are: else its own limits would be taken for the target's.

mod connection;
mod environment;
mod html;
mod intervals;
mod outcome;
mod page;
mod plot;
mod profile;
mod report;
mod request;
mod schedule;
mod search;
mod target;
mod text;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::{output, random};
use connection::{Connection, Shared};
use environment::{Environment, cpu_time};
use outcome::{Fuse, Outcome};
pub use profile::{Shape, Wanted};
pub use report::{LatencyMs, Parameters, Report};
pub use request::Mode;
use request::Spelling;
use schedule::Plan;
pub use search::{Found, Objective, Trial, Verdict};
use target::Target;
use worker::Worker;

/// Rest between two trials of a search, for the target to get over the one before.
const REST: Duration = Duration::from_millis(500);

/// A trial of a search is ended once an event is this late, if the objective is not close to that.
const HOPELESS: Duration = Duration::from_secs(1);

/// A trial of a search is ended after so many failures.
const HOPELESS_FAILURES: u64 = 100;

/// What `dispatcher load` is told on the command line.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where to send to: an absolute `http` or `https` URI.
    pub target: String,
    /// How much to send when.
    pub wanted: Wanted,
    /// Number of keys. 0: events have no key.
    pub keys: u64,
    /// Bytes of data of each event.
    pub size: usize,
    /// How an event is written.
    pub mode: Mode,
    /// Events of one request. Above 1: as a batch.
    pub batch: u64,
    /// Connections.
    pub connections: u64,
    /// HTTP/2, with so many requests at once on a connection. Default: HTTP/1.1, one at a time.
    pub streams: Option<u64>,
    /// Certificates to trust, in PEM.
    pub ca: Option<PathBuf>,
    /// Trust any certificate.
    pub insecure: bool,
    /// `source` of the events. Default: one that no other run has.
    pub source: Option<String>,
    /// How long an event that was not accepted is sent again. Default: not at all.
    pub retry_until_accepted: Option<Duration>,
    /// How often a request that was not accepted is sent again at most. `None`: as often as `retry_until_accepted` lasts.
    pub retries: Option<u32>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Requests after which a worker opens a new connection. Default: only after a failure.
    pub reconnect_every: Option<u64>,
    /// Search the highest rate that keeps an objective.
    pub search: Option<SearchOptions>,
    /// One line of JSON instead of text.
    pub json: bool,
    /// Where to write a page with the figures.
    pub html: Option<PathBuf>,
}

/// What a search is told.
#[derive(Clone, Copy, Debug)]
pub struct SearchOptions {
    /// What is to be kept.
    pub objective: Objective,
    /// How long each rate is tried.
    pub trial: Duration,
    /// How long the search may take.
    pub within: Duration,
}

/// Sends everything, prints the result, and tells whether every event was accepted; or searches, and tells whether
/// a rate was found.
pub async fn run(options: LoadOptions) -> anyhow::Result<bool> {
    let target =
        Arc::new(Target::new(&options.target, options.streams.is_some(), options.ca.as_deref(), options.insecure)?);
    let source = options.source.clone().unwrap_or_else(|| format!("/load/{:016x}", random::next()));
    let stop = Arc::new(AtomicBool::new(false));
    end_early_on_interrupt(stop.clone());
    let load = Load { options, target, stop };
    let options = &load.options;
    if let Some(search) = &options.search {
        let found = load.search(search, &source).await?;
        output::line(&if options.json { serde_json::to_string(&found)? } else { found.to_string() });
        write_page(options.html.as_deref(), || page::of_search(&found))?;
        return Ok(found.rate.is_some());
    }
    let report = load.once(&options.wanted, source, None).await?;
    output::line(&if options.json { serde_json::to_string(&report)? } else { report.to_string() });
    write_page(options.html.as_deref(), || page::of_run(&report))?;
    Ok(report.not_accepted == 0 && !report.ended_early)
}

/// The first interrupt ends the run, and what there is gets told. The second ends the process.
fn end_early_on_interrupt(stop: Arc<AtomicBool>) {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if stop.swap(true, Ordering::Relaxed) {
                // Nothing is lost by this: a generator has nothing to keep.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
            tracing::info!("ending early: what has been sent is still waited for");
        }
    });
}

fn write_page(path: Option<&Path>, page: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, page()).with_context(|| format!("the page cannot be written to {}", path.display()))
}

struct Load {
    options: LoadOptions,
    target: Arc<Target>,
    /// Set when the user wants no more.
    stop: Arc<AtomicBool>,
}

impl Load {
    /// One run.
    async fn once(&self, wanted: &Wanted, source: String, fuse: Option<Fuse>) -> anyhow::Result<Report> {
        let options = &self.options;
        let profile = if wanted.is_paced() { Some(wanted.profile().map_err(anyhow::Error::msg)?) } else { None };
        if profile.is_none() && wanted.count.is_some() == wanted.duration.is_some() {
            anyhow::bail!("say how much to send: give either --count or --duration");
        }
        let streams = options.streams.unwrap_or(1).max(1);
        let spelling = Arc::new(Spelling::new(
            &self.target.uri,
            self.target.http2,
            options.mode,
            options.batch > 1,
            &source,
            options.keys,
            options.size,
        )?);
        let (start, cpu) = (Instant::now(), cpu_time());
        let plan = Arc::new(Plan {
            start,
            start_us: jiff::Timestamp::now().as_microsecond(),
            count: profile.as_ref().map_or(wanted.count, |profile| Some(profile.count())),
            until: wanted.duration.filter(|_| profile.is_none()).map(|duration| start + wanted.warmup + duration),
            profile,
            keys: options.keys,
            workers: options.connections.max(1) * streams,
            batch: options.batch.max(1),
            stop: AtomicBool::new(false),
        });
        let outcome = Arc::new(Mutex::new(Outcome::new(start + wanted.warmup, fuse)?));
        let mut workers = JoinSet::new();
        let mut senders = Vec::new();
        let mut shared = Arc::default();
        for number in 0..plan.workers {
            if number % streams == 0 {
                shared = Arc::new(tokio::sync::Mutex::new(Shared::default()));
            }
            let (due, indices) = tokio::sync::mpsc::unbounded_channel();
            senders.push(due);
            let worker = Worker {
                number,
                plan: plan.clone(),
                spelling: spelling.clone(),
                connection: Connection::new(
                    self.target.clone(),
                    options.reconnect_every,
                    options.streams.map(|_| shared.clone()),
                ),
                timeout: options.timeout,
                retry_for: options.retry_until_accepted,
                retries: options.retries,
                outcome: outcome.clone(),
            };
            workers.spawn(worker.run(indices));
        }
        schedule::start(plan.clone(), senders)?;
        self.finish(&plan, workers).await?;
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let run = report::Run {
            source,
            profile: plan.profile.as_ref(),
            warmup: wanted.warmup,
            elapsed: start.elapsed(),
            cpu: cpu_time().saturating_sub(cpu),
            ended_early: plan.stopped(),
            parameters: self.parameters(wanted, streams),
            environment: Environment::here(self.target.is_local()),
        };
        Ok(Report::new(&outcome, run))
    }

    /// Waits for all workers, and passes on that the user wants no more.
    async fn finish(&self, plan: &Plan, mut workers: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                ended = workers.join_next() => match ended {
                    Some(ended) => ended.context("a worker ended abnormally")??,
                    None => return Ok(()),
                },
                _ = look.tick() => {
                    if self.stop.load(Ordering::Relaxed) {
                        plan.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Trials until the answer is known, or time is up.
    async fn search(&self, how: &SearchOptions, source: &str) -> anyhow::Result<Found> {
        let (begin, objective) = (Instant::now(), how.objective);
        let fuse = Fuse {
            latency: HOPELESS.max(Duration::from_secs_f64(objective.ms / 1000.0) * 10),
            failures: HOPELESS_FAILURES,
        };
        let mut search = search::Search::new(self.options.wanted.rate.max(1.0));
        let (mut trials, mut cut_short) = (Vec::new(), false);
        while let Some(rate) = search.next() {
            // Long enough for one event at least.
            let trial = how.trial.max(Duration::from_secs_f64(1.0 / rate));
            let needs = self.options.wanted.warmup + trial;
            if self.stop.load(Ordering::Relaxed) || begin.elapsed() + needs > how.within {
                cut_short = true;
                break;
            }
            let wanted = Wanted {
                shape: Shape::Constant,
                rate,
                duration: Some(trial),
                warmup: self.options.wanted.warmup,
                ..Wanted::default()
            };
            let number = trials.len();
            let report = self.once(&wanted, format!("{source}/{number}"), Some(fuse)).await?;
            let verdict = search::judge(objective, &report);
            tracing::info!(rate, p99 = report.latency_ms.p99, %verdict, "tried");
            search.tried(rate, verdict);
            trials.push(Trial { rate, verdict, report });
            tokio::time::sleep(REST).await;
        }
        Ok(search.found(objective, trials, cut_short))
    }

    fn parameters(&self, wanted: &Wanted, streams: u64) -> Parameters {
        let options = &self.options;
        Parameters {
            target: options.target.clone(),
            profile: wanted.shape,
            schedule: wanted.to_string(),
            warmup_seconds: wanted.warmup.as_secs_f64(),
            keys: options.keys,
            size: options.size,
            mode: options.mode,
            batch: options.batch.max(1),
            connections: options.connections.max(1),
            streams,
            http: if options.streams.is_some() { "2" } else { "1.1" },
            tls: self.target.uri.scheme_str() == Some("https"),
        }
    }
}
