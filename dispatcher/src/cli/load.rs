//! The flags of `dispatcher load`.

use std::time::Duration;

use clap::Args;
use signalbox_dispatcher::load::{self, LoadOptions};

use super::values::{rate, span};

#[derive(Args)]
pub(crate) struct Load {
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

impl Load {
    pub(super) async fn run(self) -> anyhow::Result<bool> {
        load::run(LoadOptions {
            target: self.target,
            rate: self.rate,
            count: self.count,
            duration: self.duration,
            keys: self.keys,
            size: self.size,
            connections: self.connections,
            source: self.source,
            retry_until_accepted: self.retry_until_accepted,
            timeout: self.timeout,
            reconnect_every: self.reconnect_every,
            json: self.json,
        })
        .await
    }
}
