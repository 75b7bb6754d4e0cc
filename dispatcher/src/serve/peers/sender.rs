//! The task of one link: makes the connection when there is something to send, and makes it anew when it is gone.
//!
//! ```text
//! nothing waits --> no connection is made          connected --> as much at once as the queue allows
//! no connection --> who waits is told at once; the next attempt after a pause that grows
//! unused for a while --> the task ends, and the connection with it
//! ```
//!
//! A server tells its connections to go away now and then: what was not sent goes on the next one. May import `ingest`'s
//! outcome.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::sync::Notify;

use super::connect::{Connector, Sender};
use super::queue::{Flying, Job, Part, Queue};
use super::whereabouts::Whereabouts;
use super::wire::{self, Address, PartAnswer};
use super::{EVENTS_PATH, MESSAGES_PATH};
use crate::serve::clock;
use crate::serve::ingest::Outcome;

/// The first pause before another attempt to connect, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// How long an answer may take: longer than the other side waits for what it needs.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The way to one shard at one address.
#[derive(Default)]
pub(super) struct Link {
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Link {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something waits in the queue.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Who a link is between, and how it is made.
pub(super) struct Ends {
    pub(super) connector: Arc<Connector>,
    pub(super) whereabouts: Arc<Whereabouts>,
    pub(super) address: Address,
    /// Host and port.
    pub(super) host: String,
    /// How long a link is kept that nobody uses.
    pub(super) idle: Duration,
}

impl Ends {
    async fn connect(&self) -> Result<Sender, String> {
        let (shard, heard_from) = (self.address.to, self.whereabouts.of(self.address.to));
        let connected = self.connector.connect(&self.host, heard_from).await;
        if let (Err(_), Some(address)) = (&connected, heard_from) {
            self.whereabouts.forget(shard, address);
        }
        connected
    }
}

/// Sends what is in the queue of `link`, until it is unused and `may_end` agrees.
pub(super) async fn run(link: Arc<Link>, ends: Arc<Ends>, may_end: impl Fn() -> bool) {
    let mut sender: Option<Sender> = None;
    let mut connecting: Option<BoxFuture<'static, Result<Sender, String>>> = None;
    let mut under_way = FuturesUnordered::new();
    let mut flying = Flying::default();
    let mut attempts = Attempts::default();
    loop {
        sender = sender.filter(|sender| !sender.is_closed());
        if sender.is_none() && connecting.is_none() && !link.queue().is_empty() {
            let (ends, pause) = (ends.clone(), attempts.pause());
            connecting = Some(Box::pin(async move {
                tokio::time::sleep(pause).await;
                ends.connect().await
            }));
        }
        if let Some(sender) = &sender {
            while let Some(job) = take(&link, &flying) {
                flying.begun(job.kind());
                under_way.push(carry(sender.clone(), ends.clone(), job));
            }
        }
        let attempt = async {
            match &mut connecting {
                Some(connecting) => connecting.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            connected = attempt => {
                connecting = None;
                match connected {
                    Ok(connected) => sender = Some(connected),
                    Err(sentence) => {
                        attempts.failed(&ends, &sentence);
                        link.queue().fail(&sentence);
                    }
                }
            }
            Some(carried) = under_way.next() => {
                let Carried { kind, unsent, broken } = carried;
                flying.ended(kind);
                match broken {
                    None => attempts.succeeded(&ends),
                    Some(sentence) => {
                        attempts.failed(&ends, &sentence);
                        sender = None;
                    }
                }
                if let Some(job) = unsent {
                    link.queue().put_back(job);
                }
            }
            () = link.wake.notified() => {}
            () = tokio::time::sleep(ends.idle), if flying == Flying::default() => {
                if may_end() {
                    return;
                }
            }
        }
    }
}

fn take(link: &Link, flying: &Flying) -> Option<Job> {
    link.queue().next(flying)
}

/// How attempts went lately.
#[derive(Default)]
struct Attempts {
    failures: u32,
    told: bool,
}

impl Attempts {
    fn pause(&self) -> Duration {
        let (first, longest) = PAUSE;
        match self.failures {
            0 => Duration::ZERO,
            failures => longest.min(first * 2_u32.saturating_pow(failures.min(10) - 1)),
        }
    }

    fn failed(&mut self, ends: &Ends, sentence: &str) {
        self.failures = self.failures.saturating_add(1);
        // The first may be a connection that had its time.
        if self.failures == 3 {
            self.told = true;
            tracing::warn!(shard = ends.address.to, address = ends.host, reason = sentence, "a shard is not reached");
        }
    }

    fn succeeded(&mut self, ends: &Ends) {
        self.failures = 0;
        if std::mem::take(&mut self.told) {
            tracing::info!(shard = ends.address.to, address = ends.host, "the shard is reached again");
        }
    }
}

/// What became of a job.
struct Carried {
    kind: usize,
    /// It was not sent, for certain.
    unsent: Option<Job>,
    /// The connection is of no use any more.
    broken: Option<String>,
}

async fn carry(sender: Sender, ends: Arc<Ends>, job: Job) -> Carried {
    let kind = job.kind();
    let (path, body) = match &job {
        Job::Hello => (MESSAGES_PATH, wire::of_hello(&ends.address)),
        Job::Words(parcel) | Job::Transfer(parcel) => {
            (MESSAGES_PATH, wire::of_parcel(&ends.address, parcel, clock::now_us()))
        }
        Job::Batch(parts) => {
            let epoch = parts.first().map_or(0, |part| part.epoch);
            let records = parts.iter().map(|part| part.records.clone()).collect();
            (EVENTS_PATH, wire::of_batch(&ends.address, &wire::Batch { epoch, parts: records }))
        }
    };
    let answered = tokio::time::timeout(ANSWER_TIME, post(sender, path, body)).await;
    let answered = answered.unwrap_or_else(|_| Err(Broken::Sent(format!("no answer within {ANSWER_TIME:?}"))));
    match (answered, job) {
        (Err(_), Job::Hello) => {
            Carried { kind, unsent: Some(Job::Hello), broken: Some("the connection broke".to_owned()) }
        }
        (Err(Broken::Unsent), job) => {
            Carried { kind, unsent: Some(job), broken: Some("the connection was closed".to_owned()) }
        }
        (Err(Broken::Sent(sentence)), job) => {
            if let Job::Batch(parts) = job {
                all_unreachable(parts, &sentence);
            }
            Carried { kind, unsent: None, broken: Some(sentence) }
        }
        (Ok((status, answer)), job) => {
            let said = || format!("answered {}: {}", status.as_u16(), String::from_utf8_lossy(&answer).trim_end());
            let misdirected = status == StatusCode::MISDIRECTED_REQUEST;
            if misdirected && let Some(address) = ends.whereabouts.of(ends.address.to) {
                // Another shard has that address now.
                ends.whereabouts.forget(ends.address.to, address);
            }
            let (unsent, broken) = match job {
                Job::Hello if !status.is_success() => (Some(Job::Hello), true),
                Job::Batch(parts) if status == StatusCode::OK => {
                    tell(parts, &answer);
                    (None, false)
                }
                Job::Batch(parts) => {
                    all_unreachable(parts, &said());
                    (None, misdirected)
                }
                _ => (None, misdirected),
            };
            if !status.is_success() {
                tracing::debug!(shard = ends.address.to, reason = said(), "the shard did not take it");
            }
            Carried { kind, unsent, broken: broken.then(said) }
        }
    }
}

pub(super) enum Broken {
    /// Nothing of the request left.
    Unsent,
    /// It may have arrived.
    Sent(String),
}

/// Asks, and reads the answer.
pub(super) async fn post(mut sender: Sender, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Broken> {
    let broken = |e: &dyn std::fmt::Display| Broken::Sent(format!("the connection broke: {e}"));
    if sender.ready().await.is_err() {
        return Err(Broken::Unsent);
    }
    let mut request = Request::post(format!("https://shard{path}")).body(Full::new(body)).map_err(|e| broken(&e))?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let response = sender.try_send_request(request).await.map_err(|mut e| match e.take_message() {
        Some(_) => Broken::Unsent,
        None => broken(e.error()),
    })?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| broken(&e))?;
    Ok((status, answer.to_bytes()))
}

/// Tells those who wait what the other side has answered.
fn tell(parts: Vec<Part>, answer: &[u8]) {
    let answers = match wire::answers(answer) {
        Ok(answers) if answers.parts.len() == parts.len() => answers,
        Ok(_) => return all_unreachable(parts, "answered something else"),
        Err(e) => return all_unreachable(parts, &e.to_string()),
    };
    let table = answers.table.map(Arc::new);
    for (part, answer) in parts.into_iter().zip(answers.parts) {
        let outcome = match (answer, &table) {
            (PartAnswer::Stored, _) => Outcome::Stored,
            (PartAnswer::Redirect, Some(table)) => Outcome::Redirect(table.clone()),
            (PartAnswer::Redirect, None) => Outcome::Unreachable("it gave no table to go by".to_owned()),
            (PartAnswer::Refused { status, sentence, seconds }, _) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                Outcome::Refused { status, sentence, seconds }
            }
            (PartAnswer::Later(sentence), _) => Outcome::Unreachable(sentence),
        };
        // Whoever has gone away finds its events stored all the same.
        let _ = part.outcome.send(outcome);
    }
}

fn all_unreachable(parts: Vec<Part>, sentence: &str) {
    for part in parts {
        let _ = part.outcome.send(Outcome::Unreachable(sentence.to_owned()));
    }
}
