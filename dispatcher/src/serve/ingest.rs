//! `POST /`: from request to durable event, or to an answer that says what to do instead.
//!
//! | status | when | what the producer does |
//! | --- | --- | --- |
//! | 202 | the event is on disk, or no sink wants it | nothing |
//! | 400 | it is not a valid event | mend it; trying again does not help |
//! | 404, 405 | another path, another method | `POST /` |
//! | 408 | the body did not come within [`BODY_TIME`] | try again |
//! | 413 | the body is larger than `maxEventBytes` | send less |
//! | 415 | it is not an event, or in a form not taken here | mend it |
//! | 429 | the backlog is at its limit, or too much is being received at once | wait as `Retry-After` says |
//! | 503 | the shard is stopping, or its log has failed | try another shard, or wait as `Retry-After` says |
//!
//! Memory: bodies under way are limited to [`RECEIVING_BYTES`] together, and the first that does not fit is
//! answered 429 and not kept. May import `filter`, `writer`, `log`, `metrics`, and the crate's `event` and `server`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use signalbox_contract::ShardConfig;
use tokio::sync::{Semaphore, watch};

use super::clock;
use super::filter::Filters;
use super::log::{NewRecord, OVERHEAD_BYTES, ShardLog, key_hash};
use super::metrics::{Metrics, Reject};
use super::shutdown::Phase;
use super::writer::Writer;
use crate::event::{self, Refusal};

/// How long the body of a request may take.
pub(super) const BODY_TIME: Duration = Duration::from_secs(10);

/// Bytes of bodies that may be under way at once, in units of [`PERMIT_BYTES`].
const RECEIVING_BYTES: usize = 64 * 1024 * 1024;

/// One permit of the budget. A request takes at least one.
const PERMIT_BYTES: u64 = 1024;

/// Of a body that is refused, this much is read and thrown away, so that its sender gets to the answer and the
/// connection can be used again.
const DISCARD_BYTES: usize = 4 * 1024 * 1024;

/// And for so long.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Seconds to wait when the backlog is full: deliveries have to make room.
const RETRY_AFTER_FULL: &str = "2";

/// Seconds to wait otherwise: by then another shard has the traffic, or this one is back.
const RETRY_AFTER_SOON: &str = "1";

/// What `POST /` works with. One for all connections.
pub(super) struct Ingest {
    config: Arc<ShardConfig>,
    filters: Filters,
    log: Arc<dyn ShardLog>,
    writer: Writer,
    metrics: Metrics,
    phase: watch::Receiver<Phase>,
    receiving: Semaphore,
    /// Bytes on their way into the log, not yet part of its backlog.
    storing: AtomicU64,
}

struct Rejection {
    reason: Reject,
    status: StatusCode,
    sentence: String,
}

fn reject(reason: Reject, status: StatusCode, sentence: impl Into<String>) -> Rejection {
    Rejection { reason, status, sentence: sentence.into() }
}

impl Ingest {
    /// Ingest into this log.
    pub(super) fn new(
        config: Arc<ShardConfig>,
        log: Arc<dyn ShardLog>,
        writer: Writer,
        metrics: Metrics,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let receiving = Semaphore::new(RECEIVING_BYTES / usize::try_from(PERMIT_BYTES).unwrap_or(1));
        let filters = Filters::new(&config.sinks);
        Self { config, filters, log, writer, metrics, phase, receiving, storing: AtomicU64::new(0) }
    }

