//! The accept loop that `serve` and `sink` share: HTTP/1.1 and HTTP/2 on one port, with limits, and with TLS or
//! without.
//!
//! Knows connections, and nothing of what is asked on them. Of this crate it may import `random`.

mod tls;

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::random;

pub(crate) use tls::Tls;

/// Most connections at once, if the system allows twice as many open files: the rest is for the log and the
/// sinks. The next connection waits in the listen queue until one of them ends.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// How long the head of a request may take, and how long a connection may be idle before and between requests.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(30);

/// Most bytes of a request's head. HTTP/1.1 takes 100 headers besides, which is what hyper has room for without
/// allocating; in HTTP/2 each header counts 32 bytes more than it has.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Requests of one HTTP/2 connection that its peer has taken back before they were looked at, and those that were
/// refused: who has more of them is only making work, and is told to go away.
const MAX_RESET_STREAMS: usize = 32;
const MAX_REFUSED_STREAMS: usize = 256;

/// An HTTP/2 connection that is silent for so long is asked whether it is still there, and given as long to say so.
const PING_TIME: Duration = Duration::from_secs(20);

/// How long a connection may live: between half of this and the whole, drawn for each. Then the request under way is
/// answered and the peer is told to connect anew. A Service of Kubernetes chooses an endpoint per connection, so this
/// is how producers that keep theirs open spread over new shards, and leave those that go.
const CONNECTION_AGE: Duration = Duration::from_mins(1);

/// How long to wait before accepting again after it failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`. The error says which.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: give an address that is free and ours"))
}

/// A running accept loop.
pub(crate) struct Server {
    stop: watch::Sender<bool>,
    /// Every connection holds a receiver.
    connections: watch::Sender<()>,
}

impl Server {
    /// Serves each connection with a service of its own. An error of the service closes the connection.
    pub(crate) fn start<F, S, B>(listener: TcpListener, service: F) -> Self
    where
        F: FnMut() -> S + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        Self::start_with(listener, None, service)
    }

    /// The same, with TLS if there is a certificate.
    pub(crate) fn start_with<F, S, B>(listener: TcpListener, tls: Option<Tls>, mut service: F) -> Self
    where
        F: FnMut() -> S + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let (connections, connection) = watch::channel(());
        let mut until = stopped.clone();
        tokio::spawn(async move {
            let follow = {
                let tls = tls.clone();
                async move {
                    match tls {
                        Some(tls) => tls.follow().await,
                        None => std::future::pending().await,
                    }
                }
            };
            let slots = Arc::new(Semaphore::new(connections_allowed()));
            let accept = async {
                loop {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            let (service, stopped, alive) = (service(), stopped.clone(), connection.clone());
                            let tls = tls.clone();
                            let _ = stream.set_nodelay(true);
                            tokio::spawn(async move {
                                match tls {
                                    None => connect(stream, service, stopped).await,
                                    Some(tls) => {
                                        if let Some(stream) = tls.accept(stream).await {
                                            connect(stream, service, stopped).await;
                                        }
                                    }
                                }
                                drop((slot, alive));
                            });
                        }
                        Err(e) => {
                            tracing::debug!(error = %e, "a connection could not be accepted");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = accept => {}
                () = follow => {}
                _ = until.wait_for(|stop| *stop) => {}
            }
        });
        Self { stop, connections }
    }

    /// Stops listening, lets requests under way finish, and resolves when all connections are closed.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        self.connections.closed().await;
    }
}

/// Raises the limit of open files as far as this process may, and takes half of it.
fn connections_allowed() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    // No limit is as good as a high one.
    limit
        .current
        .map_or(MAX_CONNECTIONS, |files| usize::try_from(files / 2).unwrap_or(MAX_CONNECTIONS))
        .min(MAX_CONNECTIONS)
}

async fn connect<I, S, B>(stream: I, service: S, mut stopped: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_REFUSED_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_TIME)
        .keep_alive_timeout(PING_TIME);
    let asked = Arc::new(AtomicBool::new(false));
    let service = Noting { service, asked: asked.clone() };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Until the first request nobody knows which protocol it is, so neither protocol's own timeout applies.
    let silent = async {
        tokio::time::sleep(HEAD_TIME).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    // Errors of a connection are the peer's business, and every request of ours has had its answer.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = silent => return,
        _ = stopped.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(connection_age()) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

fn connection_age() -> Duration {
    let half = CONNECTION_AGE / 2;
    half + half.mul_f64(random::fraction())
}

/// A service that notes that it has been asked something.
struct Noting<S> {
    service: S,
    asked: Arc<AtomicBool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        self.service.call(request)
    }
}
