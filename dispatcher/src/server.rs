//! The accept loop that `serve` and `sink` share: HTTP/1.1 and HTTP/2 without TLS on one port, with limits.
//!
//! Knows connections, and nothing of what is asked on them. Of this crate it may import `random`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::random;

/// Most connections at once, if the system allows twice as many open files: the rest is for the log and the
/// sinks. The next connection waits in the listen queue until one of them ends.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// How long the head of a request may take, and how long a connection may be idle before and between requests.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(30);

/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

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
    /// Serves each connection with a service of its own.
    pub(crate) fn start<F, S>(listener: TcpListener, mut service: F) -> Self
    where
        F: FnMut() -> S + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let (connections, connection) = watch::channel(());
        let mut until = stopped.clone();
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(connections_allowed()));
            let accept = async {
                loop {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            let (service, stopped, alive) = (service(), stopped.clone(), connection.clone());
                            tokio::spawn(async move {
                                connect(stream, service, stopped).await;
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

async fn connect<S>(stream: TcpStream, service: S, mut stopped: watch::Receiver<bool>)
where
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
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