    /// Answers one request. Never fails: every outcome is a response.
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let http1 = request.version() < Version::HTTP_2;
        match self.accept(request).await {
            Ok(()) => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::ACCEPTED;
                response
            }
            Err(rejection) => {
                self.metrics.rejected(rejection.reason);
                answer(&rejection, http1)
            }
        }
    }

    async fn accept(&self, request: Request<Incoming>) -> Result<(), Rejection> {
        let (head, body) = request.into_parts();
        if let Err(rejection) = self.admit(&head) {
            discard(body).await;
            return Err(rejection);
        }
        let (body, _permit) = self.receive(body).await?;
        let event = event::parse(&head.headers, body).map_err(|refusal| match refusal {
            Refusal::Malformed(reason) => reject(Reject::Malformed, StatusCode::BAD_REQUEST, reason),
            Refusal::Unsupported(reason) => {
                reject(Reject::UnsupportedMediaType, StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
            }
        })?;
        let Some(skip) = self.filters.skip(&event) else {
            self.metrics.unmatched();
            return Ok(());
        };
        let record =
            event::encode(&event).map_err(|e| reject(Reject::Malformed, StatusCode::BAD_REQUEST, e.to_string()))?;
        let _storing = self.reserve(record.len() as u64 + OVERHEAD_BYTES)?;
        let new = NewRecord {
            accepted_at_us: clock::now_us(),
            key: event.key().map(key_hash),
            skip,
            identity: event::identity(&event),
            record,
        };
        match self.writer.append(vec![new]).await {
            Ok(()) => {
                self.metrics.accepted();
                Ok(())
            }
            Err(e) => Err(reject(
                Reject::LogFailed,
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{e}: send the event again, to another shard or after this one has restarted"),
            )),
        }
    }

    /// What can be told from the head alone.
    fn admit(&self, head: &http::request::Parts) -> Result<(), Rejection> {
        if head.uri.path() != "/" {
            return Err(reject(
                Reject::WrongPath,
                StatusCode::NOT_FOUND,
                "there is nothing at this path: send events as POST /",
            ));
        }
        if head.method != Method::POST {
            return Err(reject(
                Reject::WrongMethod,
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{} is not allowed: send events as POST /", head.method),
            ));
        }
        if !self.phase.borrow().accepts() {
            return Err(reject(
                Reject::Stopping,
                StatusCode::SERVICE_UNAVAILABLE,
                "this shard is stopping: send the event again, to another one",
            ));
        }
        if self.log.backlog_bytes() >= self.config.backlog_limit_bytes {
            return Err(self.full());
        }
        Ok(())
    }

    /// Reads the body, within its limits of size, time and memory. The permit is held until the event is stored.
    async fn receive(&self, body: Incoming) -> Result<(Bytes, tokio::sync::SemaphorePermit<'_>), Rejection> {
        let limit = self.config.max_event_bytes;
        let too_large = || {
            reject(
                Reject::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {limit} bytes: send a smaller event, or a reference to the data"),
            )
        };
        // A body of unknown length may turn out to be as long as is allowed.
        let expected = body.size_hint().upper().unwrap_or(limit);
        if expected > limit {
            discard(body).await;
            return Err(too_large());
        }
        let permits = u32::try_from(expected / PERMIT_BYTES + 1).unwrap_or(u32::MAX);
        let Ok(permit) = self.receiving.try_acquire_many(permits) else {
            discard(body).await;
            return Err(reject(
                Reject::Overloaded,
                StatusCode::TOO_MANY_REQUESTS,
                "too much is being received at once: wait as Retry-After says",
            ));
        };
        let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
        match tokio::time::timeout(BODY_TIME, limited.collect()).await {
            Ok(Ok(collected)) => Ok((collected.to_bytes(), permit)),
            Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(e)) => Err(reject(
                Reject::BrokenBody,
                StatusCode::BAD_REQUEST,
                format!("the body ended early ({e}): send it whole"),
            )),
            Err(_) => Err(reject(
                Reject::SlowBody,
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} s: send it faster", BODY_TIME.as_secs()),
            )),
        }
    }

    /// Makes sure that what is being stored, together with what is, stays below the limit.
    fn reserve(&self, bytes: u64) -> Result<Reservation<'_>, Rejection> {
        let storing = self.storing.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let reservation = Reservation { storing: &self.storing, bytes };
        if self.log.backlog_bytes().saturating_add(storing) > self.config.backlog_limit_bytes {
            return Err(self.full());
        }
        Ok(reservation)
    }

    fn full(&self) -> Rejection {
        reject(
            Reject::BacklogFull,
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "the backlog is at its limit of {} bytes: wait as Retry-After says",
                self.config.backlog_limit_bytes
            ),
        )
    }
}

/// Given back when dropped: the event is in the backlog by then, or was not stored.
struct Reservation<'a> {
    storing: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.storing.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// An answer sent before the request was read is lost when the connection is closed on the rest of it.
async fn discard(mut body: Incoming) {
    let until = Instant::now() + DISCARD_TIME;
    let mut left = DISCARD_BYTES;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until.into(), body.frame()).await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
        left = rest;
    }
}

fn answer(rejection: &Rejection, http1: bool) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": rejection.sentence }).to_string();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = rejection.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match rejection.reason {
        Reject::BacklogFull => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_FULL));
        }
        Reject::Overloaded | Reject::Stopping | Reject::LogFailed => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SOON));
        }
        Reject::WrongMethod => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    // HTTP/2 has no such header: its connections are told to go away by the server.
    if http1 && matches!(rejection.reason, Reject::Stopping | Reject::LogFailed | Reject::SlowBody) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
