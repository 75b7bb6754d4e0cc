//! The flags of `dispatcher sink`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use signalbox_dispatcher::sink::{self, SinkOptions, behaviour::Behaviour};

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
    /// Retry-After of the answers that fail.
    #[arg(long, value_name = "SECONDS")]
    retry_after_seconds: Option<u64>,
}

impl Sink {
    pub(super) async fn run(self) -> anyhow::Result<bool> {
        let Self { listen, addresses, status, fail_ratio, delay_ms, hang, retry_after_seconds } = self;
        let behaviour = Behaviour { status, fail_ratio, delay_ms, hang, retry_after_seconds };
        sink::run(SinkOptions { listen, behaviour, addresses }).await?;
        Ok(true)
    }
}
