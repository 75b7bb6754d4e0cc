//! The accept loop that `serve` and `sink` share: HTTP/1.1 and HTTP/2 on one port, with limits, and with TLS or
//! without.
//!
//! Knows connections, and nothing of what is asked on them. Of this crate it may import `random`.

mod peers;
mod tls;

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::Map;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::random;

pub(crate) use peers::Peers;
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

/// How long a connection may live: between half of this and the whole, drawn for each. Then the peer is told to connect
/// anew, with the answer to its next request. A Service of Kubernetes chooses an endpoint per connection, so this
/// is how producers that keep theirs open spread over new shards, and leave those that go.
const CONNECTION_AGE: Duration = Duration::from_mins(1);

/// What a peer may leave unread or unanswered for so long, where connections are few and stay, before it is cut off.
const UNREAD_TIME: Duration = Duration::from_secs(10);

/// How long to wait before accepting again after it failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`. The error says which.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: give an address that is free and ours"))
}

/// Prepares a connection on which an answer goes on for long: what is written leaves at once, and a peer that is gone
/// without a word, or reads nothing, does not keep it.
pub(crate) fn set_up_for_long(connection: &TcpStream) {
    // An address family that knows neither works as it is.
    let _ = connection.set_nodelay(true);
    let _ = set_tcp_user_timeout(connection, u32::try_from(UNREAD_TIME.as_millis()).unwrap_or(0));
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
        F: Fn() -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>> + 'static,
        S::Future: Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        Self::start_with(listener, None, service)
    }

    /// The same, with TLS if there is a certificate.
    pub(crate) fn start_with<F, S, B>(listener: TcpListener, tls: Option<Tls>, service: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>> + 'static,
        S::Future: Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        Self::start_for(listener, tls, move |_, _| service())
    }

    /// The same, with a service for each peer: it is asked for with the place, among the names that are expected, of the
    /// first that the peer's certificate is made out to, and with where the peer is. No place where everybody may connect.
    pub(crate) fn start_for<F, S, B>(listener: TcpListener, tls: Option<Tls>, service: F) -> Self
    where
        F: Fn(Option<usize>, SocketAddr) -> S + Send + Sync + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>> + 'static,
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
            let service = Arc::new(service);
            let accept = async {
                loop {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                    match listener.accept().await {
                        Ok((stream, peer)) => {
                            let (service, stopped, alive) = (service.clone(), stopped.clone(), connection.clone());
                            let tls = tls.clone();
                            let _ = stream.set_nodelay(true);
                            if tls.as_ref().is_some_and(Tls::is_for_peers) {
                                set_up_for_long(&stream);
                            }
                            tokio::spawn(async move {
                                match tls {
                                    None => connect(stream, service(None, peer), connection_age(), stopped).await,
                                    Some(tls) => {
                                        if let Some(stream) = tls.accept(stream).await {
                                            let service = service(tls.peer(&stream), peer);
                                            connect(stream, service, connection_age(), stopped).await;
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

async fn connect<I, S, B>(stream: I, service: S, age: Duration, mut stopped: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>> + 'static,
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
    let life = Arc::new(Life::default());
    let service = Living { service, life: life.clone() };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Until the first request nobody knows which protocol it is, so neither protocol's own timeout applies.
    let silent = async {
        tokio::time::sleep(HEAD_TIME).await;
        if life.asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let old = async {
        tokio::time::sleep(age).await;
        life.old.store(true, Ordering::Relaxed);
        if !life.http2.load(Ordering::Relaxed) {
            // Closed here and now, it might be just as the next request is on its way.
            std::future::pending::<()>().await;
        }
    };
    // Errors of a connection are the peer's business, and every request of ours has had its answer.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = silent => return,
        _ = stopped.wait_for(|stop| *stop) => {}
        () = old => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

fn connection_age() -> Duration {
    let half = CONNECTION_AGE / 2;
    half + half.mul_f64(random::fraction())
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Life {
    /// It has made a request.
    asked: AtomicBool,
    /// That was in HTTP/2.
    http2: AtomicBool,
    /// It has lived long enough: HTTP/1 says so with its next answer, HTTP/2 at once.
    old: AtomicBool,
}

/// A service that notes what it is asked with, and has the last answer of an old connection say that it is the last.
struct Living<S> {
    service: S,
    life: Arc<Life>,
}

type Answered<S> = Result<<S as Service<Request<Incoming>>>::Response, <S as Service<Request<Incoming>>>::Error>;

impl<S, B> Service<Request<Incoming>> for Living<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Map<S::Future, fn(Answered<S>) -> Answered<S>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let http2 = request.version() >= Version::HTTP_2;
        self.life.asked.store(true, Ordering::Relaxed);
        self.life.http2.store(http2, Ordering::Relaxed);
        let last = !http2 && self.life.old.load(Ordering::Relaxed);
        self.service.call(request).map(if last { with_close } else { std::convert::identity })
    }
}

fn with_close<B, E>(answer: Result<Response<B>, E>) -> Result<Response<B>, E> {
    answer.map(|mut response| {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

#[cfg(test)]
mod tests {
    use super::connect;
    use bytes::Bytes;
    use http::Response;
    use http_body_util::Full;
    use hyper::service::service_fn;
    use std::convert::Infallible;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::watch;

    /// What a connection of this age answers to so many requests, sent one after the other until it is closed.
    async fn answers(age: Duration, requests: usize) -> Vec<String> {
        let (mut peer, ours) = tokio::io::duplex(4096);
        let (_stop, stopped) = watch::channel(false);
        let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))));
        let connection = tokio::spawn(connect(ours, service, age, stopped));
        let mut answers = Vec::new();
        for _ in 0..requests {
            if peer.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.is_err() {
                break;
            }
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                if peer.read_buf(&mut answer).await.unwrap() == 0 {
                    break;
                }
            }
            let answer = String::from_utf8(answer).unwrap();
            let last = answer.contains("close");
            answers.push(answer);
            if last {
                assert_eq!(peer.read(&mut [0]).await.unwrap(), 0, "it is not closed");
                break;
            }
        }
        drop(peer);
        connection.await.unwrap();
        answers
    }

    #[tokio::test]
    async fn an_old_connection_is_closed_with_an_answer_and_never_without() {
        let young = answers(Duration::from_hours(1), 3).await;
        assert!(young.len() == 3 && young.iter().all(|answer| !answer.contains("close")), "{young:?}");
        let old = answers(Duration::ZERO, 1_000_000).await;
        assert!(old.last().is_some_and(|answer| answer.contains("connection: close")), "{:?}", old.last());
    }
}
