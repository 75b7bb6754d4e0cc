//! One attempt to deliver one event over HTTP, and what came of it in one sentence.
//!
//! Every sink has a client of its own: its connections, and its share of the threads that resolve names. Names
//! are resolved by the system (`getaddrinfo`), on threads, because that call blocks; a sink whose name server does
//! not answer may use [`RESOLVER_THREADS`] of them and no more, so that other sinks still find some.
//!
//! Redirects are not followed: a sink that has moved is a mistake in the configuration, and following would send
//! events to a place that nobody configured. May import nothing of this crate.

use std::error::Error as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

/// Name look-ups of one sink at once. The runtime has 512 threads for blocking calls, and a fleet 32 sinks at most.
const RESOLVER_THREADS: usize = 4;

/// Bytes of an answer's body that are read so that its connection can be used again.
const DRAIN_BYTES: usize = 64 * 1024;

/// How long the rest of an answer may take before its connection is given up.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Idle connections are closed after this, before most servers do.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx.
    Delivered,
    /// 429 or 503, with the wait that the sink asked for, if it did.
    Throttled(StatusCode, Option<Duration>),
    /// Any other status.
    Refused(StatusCode),
    /// No head of an answer within the timeout.
    TimedOut(Duration),
    /// No connection, or it broke: the reason.
    Unreachable(String),
}

impl Answer {
    /// What to tell people, unless it is a success. Without the payload.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Delivered => None,
            Self::Throttled(status, Some(wait)) => {
                Some(format!("answered {} and asked to wait {}", status.as_u16(), seconds(*wait)))
            }
            Self::Refused(status) if status.is_redirection() => {
                Some(format!("answered {}: redirects are not followed", status.as_u16()))
            }
            Self::Throttled(status, None) | Self::Refused(status) => Some(format!("answered {}", status.as_u16())),
            Self::TimedOut(timeout) => Some(format!("no answer within {}", seconds(*timeout))),
            Self::Unreachable(why) => Some(why.clone()),
        }
    }
}

/// The connections to one sink.
#[derive(Clone)]
pub(super) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    timeout: Duration,
}

impl Client {
    /// A client that gives each attempt `timeout` and keeps up to `connections` open.
    pub(super) fn new(timeout: Duration, connections: usize) -> Self {
        let resolver = Resolver { threads: Arc::new(Semaphore::new(RESOLVER_THREADS)) };
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeout));
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
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
            status if status.is_success() => Answer::Delivered,
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

/// `Retry-After` as seconds or as an HTTP date.
fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Duration::try_from(now.until(date.timestamp()).ok()?).unwrap_or_default())
}

/// 5s, 1.5s, 0.05s.
fn seconds(span: Duration) -> String {
    format!("{}s", span.as_secs_f64())
}

#[derive(Debug, thiserror::Error)]
#[error("the name {name} does not resolve: {why}")]
struct Unresolved {
    name: String,
    why: String,
}

#[derive(Clone)]
struct Resolver {
    threads: Arc<Semaphore>,
}

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unresolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let threads = Arc::clone(&self.threads);
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
            found.await.map_err(|e| unresolved(e.to_string()))?.map_err(|e| unresolved(e.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::retry_after;
    use std::time::Duration;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
