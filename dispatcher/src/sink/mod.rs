//! `dispatcher sink`: a receiver that counts and verifies what it is sent, and fails, lags or hangs when told to.
//!
//! | request | what |
//! | --- | --- |
//! | `POST` any other path | an event, in binary or structured mode, or a batch |
//! | `GET /summary` | [`tally::Summary`] |
//! | `GET /verify?source=S&count=N` | [`tally::Verification`]; 200 if verified, else 409 |
//! | `GET /received?source=S` | `[[first,last],…]`: the indices of `S` that have arrived |
//! | `GET /latencies` | `[[microseconds,events],…]`: how long events took, of all that have arrived |
//! | `POST /reset` | forgets everything but the behaviour |
//! | `GET`, `PUT /behaviour` | [`behaviour::Behaviour`]; what a `PUT` leaves out has its default |
//! | `GET /healthz` | 200 |
//!
//! An event counts when its request is complete, even if the answer then takes its time and the sender gives up.

mod answer;
mod arrival;
pub mod behaviour;
mod latency;
mod limit;
pub mod signature;
pub mod tally;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::signal::unix::{SignalKind, signal};

use crate::server::{self, Server};
use crate::{event, output, random};
use answer::{AnswerBody, Closed, json, slow, text};
use arrival::Arrival;
use behaviour::Behaviour;
use limit::Limit;
use signature::{Secrets, Verdict};
use tally::Tally;

/// Largest body that is taken.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// How long connections may take to end after a signal.
const STOP_TIME: Duration = Duration::from_secs(1);

/// What `dispatcher sink` is told on the command line.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// Where events and questions come in.
    pub listen: SocketAddr,
    /// How to behave from the start.
    pub behaviour: Behaviour,
    /// Where to write down the address once it is bound.
    pub addresses: Option<PathBuf>,
    /// The secrets that signatures are verified with. Default: they are not looked at.
    pub signing_secret: Option<PathBuf>,
}

