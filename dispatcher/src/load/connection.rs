//! A worker's way to the target: a connection of its own, or with HTTP/2 one that it shares.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::sync::Mutex;

use super::target::{Sender, Step, Target};

/// How a request ended, if not well.
pub(super) enum Failure {
    /// Answered other than 2xx, perhaps with a time to wait.
    Answered(StatusCode, Option<Duration>),
    /// Not answered.
    Error(&'static str),
}

const BROKEN: Failure = Failure::Error("broken");

/// An HTTP/2 connection that several workers send on.
#[derive(Default)]
pub(super) struct Shared {
    connection: Option<http2::SendRequest<Full<Bytes>>>,
    requests: u64,
}

enum Way {
    Own { connection: Option<http1::SendRequest<Full<Bytes>>>, requests: u64 },
    Shared(Arc<Mutex<Shared>>),
}

pub(super) struct Connection {
    target: Arc<Target>,
    reconnect_every: Option<u64>,
    way: Way,
    step: Step,
}

impl Connection {
    /// Not open yet. With `shared`, HTTP/2 on that.
    pub(super) fn new(target: Arc<Target>, reconnect_every: Option<u64>, shared: Option<Arc<Mutex<Shared>>>) -> Self {
        let way = shared.map_or(Way::Own { connection: None, requests: 0 }, Way::Shared);
        Self { target, reconnect_every: reconnect_every.filter(|&every| every > 0), way, step: Step::Answer }
    }

    /// The next request goes on a new connection: perhaps another shard takes it.
    pub(super) async fn forget(&mut self) {
        match &mut self.way {
            Way::Own { connection, .. } => *connection = None,
            Way::Shared(shared) => shared.lock().await.connection = None,
        }
    }

    /// How far the request has come that is being sent, or was given up.
    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// Sends one request, and reads the whole answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        match &mut self.way {
            Way::Own { connection, requests } => {
                if self.reconnect_every.is_some_and(|every| requests.is_multiple_of(every)) {
                    *connection = None;
                }
                *requests += 1;
                let mut open = match connection.take() {
                    Some(open) if open.is_ready() => open,
                    _ => match self.target.connect(&mut self.step).await {
                        Some(Sender::One(open)) => open,
                        _ => return Err(Failure::Error("connect")),
                    },
                };
                self.step = Step::Answer;
                let response = open.send_request(request).await.map_err(|_| BROKEN)?;
                let answer = read(response).await?;
                // Not ready when the server has closed it, which the next request then finds out.
                if open.ready().await.is_ok() {
                    *connection = Some(open);
                }
                answer
            }
            Way::Shared(shared) => {
                let mut open = Shared::open(shared, &self.target, self.reconnect_every, &mut self.step).await?;
                self.step = Step::Answer;
                open.ready().await.map_err(|_| BROKEN)?;
                let response = open.send_request(request).await.map_err(|_| BROKEN)?;
                read(response).await?
            }
        }
    }
}

impl Shared {
    async fn open(
        shared: &Mutex<Self>,
        target: &Target,
        reconnect_every: Option<u64>,
        step: &mut Step,
    ) -> Result<http2::SendRequest<Full<Bytes>>, Failure> {
        // Another worker may be connecting for all.
        *step = Step::Connect;
        let mut shared = shared.lock().await;
        let old = reconnect_every.is_some_and(|every| shared.requests.is_multiple_of(every));
        shared.requests += 1;
        match &shared.connection {
            Some(open) if !old && !open.is_closed() => Ok(open.clone()),
            _ => match target.connect(step).await {
                Some(Sender::Two(open)) => Ok(shared.connection.insert(open).clone()),
                _ => Err(Failure::Error("connect")),
            },
        }
    }
}

/// Reads the answer to its end. The outer error: there was no end.
async fn read(response: Response<Incoming>) -> Result<Result<(), Failure>, Failure> {
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| BROKEN)?;
    }
    if head.status.is_success() {
        return Ok(Ok(()));
    }
    let wait = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Ok(Err(Failure::Answered(head.status, wait.map(Duration::from_secs))))
}
