//! What other shards say to this one: messages for its claims, events that are passed on to it, and those that shards of
//! other regions give away.
//!
//! | status | when | what the sender does |
//! | --- | --- | --- |
//! | 200 | events: what became of each part is in the body | as it says |
//! | 204 | a message was heard, or there is no room for it | nothing: what matters is said again |
//! | 400 | it is not understood: another version | nothing better |
//! | 421 | it is for another shard, or region: an address has changed hands | goes by the next table |
//! | 503 | not now: starting, or too much at once | tries again |
//!
//! A shard that is stopping says so of each part, as something that does not concern the producer. May import `claiming`
//! and `ingest`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router as Routes;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::whereabouts::Whereabouts;
use super::wire::{self, Address, Answers, PartAnswer, Unread};
use super::{EVENTS_PATH, MESSAGES_PATH, REGIONS_PATH};
use crate::claims::Ordinal;
use crate::event;
use crate::serve::claiming::Router;
use crate::serve::clock;
use crate::serve::ingest::{Passed, Store};

/// How long a request may take to be received: less than its sender waits for the answer.
const TIME: Duration = Duration::from_secs(3);

/// How long events then wait for their slot. Short, because others are in the same batch: their sender holds them.
const HOLD_TIME: Duration = Duration::from_millis(200);

/// Most bytes of one body: the largest event there may be, with what stands around it.
const MAX_BYTES: usize = 48 * 1024 * 1024;

/// Bytes of bodies at once. Others wait their turn.
const ALL_BYTES: usize = 2 * MAX_BYTES;

/// What they are counted in.
const UNIT_BYTES: usize = 1024;

/// Where other shards come in. Closed until what they speak to is there, and for ever in a shard without a number.
pub(in crate::serve) type Door = OnceLock<Inbound>;

/// What other shards speak to.
pub(in crate::serve) struct Inbound {
    fleet: String,
    region: String,
    ordinal: Ordinal,
    router: Arc<dyn Router>,
    store: Arc<Store>,
    whereabouts: Arc<Whereabouts>,
    memory: Arc<Semaphore>,
}

impl Inbound {
    /// For the shard that `address` is from.
    pub(super) fn new(
        address: (&str, &str, Ordinal),
        router: Arc<dyn Router>,
        store: Arc<Store>,
        whereabouts: Arc<Whereabouts>,
    ) -> Self {
        let (fleet, region, ordinal) = address;
        let memory = Arc::new(Semaphore::new(ALL_BYTES / UNIT_BYTES));
        Self { fleet: fleet.to_owned(), region: region.to_owned(), ordinal, router, store, whereabouts, memory }
    }

