//! The flags of `dispatcher sink`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use signalbox_dispatcher::sink::behaviour::{Behaviour, Match};
use signalbox_dispatcher::sink::{self, SinkOptions};

#[derive(Args)]
pub(crate) struct Sink {
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
    /// Answer with these statuses one after the other, and again from the first. 2xx takes the event.
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',', conflicts_with = "fail_ratio")]
    status_sequence: Vec<u16>,
    /// Milliseconds before each byte of the body of an answer.
    #[arg(long, value_name = "MS")]
    byte_delay_ms: Option<u64>,
    /// Close the connection instead of answering.
    #[arg(long)]
    close_connections: bool,
    /// Retry-After of the answers that fail.
    #[arg(long, value_name = "SECONDS")]
    retry_after_seconds: Option<u64>,
    /// Most events per second that are taken: those above are answered 429 with Retry-After.
    #[arg(long, value_name = "N")]
    max_rate_per_second: Option<f64>,
    /// The flags above are for events whose type begins with this. The others are answered 200.
    #[arg(long, value_name = "PREFIX")]
    match_type: Option<String>,
    /// The same for events whose source begins with this.
    #[arg(long, value_name = "PREFIX")]
    match_source: Option<String>,
    /// The same for events with this partitionkey.
    #[arg(long, value_name = "KEY")]
    match_key: Option<String>,
    /// Verify signatures with the secrets in this file, one a line (whsec_...). What is not signed by them is
    /// answered 401.
    #[arg(long, value_name = "FILE")]
    signing_secret: Option<PathBuf>,
}

impl Sink {
    pub(super) async fn run(self) -> anyhow::Result<bool> {
        let only = Match { event_type: self.match_type, source: self.match_source, key: self.match_key };
        let behaviour = Behaviour {
            status: self.status,
            fail_ratio: self.fail_ratio,
            status_sequence: self.status_sequence,
            delay_ms: self.delay_ms,
            byte_delay_ms: self.byte_delay_ms,
            hang: self.hang,
            close_connections: self.close_connections,
            retry_after_seconds: self.retry_after_seconds,
            max_rate_per_second: self.max_rate_per_second,
            only: Some(only).filter(|only| *only != Match::default()),
        };
        let Self { listen, addresses, signing_secret, .. } = self;
        sink::run(SinkOptions { listen, behaviour, addresses, signing_secret }).await?;
        Ok(true)
    }
}
