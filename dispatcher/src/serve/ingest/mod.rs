//! `POST /`: from request to durable events, or to an answer that says what to do instead.
//!
//! | status | when | what the producer does |
//! | --- | --- | --- |
//! | 202 | every event is on disk, or no sink wants it | nothing |
//! | 400 | it is not a valid event; in a batch, one of them is not | mend it; trying again does not help |
//! | 404, 405 | another path, another method | `POST /` |
//! | 408 | the body did not come within 10 s | try again |
//! | 413 | the body is larger than `maxEventBytes`, or its events could never be held | send less |
//! | 415 | it is not an event, or in a form not taken here | mend it |
//! | 429 | the backlog is at a limit, or too much is being received at once | wait as `Retry-After` says |
//! | 503 | the shard is stopping, its log has failed, or the shard that owns the key is away | as for 429, or another shard |
//! | 503 | no region is well, and events are to be refused | as for 429 |
//!
//! `OPTIONS /` answers the `CloudEvents` webhook validation. 410 is never answered: a shard that is there takes events.
//!
//! Memory: bodies under way are limited together, and the first that does not fit is answered 429 and not kept. May
//! import `filter`, `writer`, `log`, `metrics`, `traces`, `traffic`, `claiming`, and the crate's `event`, `claims` and `slots`.

mod answer;
mod body;
#[cfg(test)]
pub(super) mod fixtures;
mod held;
mod owner;
mod passing;
mod repeats;
mod room;
mod split;
mod store;
mod taking;
mod traffic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;

use super::metrics::{Metrics, Reject};
use super::traces::Traces;
use crate::event::{self, Refusal};
use answer::{Rejection, reject};
use body::Receiver;
use passing::Came;
use traffic::Traffic;

pub(super) use owner::{HandOver, Outcome};
pub(super) use passing::Passed;
pub(super) use room::reached;
pub(super) use store::{Routing, Store};
pub(super) use taking::Given;

/// What `POST /` works with. One for all connections.
pub(super) struct Ingest {
    receiver: Receiver,
    store: Arc<Store>,
    metrics: Metrics,
    traces: Traces,
    traffic: Traffic,
}

impl Ingest {
    /// Ingest of events of up to `max_event_bytes` into this store.
    pub(super) fn new(max_event_bytes: u64, store: Arc<Store>, metrics: Metrics, traces: Traces) -> Self {
        Self { receiver: Receiver::new(max_event_bytes), store, metrics, traces, traffic: Traffic::default() }
    }

    /// Resolves when no producer has sent anything for so long, and none waits for an answer.
    pub(super) async fn quiet(&self, span: Duration) {
        self.traffic.quiet(span).await;
    }

    /// Answers one request. Never fails: every outcome is a response.
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() == Method::OPTIONS && request.uri().path() == "/" {
            return answer::options(request.headers());
        }
        let _under_way = self.traffic.begin();
        let http1 = request.version() < Version::HTTP_2;
        match self.accept(request).await {
            Ok(()) => answer::accepted(),
            Err(rejection) => {
                self.metrics.rejected(rejection.reason);
                rejection.answer(http1)
            }
        }
    }

    async fn accept(&self, request: Request<Incoming>) -> Result<(), Rejection> {
        let came = Came { at: Instant::now(), http1: request.version() < Version::HTTP_2 };
        let started = self.traces.begin();
        let (head, body) = request.into_parts();
        if let Err(rejection) = self.admit(&head) {
            body::discard(body).await;
            return Err(rejection);
        }
        let (body, permit) = self.receiver.receive(body).await?;
        let events = event::parse_all(&head.headers, &body).map_err(|refusal| match refusal {
            Refusal::Malformed(reason) => reject(Reject::Malformed, StatusCode::BAD_REQUEST, reason),
            Refusal::Unsupported(reason) => {
                reject(Reject::UnsupportedMediaType, StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
            }
        })?;
        // The records are copies: what waits for the disk need not be there twice.
        drop((head, body));
        let spans = self.traces.accepting(started, &events);
        let stored = self.store.produced(&events, permit, came).await;
        if let Some(spans) = spans {
            spans.ended(stored.as_ref().map_or_else(|rejection| rejection.status, |()| StatusCode::ACCEPTED));
        }
        stored
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
        self.store.look()
    }
}
