//! The flags of `dispatcher load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use signalbox_dispatcher::load::{self, LoadOptions, Mode, Objective, SearchOptions, Shape, Wanted};

use super::values::{rate, span};

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Load {
    /// Where to send to: an absolute http or https URL
    #[arg(long, value_name = "URL")]
    target: String,
    /// Events per second. 0: as fast as they are answered, which measures throughput and not latency. With another
    /// profile: the first rate; with --find-max: the first that is tried, 1000 by default.
    #[arg(long, value_name = "N", value_parser = rate, required_unless_present = "find_max")]
    rate: Option<f64>,
    /// How the rate changes.
    #[arg(long, value_enum, default_value_t, conflicts_with = "find_max")]
    profile: Profile,
    /// The last rate of a ramp or of steps.
    #[arg(long, value_name = "N", value_parser = rate)]
    to_rate: Option<f64>,
    /// How many steps, the first at --rate and the last at --to-rate.
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// How long each step takes.
    #[arg(long, value_name = "TIME", value_parser = span)]
    step_duration: Option<Duration>,
    /// The rate within a burst.
    #[arg(long, value_name = "N", value_parser = rate)]
    burst_rate: Option<f64>,
    /// From the start of a burst to the start of the next.
    #[arg(long, value_name = "TIME", value_parser = span)]
    burst_every: Option<Duration>,
    /// How long a burst takes.
    #[arg(long, value_name = "TIME", value_parser = span)]
    burst_duration: Option<Duration>,
    /// How many events to send.
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "find_max"])]
    count: Option<u64>,
    /// How long to send, such as 30s, 500ms or 5m. With --find-max: how long each rate is tried, 10s by default.
    #[arg(long, value_name = "TIME", value_parser = span)]
    duration: Option<Duration>,
    /// Send for so long at the first rate before figures are taken.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "0s")]
    warmup: Duration,
    /// Search the highest rate that keeps --objective without errors.
    #[arg(long, requires = "objective")]
    find_max: bool,
    /// The latency that --find-max keeps, of p50, p90, p99, p99.9 or max, such as p99=20ms.
    #[arg(long, value_name = "QUANTILE=TIME", requires = "find_max")]
    objective: Option<Objective>,
    /// How long --find-max may take.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "5m")]
    within: Duration,
    /// Number of keys. 0: events have no key.
    #[arg(long, value_name = "K", default_value_t = 100)]
    keys: u64,
    /// Bytes of data of each event.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// How an event is written: as headers and data, or as JSON.
    #[arg(long, value_enum, default_value_t)]
    mode: Spelling,
    /// Send so many events a request, as application/cloudevents-batch+json.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u64,
    /// Connections. Each sends one request at a time, with --http2 as many as --streams.
    #[arg(long, value_name = "C", default_value_t = 16)]
    connections: u64,
    /// HTTP/2, with prior knowledge if there is no TLS.
    #[arg(long)]
    http2: bool,
    /// Requests at once on each connection of HTTP/2.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "http2")]
    streams: u64,
    /// Certificates to trust, in PEM, instead of those that browsers trust.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Trust any certificate. For tests.
    #[arg(long)]
    insecure: bool,
    /// The events' source. Default: one that no other run has.
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Send an event again until it is accepted, for so long. Delays the other events of its connection.
    #[arg(long, value_name = "TIME", value_parser = span)]
    retry_until_accepted: Option<Duration>,
    /// Send an event again at most so often. Delays the other events of its connection.
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// How long to wait for an answer.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10s")]
    timeout: Duration,
    /// Open a new connection after so many requests, to follow the endpoints of a Service.
    #[arg(long, value_name = "N")]
    reconnect_every: Option<u64>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    /// Write a page with plots, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Profile {
    /// One rate.
    #[default]
    Constant,
    /// In a straight line from --rate to --to-rate, over --duration.
    Ramp,
    /// From --rate to --to-rate in --steps steps of --step-duration.
    Step,
    /// At --rate for --duration, with bursts of --burst-rate for --burst-duration every --burst-every.
    Burst,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Spelling {
    /// Attributes as headers.
    #[default]
    Binary,
    /// Attributes and data as JSON.
    Structured,
}

impl Load {
    pub(super) async fn run(self) -> anyhow::Result<bool> {
        // The parser lets it pass beside --count, which excludes --find-max.
        if self.objective.is_some() && !self.find_max {
            anyhow::bail!("--objective is what --find-max is to keep: give --find-max too, or leave it out");
        }
        let trial = self.duration.unwrap_or(Duration::from_secs(10));
        load::run(LoadOptions {
            target: self.target,
            wanted: Wanted {
                shape: match self.profile {
                    Profile::Constant => Shape::Constant,
                    Profile::Ramp => Shape::Ramp,
                    Profile::Step => Shape::Step,
                    Profile::Burst => Shape::Burst,
                },
                rate: self.rate.unwrap_or(1000.0),
                to_rate: self.to_rate,
                steps: self.steps,
                step_duration: self.step_duration,
                burst_rate: self.burst_rate,
                burst_every: self.burst_every,
                burst_duration: self.burst_duration,
                count: self.count,
                duration: self.duration,
                warmup: self.warmup,
            },
            keys: self.keys,
            size: self.size,
            mode: match self.mode {
                Spelling::Binary => Mode::Binary,
                Spelling::Structured => Mode::Structured,
            },
            batch: self.batch,
            connections: self.connections,
            streams: self.http2.then_some(self.streams),
            ca: self.ca,
            insecure: self.insecure,
            source: self.source,
            retry_until_accepted: self.retry_until_accepted,
            retries: self.retries,
            timeout: self.timeout,
            reconnect_every: self.reconnect_every,
            search: self.objective.map(|objective| SearchOptions { objective, trial, within: self.within }),
            json: self.json,
            html: self.html,
        })
        .await
    }
}