/// Runs a sink until it is told to stop.
pub async fn run(options: SinkOptions) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    options.behaviour.check().map_err(anyhow::Error::msg)?;
    let secrets = options.signing_secret.map(|path| {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("--signing-secret {} cannot be read: give the path of a file", path.display()))?;
        Secrets::read(&text).map_err(anyhow::Error::msg).with_context(|| format!("{}", path.display()))
    });
    let secrets = secrets.transpose()?;
    let listener = server::bind(options.listen).await?;
    if let Some(path) = &options.addresses {
        output::write_addresses(path, listener.local_addr()?, None, None)?;
    }
    tracing::info!(listen = %listener.local_addr()?, "receiving");
    let sink = Arc::new(Sink {
        behaviour: RwLock::new(Arc::new(options.behaviour)),
        tally: Mutex::default(),
        limit: Mutex::default(),
        turn: AtomicU64::new(0),
        secrets,
    });
    let server = Server::start(listener, move || {
        let sink = sink.clone();
        service_fn(move |request| {
            let sink = sink.clone();
            async move { sink.handle(request).await }
        })
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // A request that was told to hang would hold this up for ever.
    let _ = tokio::time::timeout(STOP_TIME, server.stop()).await;
    Ok(())
}

struct Sink {
    behaviour: RwLock<Arc<Behaviour>>,
    tally: Mutex<Tally>,
    limit: Mutex<Limit>,
    /// Requests that have had a status in turn.
    turn: AtomicU64,
    secrets: Option<Secrets>,
}

impl Sink {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Closed> {
        let (head, mut body) = request.into_parts();
        if head.method == Method::POST && head.uri.path() != "/reset" {
            return self.receive(&head.headers, body).await;
        }
        let body = match Limited::new(&mut body, MAX_BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) => return Ok(text(StatusCode::BAD_REQUEST, format!("the body cannot be read: {e}"))),
        };
        Ok(match (&head.method, head.uri.path()) {
            (&Method::GET, "/summary") => json(StatusCode::OK, &self.tally(Tally::summary)),
            (&Method::GET, "/verify") => self.verify(&head.uri),
            (&Method::GET, "/received") => match query(&head.uri, "source") {
                Some(source) => json(StatusCode::OK, &self.tally(|tally| tally.received(&source))),
                None => text(StatusCode::BAD_REQUEST, "say whose events: GET /received?source=S"),
            },
            (&Method::GET, "/latencies") => json(StatusCode::OK, &self.tally(|tally| tally.latencies())),
            (&Method::GET, "/behaviour") => json(StatusCode::OK, &*self.behaviour()),
            (&Method::GET, "/healthz") => text(StatusCode::OK, "ok"),
            (&Method::PUT, "/behaviour") => self.behave(&body),
            (&Method::POST, _) => {
                self.tally(|tally| *tally = Tally::default());
                text(StatusCode::OK, "forgotten")
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "send events as POST, or ask for /summary, /verify, /received, /latencies or /behaviour",
            ),
        })
    }

    /// A request with events. Whatever is looked at in the body decides whether it is kept or dropped as it comes.
    async fn receive(&self, headers: &HeaderMap, body: Incoming) -> Result<Response<AnswerBody>, Closed> {
        let in_the_body = arrival::is_in_the_body(headers);
        let body = match read(body, in_the_body || self.secrets.is_some()).await {
            Ok(body) => body,
            Err(e) => return Ok(text(StatusCode::BAD_REQUEST, format!("the body cannot be read: {e}"))),
        };
        if let Some(secrets) = &self.secrets {
            let verdict = secrets.check(headers, &body, jiff::Timestamp::now().as_second());
            self.tally(|tally| tally.signature(verdict));
            if verdict != Verdict::Valid {
                return Ok(text(StatusCode::UNAUTHORIZED, "the signature is missing or not valid"));
            }
        }
        let events = if in_the_body {
            arrival::of_body(headers, &body)
        } else {
            arrival::of_headers(headers).map(|event| vec![event])
        };
        match events {
            Ok(events) => self.answer(&events).await,
            Err(reason) => {
                self.tally(Tally::invalid);
                Ok(text(StatusCode::BAD_REQUEST, reason))
            }
        }
    }

    /// Counts events, and answers as told.
    async fn answer(&self, events: &[Arrival<'_>]) -> Result<Response<AnswerBody>, Closed> {
        let behaviour = self.behaviour();
        let meant = |event: &Arrival<'_>| {
            behaviour.only.as_ref().is_none_or(|only| only.fits(&event.event_type, &event.source, event.key.as_deref()))
        };
        if !events.iter().any(meant) {
            self.count(events);
            return Ok(text(StatusCode::OK, ""));
        }
        if let Some(rate) = behaviour.max_rate_per_second {
            let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
            let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
            if !limit.take(count, rate, Instant::now()) {
                self.tally(Tally::failed_on_purpose);
                return Ok(wait(
                    text(StatusCode::TOO_MANY_REQUESTS, "above maxRatePerSecond"),
                    Some(behaviour.retry_after_seconds.unwrap_or(1)),
                ));
            }
        }
        let turn = if behaviour.status_sequence.is_empty() { 0 } else { self.turn.fetch_add(1, Ordering::Relaxed) };
        let chance = if behaviour.fail_ratio > 0.0 { random::fraction() } else { 1.0 };
        let status = StatusCode::from_u16(behaviour.status_of(turn, chance)).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let fails = !status.is_success() || behaviour.hang || behaviour.close_connections;
        // Whether status 2xx was asked for as a failure or not: its sender takes it for delivered.
        if fails {
            self.tally(Tally::failed_on_purpose);
        } else {
            self.count(events);
        }
        if behaviour.hang {
            std::future::pending::<()>().await;
        }
        if behaviour.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        }
        if behaviour.close_connections {
            return Err(Closed);
        }
        let response = match behaviour.byte_delay_ms {
            Some(pause) => slow(status, Duration::from_millis(pause)),
            None => text(status, if fails { "failing on purpose" } else { "" }),
        };
        Ok(wait(response, behaviour.retry_after_seconds.filter(|_| fails)))
    }

    fn count(&self, events: &[Arrival<'_>]) {
        let now_us = jiff::Timestamp::now().as_microsecond();
        self.tally(|tally| events.iter().for_each(|event| tally.event(event, now_us)));
    }

    fn verify(&self, uri: &Uri) -> Response<AnswerBody> {
        let count = query(uri, "count").and_then(|count| count.parse().ok());
        let (Some(source), Some(count)) = (query(uri, "source"), count) else {
            return text(StatusCode::BAD_REQUEST, "say whose events, and how many: GET /verify?source=S&count=N");
        };
        let verification = self.tally(|tally| tally.verify(&source, count));
        json(if verification.verified { StatusCode::OK } else { StatusCode::CONFLICT }, &verification)
    }

    fn behave(&self, body: &[u8]) -> Response<AnswerBody> {
        let wanted = serde_json::from_slice::<Behaviour>(body).map_err(|e| e.to_string());
        match wanted.and_then(|wanted| wanted.check().map(|()| wanted)) {
            Ok(wanted) => {
                tracing::info!(behaviour = ?wanted, "told to behave");
                let response = json(StatusCode::OK, &wanted);
                *self.behaviour.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(wanted);
                self.turn.store(0, Ordering::Relaxed);
                response
            }
            Err(e) => text(StatusCode::BAD_REQUEST, format!("the behaviour is not valid: {e}")),
        }
    }

    fn behaviour(&self) -> Arc<Behaviour> {
        self.behaviour.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tally<T>(&self, with: impl FnOnce(&mut Tally) -> T) -> T {
        with(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a body to its end, and keeps it if that is needed.
async fn read(mut body: Incoming, keep: bool) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    if keep {
        return Ok(Limited::new(body, MAX_BODY_BYTES).collect().await?.to_bytes());
    }
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(Bytes::new())
}

fn wait(mut response: Response<AnswerBody>, seconds: Option<u64>) -> Response<AnswerBody> {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The percent-decoded value of a parameter.
fn query(uri: &Uri, name: &str) -> Option<String> {
    let pair = uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    event::percent_decode(pair.as_bytes()).ok()
}