    /// Reads a body, when there is memory for it.
    async fn receive(&self, body: Body, until: Instant) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
        let bytes = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        if bytes > MAX_BYTES {
            return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, format!("send at most {MAX_BYTES} bytes at once")));
        }
        let units = u32::try_from(bytes / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let busy = || Refused(StatusCode::SERVICE_UNAVAILABLE, "too much is being received at once".to_owned());
        let read = async {
            let permit = self.memory.clone().acquire_many_owned(units).await.map_err(|_| busy())?;
            let body = Limited::new(body, MAX_BYTES).collect().await;
            let body = body.map_err(|e| Refused(StatusCode::BAD_REQUEST, format!("the body ended early ({e})")))?;
            Ok((body.to_bytes(), permit))
        };
        timeout_at(until, read).await.unwrap_or_else(|_| Err(busy()))
    }

    /// Whether this shard is meant. Then it is known where the other is.
    fn check(&self, address: &Address, at: SocketAddr) -> Result<(), Refused> {
        let Address { fleet, region, from, to } = address;
        if (fleet, region, *to) == (&self.fleet, &self.region, self.ordinal) {
            self.whereabouts.note(*from, at.ip().to_canonical());
            return Ok(());
        }
        let here = format!("shard {} of fleet {} in region {}", self.ordinal, self.fleet, self.region);
        let sentence = format!("this is {here}, and not shard {to} of fleet {fleet} in region {region}");
        Err(Refused(StatusCode::MISDIRECTED_REQUEST, sentence))
    }

    async fn hear(&self, body: Body, at: SocketAddr) -> Result<Response, Refused> {
        let (body, _permit) = self.receive(body, Instant::now() + TIME).await?;
        let (address, parcel) = wire::parcel(body, clock::now_us())?;
        self.check(&address, at)?;
        if let Some(parcel) = parcel {
            self.router.heard(address.from, parcel);
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn take(&self, body: Body, at: SocketAddr) -> Result<Response, Refused> {
        let (body, _permit) = self.receive(body, Instant::now() + TIME).await?;
        let until = Instant::now() + HOLD_TIME;
        let (address, wire::Batch { epoch, parts }) = wire::batch(body)?;
        self.check(&address, at)?;
        let passed = join_all(parts.into_iter().map(|part| self.store(part, epoch, until))).await;
        Ok(told(passed))
    }

    /// Takes what a shard of another region gives away.
    async fn take_given(&self, body: Body) -> Result<Response, Refused> {
        let (body, permit) = self.receive(body, Instant::now() + TIME).await?;
        let (fleet, given) = wire::given(body, clock::now_us())?;
        if fleet != self.fleet || given.to != self.region || given.from == self.region {
            let here = format!("a shard of fleet {} in region {}", self.fleet, self.region);
            let sentence = format!("this is {here}, and not of fleet {fleet} in region {}", given.to);
            return Err(Refused(StatusCode::MISDIRECTED_REQUEST, sentence));
        }
        let (store, until) = (self.store.clone(), Instant::now() + HOLD_TIME);
        // Goes on when the giver is gone: what is stored then is known when it comes again.
        let taking = tokio::spawn(async move {
            let passed = store.taken(given, until.into_std()).await;
            drop(permit);
            passed
        });
        let passed = taking.await.unwrap_or_else(|_| Passed::Later("it was interrupted".to_owned()));
        Ok(told(vec![passed]))
    }

    async fn store(&self, records: Vec<Bytes>, epoch: u64, until: Instant) -> Passed {
        match records.into_iter().map(event::decode).collect::<Result<Vec<_>, _>>() {
            Ok(events) => self.store.passed(&events, epoch, until.into_std()).await,
            Err(e) => Passed::Refused(StatusCode::BAD_REQUEST, format!("the owner does not understand it: {e}"), None),
        }
    }
}

/// What became of parts, as it is answered.
fn told(passed: Vec<Passed>) -> Response {
    let mut answers = Answers { table: None, parts: Vec::with_capacity(passed.len()) };
    for passed in passed {
        answers.parts.push(match passed {
            Passed::Stored => PartAnswer::Stored,
            Passed::Redirect(table) => {
                // The newest: answers were given at different moments.
                if answers.table.as_ref().is_none_or(|before| before.epoch < table.epoch) {
                    answers.table = Some((*table).clone());
                }
                PartAnswer::Redirect
            }
            Passed::Refused(status, sentence, seconds) => {
                PartAnswer::Refused { status: status.as_u16(), sentence, seconds }
            }
            Passed::Later(sentence) => PartAnswer::Later(sentence),
        });
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, wire::of_answers(&answers)).into_response()
}

/// What a shard is told whose request is not taken.
struct Refused(StatusCode, String);

impl From<Unread> for Refused {
    fn from(unread: Unread) -> Self {
        Self(StatusCode::BAD_REQUEST, unread.to_string())
    }
}

/// The routes for shards. Each connection brings along where it is from, as [`ConnectInfo`].
pub(in crate::serve) fn router(door: Arc<Door>) -> Routes {
    let messages =
        async |State(door): State<Arc<Door>>, ConnectInfo(at): ConnectInfo<SocketAddr>, request: Request| match door
            .get()
        {
            Some(inbound) => answered(inbound.hear(request.into_body(), at).await),
            None => closed(),
        };
    let events =
        async |State(door): State<Arc<Door>>, ConnectInfo(at): ConnectInfo<SocketAddr>, request: Request| match door
            .get()
        {
            Some(inbound) => answered(inbound.take(request.into_body(), at).await),
            None => closed(),
        };
    let given = async |State(door): State<Arc<Door>>, request: Request| match door.get() {
        Some(inbound) => answered(inbound.take_given(request.into_body()).await),
        None => closed(),
    };
    let routes = Routes::new().route(MESSAGES_PATH, post(messages)).route(EVENTS_PATH, post(events));
    routes.route(REGIONS_PATH, post(given)).with_state(door)
}

fn answered(result: Result<Response, Refused>) -> Response {
    result.unwrap_or_else(|Refused(status, sentence)| (status, format!("{sentence}\n")).into_response())
}

fn closed() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "this shard takes part in no routing yet\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::claiming::{Handed, Way};
    use crate::serve::ingest::fixtures::{FakeOwners, FakeRouter, Fixture, config, event};
    use crate::serve::ingest::{Given, Outcome};
    use crate::serve::log::{Origin, SinkSet, key_hash};

    #[tokio::test]
    async fn what_a_giver_has_left_behind_takes_memory_until_it_is_stored_or_given_up() {
        let router = FakeRouter::new(&[("a", Way::Hold)]);
        let owners = FakeOwners::new(|_, _| Outcome::Unreachable("nobody is asked".to_owned()));
        let fixture = Fixture::new(config(), router.clone(), owners);
        let inbound = Inbound::new(("orders", "eu", 0), router.clone(), fixture.store.clone(), Arc::default());
        let origin = Origin { epoch: 0, log: 9, position: 1 };
        let (key, record) = (Some(key_hash("a")), event("1", "a").record().clone());
        let waiting = SinkSet::default().with(0);
        let events = vec![Handed { origin, accepted_at_us: 5, key, waiting, identity: 1, record }];
        let (from, to, sinks) = ("us".to_owned(), "eu".to_owned(), vec!["a".to_owned()]);
        let body = wire::of_given("orders", &Given { from, to, log: 9, sinks, events }, clock::now_us());
        let all = inbound.memory.available_permits();
        tokio::select! {
            biased;
            _ = inbound.take_given(Body::from(body)) => panic!("it is answered while it is held"),
            () = async { while *router.asked.lock().unwrap() == 0 { tokio::task::yield_now().await; } } => {}
        }
        assert!(inbound.memory.available_permits() < all, "it is held, and counts for nothing");
        router.change(&[("a", Way::Here)]);
        while inbound.memory.available_permits() < all {
            tokio::task::yield_now().await;
        }
        assert_eq!(fixture.stored(), ["1"]);
    }
}
