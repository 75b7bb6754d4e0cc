//! One attempt to deliver one event over HTTP.
//!
//! Every sink has a client of its own: its connections, and its share of the threads that resolve names. Names
//! are resolved by the system (`getaddrinfo`), on threads, because that call blocks; a sink whose name server does
//! not answer may use [`RESOLVER_THREADS`] of them and no more, so that other sinks still find some.
//!
//! Connections are made to addresses that the policy allows and to no others: what a name resolves to is looked at
//! before it is connected to, all of it, and an address that stands in the URI, which no resolver ever sees, as well.
//!
//! Redirects are not followed: a sink that has moved is a mistake in the configuration, and following would send
//! events to a place that nobody configured. May import `addresses` and `answer`.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::addresses::{Addresses, NotAllowed};
use super::answer::{Answer, retry_after};

/// Name look-ups of one sink at once. The runtime has 512 threads for blocking calls, and a fleet 32 sinks at most.
const RESOLVER_THREADS: usize = 4;

/// Bytes of an answer's body that are read so that its connection can be used again.
const DRAIN_BYTES: usize = 64 * 1024;

/// How long the rest of an answer may take before its connection is given up.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Idle connections are closed after this, before most servers do.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// The connections to one sink.
pub(super) struct Client {
    http: HyperClient<HttpsConnector<Guarded>, Full<Bytes>>,
    timeout: Duration,
}

impl Client {
    /// A client that gives each attempt `timeout`, keeps up to `connections` open, and goes nowhere but to `addresses`.
    pub(super) fn new(timeout: Duration, connections: usize, addresses: Arc<Addresses>) -> Self {
        let threads = Arc::new(Semaphore::new(RESOLVER_THREADS));
        let resolver = Resolver { threads, addresses: addresses.clone() };
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(Guarded { tcp, addresses });
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(connections)
            .build(connector);
        Self { http, timeout }
    }

    /// Sends the request and waits for the head of the answer.
    pub(super) async fn attempt(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = match tokio::time::timeout(self.timeout, self.http.request(request)).await {
            Err(_) => return Answer::TimedOut(self.timeout),
            Ok(Err(e)) => return self.broken(&e),
            Ok(Ok(response)) => response,
        };
        let (head, body) = response.into_parts();
        drain(body).await;
        match head.status {
            status if status.is_success() => Answer::Delivered(status),
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                let wait = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                Answer::Throttled(status, wait.and_then(|value| retry_after(value, jiff::Timestamp::now())))
            }
            status => Answer::Refused(status),
        }
    }

    fn broken(&self, error: &hyper_util::client::legacy::Error) -> Answer {
        let mut cause = error.source();
        let mut deepest = error.to_string();
        while let Some(inner) = cause {
            if let Some(unresolved) = inner.downcast_ref::<Unresolved>() {
                return Answer::Unreachable(unresolved.to_string());
            }
            if let Some(refused) = inner.downcast_ref::<NotAllowed>() {
                return Answer::Unreachable(refused.to_string());
            }
            if let Some(io) = inner.downcast_ref::<std::io::Error>() {
                match io.kind() {
                    std::io::ErrorKind::ConnectionRefused => {
                        return Answer::Unreachable("connection refused".to_owned());
                    }
                    std::io::ErrorKind::TimedOut => return Answer::TimedOut(self.timeout),
                    _ => {}
                }
            }
            deepest = inner.to_string();
            cause = inner.source();
        }
        let what = if error.is_connect() { "no connection" } else { "the connection broke" };
        Answer::Unreachable(format!("{what}: {deepest}"))
    }
}

/// A body read to its end leaves a connection that can be used again.
async fn drain(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
            left = rest;
        }
    };
    // Too slow: dropping the body closes the connection, and the answer counts all the same.
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}

#[derive(Debug, thiserror::Error)]
#[error("the name {name} does not resolve: {why}")]
struct Unresolved {
    name: String,
    why: String,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connects, but only where that is allowed.
#[derive(Clone)]
struct Guarded {
    tcp: HttpConnector<Resolver>,
    addresses: Arc<Addresses>,
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Some(Err(refused)) = literal(&uri).map(|address| self.addresses.check(address)) {
            return Box::pin(std::future::ready(Err(refused.into())));
        }
        let connecting = self.tcp.call(uri);
        Box::pin(async move { connecting.await.map_err(Into::into) })
    }
}

/// The address that stands in `uri`, if it is not a name.
fn literal(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[derive(Clone)]
struct Resolver {
    threads: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (threads, addresses) = (Arc::clone(&self.threads), Arc::clone(&self.addresses));
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let unresolved = |why: String| Unresolved { name: name.clone(), why };
            let permit = threads.acquire_owned().await.map_err(|e| unresolved(e.to_string()))?;
            let host = name.clone();
            // The permit goes along: an attempt may end before the look-up that it started.
            let found = tokio::task::spawn_blocking(move || {
                let found = (host.as_str(), 0).to_socket_addrs();
                drop(permit);
                found
            });
            let found = found.await.map_err(|e| unresolved(e.to_string()))?.map_err(|e| unresolved(e.to_string()))?;
            // One that is not allowed spoils all: who has put it there is not to be trusted with the others.
            found.as_slice().iter().try_for_each(|socket| addresses.check(socket.ip()))?;
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn an_address_in_a_uri_is_found_and_a_name_is_none() {
        for (uri, address) in [
            ("http://127.0.0.1:80/", Some("127.0.0.1")),
            ("https://[::1]/", Some("::1")),
            ("http://[::ffff:10.0.0.1]:8080/x", Some("::ffff:10.0.0.1")),
            ("http://localhost/", None),
            // Names to us: the system's resolver knows them, and what it says is looked at.
            ("http://2130706433/", None),
            ("http://127.1/", None),
        ] {
            let expected = address.map(|address| address.parse().unwrap());
            assert_eq!(literal(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
