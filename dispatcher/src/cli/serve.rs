//! The flags of `dispatcher serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use signalbox_contract::{ORDINAL_VARIABLE, TlsConfig};
use signalbox_dispatcher::serve::{self, ServeOptions, TraceOptions};

use super::values;

/// What the environment says of the number of this shard.
fn pod_ordinal() -> anyhow::Result<Option<u32>> {
    let Ok(text) = std::env::var(ORDINAL_VARIABLE) else { return Ok(None) };
    let number =
        text.parse().with_context(|| format!("{ORDINAL_VARIABLE} is {text:?}: make it a number, or leave it out"))?;
    Ok(Some(number))
}

#[derive(Args)]
pub(crate) struct Serve {
    /// The shard's configuration, in JSON. Exclusive with --sink.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Deliver to this URL, with defaults for all else: 5s per attempt, 64 attempts at once, backoff from 200ms to
    /// 30s, 1 GiB of backlog, 1 MiB per event. May be given again for more sinks.
    #[arg(long = "sink", value_name = "URL")]
    sinks: Vec<String>,
    /// Speak TLS on the events port with this certificate chain, in PEM, read again when it changes. For --sink: with
    /// --config, the file says it.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "config")]
    tls_cert: Option<String>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// Where events come in.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where probes, metrics and the report are.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9090")]
    admin_listen: SocketAddr,
    /// Where the log is kept. One process at a time.
    #[arg(long, value_name = "DIR", default_value = "./signalbox-data")]
    data_dir: PathBuf,
    /// The number of this shard in its region. It takes part in routing: it waits for the region's routing table, and
    /// passes events on to the shard that owns their key. Needs a control port in the file. In a pod the environment
    /// says it, and without a control port that is of no meaning.
    #[arg(long, value_name = "N", requires = "config")]
    ordinal: Option<u32>,
    /// Write {"listen": ..., "admin": ...} here once both are bound: for callers that ask for port 0.
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Add spans of OpenTelemetry to this file, as lines of OTLP in JSON; - is stdout.
    #[arg(long, value_name = "FILE", env = "SIGNALBOX_TRACES")]
    traces: Option<PathBuf>,
    /// Share of the events that leave spans, 0 to 1. An event with a traceparent says so itself.
    #[arg(long, value_name = "N", default_value = "0.01", env = "SIGNALBOX_TRACE_RATIO", value_parser = values::ratio)]
    trace_ratio: f64,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<bool> {
        let Self {
            config,
            sinks,
            tls_cert,
            tls_key,
            listen,
            admin_listen,
            data_dir,
            ordinal,
            addresses,
            traces,
            trace_ratio,
        } = self;
        let tls = tls_cert.zip(tls_key).map(|(cert_file, key_file)| TlsConfig { cert_file, key_file });
        let traces = traces.map(|file| TraceOptions { file, ratio: trace_ratio });
        serve::run(ServeOptions {
            config,
            sinks,
            tls,
            listen,
            admin_listen,
            data_dir,
            ordinal,
            pod_ordinal: pod_ordinal()?,
            addresses,
            traces,
        })
        .await?;
        Ok(true)
    }
}
