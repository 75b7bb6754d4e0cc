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
//! | 503 | the shard is stopping, or its log has failed | try another shard, or wait as `Retry-After` says |
//!
//! `OPTIONS /` answers the `CloudEvents` webhook validation. 410 is never answered: a shard that is there takes events.
//!
//! Memory: bodies under way are limited together, and the first that does not fit is answered 429 and not kept. May
//! import `filter`, `writer`, `log`, `metrics`, `traces`, and the crate's `event`.

mod answer;
mod body;
mod owner;
mod room;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use signalbox_contract::ShardConfig;
use tokio::sync::watch;

use super::clock;
use super::filter::Filters;
use super::log::{LogStats, NewRecord, OVERHEAD_BYTES, ShardLog, key_hash};
use super::metrics::{Metrics, Reject};
use super::shutdown::Phase;
use super::traces::Traces;
use super::writer::{NotStored, Writer};
use crate::event::{self, Event, Refusal};
use answer::{Rejection, reject};
use body::Receiver;
use room::{NoRoom, Room};

pub(super) use owner::{HandOver, Outcome};
pub(super) use room::reached;

/// Seconds to wait for another shard to have the traffic, or this one to be back.
const RETRY_AFTER_SOON: u64 = 1;

/// What `POST /` works with. One for all connections.
pub(super) struct Ingest {
    filters: Filters,
    receiver: Receiver,
    room: Room,
    writer: Writer,
    metrics: Metrics,
    traces: Traces,
    phase: watch::Receiver<Phase>,
}

impl Ingest {
    /// Ingest into this log, which is like this now.
    pub(super) fn new(
        config: Arc<ShardConfig>,
        log: Arc<dyn ShardLog>,
        stats: LogStats,
        writer: Writer,
        metrics: Metrics,
        traces: Traces,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self {
            filters: Filters::new(&config.sinks),
            receiver: Receiver::new(config.max_event_bytes),
            room: Room::new(config, log, stats),
            writer,
            metrics,
            traces,
            phase,
        }
    }

    /// Answers one request. Never fails: every outcome is a response.
    pub(super) async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() == Method::OPTIONS && request.uri().path() == "/" {
            return answer::options(request.headers());
        }
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
        let started = self.traces.begin();
        let (head, body) = request.into_parts();
        if let Err(rejection) = self.admit(&head) {
            body::discard(body).await;
            return Err(rejection);
        }
        let (body, _permit) = self.receiver.receive(body).await?;
        let events = event::parse_all(&head.headers, &body).map_err(|refusal| match refusal {
            Refusal::Malformed(reason) => reject(Reject::Malformed, StatusCode::BAD_REQUEST, reason),
            Refusal::Unsupported(reason) => {
                reject(Reject::UnsupportedMediaType, StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
            }
        })?;
        // The records are copies: what waits for the disk need not be there twice.
        drop((head, body));
        let spans = self.traces.accepting(started, &events);
        let stored = self.store(&events).await;
        if let Some(spans) = spans {
            spans.ended(stored.as_ref().map_or_else(|rejection| rejection.status, |()| StatusCode::ACCEPTED));
        }
        stored
    }

    async fn store(&self, events: &[Event]) -> Result<(), Rejection> {
        let records = self.records(events);
        if records.is_empty() {
            return Ok(());
        }
        let bytes = records.iter().map(|new| new.record.len() as u64 + OVERHEAD_BYTES).sum();
        let count = records.len() as u64;
        let reservation = self.room.reserve(bytes, count).map_err(no_room)?;
        let queued = Instant::now();
        match self.writer.append(records).await {
            Ok(()) => {
                reservation.stored();
                self.metrics.accepted(count, queued.elapsed());
                Ok(())
            }
            Err(NotStored::Full) => Err(reject(
                Reject::DiskFull,
                StatusCode::SERVICE_UNAVAILABLE,
                "the disk of this shard is full: send the event again, to another shard or when Retry-After is over",
            )
            .after(RETRY_AFTER_SOON)),
            Err(NotStored::Ended(e)) => Err(reject(
                Reject::LogFailed,
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{e}: send the event again, to another shard or after this one has restarted"),
            )
            .after(RETRY_AFTER_SOON)),
        }
    }

    /// The records of those events that some sink wants.
    fn records(&self, events: &[Event]) -> Vec<NewRecord> {
        let accepted_at_us = clock::now_us();
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let Some(skip) = self.filters.skip(event) else {
                self.metrics.unmatched();
                continue;
            };
            records.push(NewRecord {
                accepted_at_us,
                key: event.key().map(key_hash),
                skip,
                identity: event::identity(event),
                record: event.record().clone(),
            });
        }
        records
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
            )
            .after(RETRY_AFTER_SOON));
        }
        self.room.look().map_err(no_room)
    }
}

fn no_room(why: NoRoom) -> Rejection {
    match why {
        NoRoom::Full(sentence, seconds) => {
            reject(Reject::BacklogFull, StatusCode::TOO_MANY_REQUESTS, sentence).after(seconds)
        }
        NoRoom::TooLarge(sentence) => reject(Reject::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, sentence),
    }
}
