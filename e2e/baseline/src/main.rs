//! `plain`: a dispatcher as many a platform began with, to measure beside. It is no part of what is shipped.
//!
//! ```text
//! producer --POST--> queue in memory --> pool of workers --> sink        (again, a fixed number of times)
//!          <--------------- the sink's answer -----------------+
//! ```
//!
//! No log, no breaker, no order of keys, no other region. The producer waits for the sink.

mod forward;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use forward::{Forwarder, Settings};
use http::Uri;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// Forwards what it is sent to one sink, and answers what the sink answers.
#[derive(Parser)]
struct Arguments {
    /// Where events come in.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where they go.
    #[arg(long)]
    sink: Uri,
    /// Requests to the sink at once.
    #[arg(long, default_value_t = 64)]
    workers: usize,
    /// Requests that wait for a worker; those beyond it are answered 503.
    #[arg(long, default_value_t = 1_000)]
    queue: usize,
    /// How often an event is tried.
    #[arg(long, default_value_t = 3)]
    tries: u32,
    /// Milliseconds between two tries.
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
    /// Milliseconds that a try may take.
    #[arg(long, default_value_t = 1_000)]
    timeout_ms: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, sink, workers, queue, tries, pause_ms, timeout_ms } = Arguments::parse();
    let (pause, timeout) = (Duration::from_millis(pause_ms), Duration::from_millis(timeout_ms));
    let forwarder = Arc::new(Forwarder::new(Settings { sink, workers, queue, tries, pause, timeout }));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        let forwarder = forwarder.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let forwarder = forwarder.clone();
                async move { Ok::<_, Infallible>(forwarder.answer(request).await) }
            });
            // A producer that hangs up is no error of ours.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
