//! One connection's worth of load: sends its events one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

use super::schedule::Plan;
use super::{LoadOptions, Outcome};

/// The first wait before sending again. It doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(20);

/// The longest wait before sending again.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// `type` of the events.
const EVENT_TYPE: &str = "dev.signalbox.load";

/// How sending an event ended, if not well.
enum Failure {
    Answered(StatusCode),
    Error(&'static str),
}

pub(super) struct Worker {
    number: u64,
    plan: Arc<Plan>,
    target: Uri,
    source: String,
    data: Bytes,
    timeout: Duration,
    retry_for: Option<Duration>,
    reconnect_every: Option<u64>,
    connection: Option<SendRequest<Full<Bytes>>>,
    requests: u64,
}

impl Worker {
    pub(super) fn new(
        number: u64,
        plan: Arc<Plan>,
        target: Uri,
        source: String,
        data: Bytes,
        options: &LoadOptions,
    ) -> Self {
        Self {
            number,
            plan,
            target,
            source,
            data,
            timeout: options.timeout,
            retry_for: options.retry_until_accepted,
            reconnect_every: options.reconnect_every.filter(|&every| every > 0),
            connection: None,
            requests: 0,
        }
    }

    /// Sends all events of this worker: those that `due` brings, or, without a schedule, one after the other.
    pub(super) async fn run(mut self, mut due: UnboundedReceiver<u64>) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::new()?;
        let headers = self.common_headers()?;
        let mut next = self.plan.next_of(self.number, 0);
        loop {
            let (index, intended) = if self.plan.is_paced() {
                let Some(index) = due.recv().await else { break };
                (index, self.plan.intended(index))
            } else {
                let now = Instant::now();
                let Some(index) = next.filter(|_| self.plan.until.is_none_or(|until| now < until)) else { break };
                next = self.plan.next_of(self.number, index + 1);
                (index, now)
            };
            self.event(index, intended, &headers, &mut outcome).await?;
        }
        Ok(outcome)
    }

    fn common_headers(&self) -> anyhow::Result<HeaderMap> {
        let host = self.target.authority().context("--target has no host")?.as_str();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
        headers.insert("ce-type", HeaderValue::from_static(EVENT_TYPE));
        let source = HeaderValue::from_str(&self.source).context("--source cannot stand in a header")?;
        headers.insert("ce-source", source);
        Ok(headers)
    }

    fn request(&self, index: u64, common: &HeaderMap) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(self.data.clone()));
        *request.method_mut() = Method::POST;
        let path = self.target.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse()?;
        *request.headers_mut() = common.clone();
        let headers = request.headers_mut();
        headers.insert("ce-id", HeaderValue::from(index));
        if self.plan.keys > 0 {
            let key = format!("key-{}", index % self.plan.keys);
            headers.insert(HeaderName::from_static("ce-partitionkey"), HeaderValue::from_str(&key)?);
            headers.insert("ce-sequence", HeaderValue::from(index / self.plan.keys));
        }
        Ok(request)
    }

    /// Sends one event until it is accepted or its time is up.
    async fn event(
        &mut self,
        index: u64,
        intended: Instant,
        headers: &HeaderMap,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        outcome.sent += 1;
        let give_up = self.retry_for.map(|retry_for| Instant::now() + retry_for);
        let mut backoff = MIN_BACKOFF;
        loop {
            let request = self.request(index, headers)?;
            let sent = tokio::time::timeout(self.timeout, self.send(request)).await;
            match sent.unwrap_or(Err(Failure::Error("timeout"))) {
                Ok(()) => {
                    outcome.accepted(intended.elapsed());
                    return Ok(());
                }
                Err(Failure::Answered(status)) => *outcome.rejected.entry(status.as_u16()).or_default() += 1,
                Err(Failure::Error(kind)) => *outcome.errors.entry(kind).or_default() += 1,
            }
            // Perhaps another shard takes it.
            self.connection = None;
            if give_up.is_none_or(|give_up| Instant::now() + backoff >= give_up) {
                return Ok(());
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
            outcome.retries += 1;
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        if self.reconnect_every.is_some_and(|every| self.requests.is_multiple_of(every)) {
            self.connection = None;
        }
        self.requests += 1;
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_ready() => connection,
            _ => self.connect().await.map_err(|_| Failure::Error("connect"))?,
        };
        let response = connection.send_request(request).await.map_err(|_| Failure::Error("broken"))?;
        let (head, body) = response.into_parts();
        body.collect().await.map_err(|_| Failure::Error("broken"))?;
        // Not ready when the server has closed it, which the next request then finds out.
        if connection.ready().await.is_ok() {
            self.connection = Some(connection);
        }
        if head.status.is_success() { Ok(()) } else { Err(Failure::Answered(head.status)) }
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let host = self.target.host().context("--target has no host")?.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.target.port_u16().unwrap_or(80))).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
