//! `dispatcher sink`: a receiver that counts and verifies what it is sent, and fails, lags or hangs when told to.
//!
//! | request | what |
//! | --- | --- |
//! | `POST` any other path | an event, in binary or structured mode |
//! | `GET /summary` | [`tally::Summary`] |
//! | `GET /received?source=S` | `[[first,last],…]`: the indices of `S` that have arrived |
//! | `POST /reset` | forgets everything but the behaviour |
//! | `GET`, `PUT /behaviour` | [`behaviour::Behaviour`]; what a `PUT` leaves out has its default |
//! | `GET /healthz` | 200 |
//!
//! An event counts when its request is complete, even if the answer then takes its time and the sender gives up.

pub mod behaviour;
pub mod tally;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::signal::unix::{SignalKind, signal};

use crate::server::{self, Server};
use crate::{event, output, random};
use behaviour::Behaviour;
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
}

/// Runs a sink until it is told to stop.
pub async fn run(options: SinkOptions) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    options.behaviour.check().map_err(anyhow::Error::msg)?;
    let listener = server::bind(options.listen).await?;
    if let Some(path) = &options.addresses {
        output::write_addresses(path, listener.local_addr()?, None)?;
    }
    tracing::info!(listen = %listener.local_addr()?, "receiving");
    let sink = Arc::new(Sink { behaviour: RwLock::new(options.behaviour), tally: Mutex::default() });
    let server = Server::start(listener, move || {
        let sink = sink.clone();
        service_fn(move |request| {
            let sink = sink.clone();
            async move { Ok(sink.handle(request).await) }
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
    behaviour: RwLock<Behaviour>,
    tally: Mutex<Tally>,
}

impl Sink {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) => return text(StatusCode::BAD_REQUEST, format!("the body cannot be read: {e}")),
        };
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/summary") => json(&self.tally(Tally::summary)),
            (&Method::GET, "/received") => match query(&head.uri, "source") {
                Some(source) => json(&self.tally(|tally| tally.received(&source))),
                None => text(StatusCode::BAD_REQUEST, "say whose events: GET /received?source=S"),
            },
            (&Method::GET, "/behaviour") => json(&self.behaviour()),
            (&Method::GET, "/healthz") => text(StatusCode::OK, "ok"),
            (&Method::PUT, "/behaviour") => self.behave(&body),
            (&Method::POST, "/reset") => {
                self.tally(|tally| *tally = Tally::default());
                text(StatusCode::OK, "forgotten")
            }
            (&Method::POST, _) => self.receive(&head.headers, body).await,
            _ => text(StatusCode::NOT_FOUND, "send events as POST, or ask for /summary, /received or /behaviour"),
        }
    }

    async fn receive(&self, headers: &http::HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
        let event = match event::parse(headers, &body) {
            Ok(event) => event,
            Err(refusal) => {
                self.tally(Tally::invalid);
                return text(StatusCode::BAD_REQUEST, refusal.to_string());
            }
        };
        let behaviour = self.behaviour();
        let fails = random::chance(behaviour.fail_ratio);
        if fails || behaviour.hang {
            self.tally(Tally::failed_on_purpose);
        } else {
            self.tally(|tally| tally.event(&event));
        }
        if behaviour.hang {
            std::future::pending::<()>().await;
        }
        if behaviour.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        }
        if !fails {
            return text(StatusCode::OK, "");
        }
        let status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut response = text(status, "failing on purpose");
        if let Some(wait) = behaviour.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }

    fn behave(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let wanted = serde_json::from_slice::<Behaviour>(body).map_err(|e| e.to_string());
        match wanted.and_then(|wanted| wanted.check().map(|()| wanted)) {
            Ok(wanted) => {
                *self.behaviour.write().unwrap_or_else(PoisonError::into_inner) = wanted;
                tracing::info!(behaviour = ?wanted, "told to behave");
                json(&wanted)
            }
            Err(e) => text(StatusCode::BAD_REQUEST, format!("the behaviour is not valid: {e}")),
        }
    }

    fn behaviour(&self) -> Behaviour {
        *self.behaviour.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tally<T>(&self, with: impl FnOnce(&mut Tally) -> T) -> T {
        with(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The percent-decoded value of a parameter.
fn query(uri: &Uri, name: &str) -> Option<String> {
    let pair = uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    event::percent_decode(pair.as_bytes()).ok()
}

fn text(status: StatusCode, sentence: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(sentence.into()));
    *response.status_mut() = status;
    response
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(Full::from(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}
