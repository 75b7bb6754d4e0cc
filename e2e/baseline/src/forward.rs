//! One request: through the queue and the pool to the sink, and the sink's answer back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;

/// Largest event.
const MAX_BODY_BYTES: usize = 1 << 20;

/// How it forwards.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) sink: Uri,
    pub(crate) workers: usize,
    pub(crate) queue: usize,
    pub(crate) tries: u32,
    pub(crate) pause: Duration,
    pub(crate) timeout: Duration,
}

/// The queue, the pool, and the way to the sink.
pub(crate) struct Forwarder {
    settings: Settings,
    pool: Semaphore,
    waiting: AtomicUsize,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Forwarder {
    pub(crate) fn new(settings: Settings) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { pool: Semaphore::new(settings.workers), waiting: AtomicUsize::new(0), client, settings }
    }

    /// What the producer is answered.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, said) = if request.method() == Method::POST {
            let (head, body) = request.into_parts();
            match Limited::new(body, MAX_BODY_BYTES).collect().await {
                Ok(body) => self.queue(&head.headers, body.to_bytes()).await,
                Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
            }
        } else {
            (StatusCode::OK, "ok".to_owned())
        };
        let mut response = Response::new(Full::new(Bytes::from(said)));
        *response.status_mut() = status;
        response
    }

    async fn queue(&self, headers: &HeaderMap, body: Bytes) -> (StatusCode, String) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.settings.queue {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return (StatusCode::SERVICE_UNAVAILABLE, "the queue is full".to_owned());
        }
        let worker = self.pool.acquire().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        match worker {
            Ok(_worker) => self.forward(headers, body).await,
            Err(closed) => (StatusCode::SERVICE_UNAVAILABLE, closed.to_string()),
        }
    }

    async fn forward(&self, headers: &HeaderMap, body: Bytes) -> (StatusCode, String) {
        let mut failed = (StatusCode::BAD_GATEWAY, "it was never tried".to_owned());
        for attempt in 0..self.settings.tries {
            if attempt > 0 {
                tokio::time::sleep(self.settings.pause).await;
            }
            match tokio::time::timeout(self.settings.timeout, self.attempt(headers, body.clone())).await {
                Ok(Ok(status)) if status.is_success() => return (StatusCode::ACCEPTED, String::new()),
                Ok(Ok(status)) => failed = (StatusCode::BAD_GATEWAY, format!("the sink answered {status}")),
                Ok(Err(error)) => failed = (StatusCode::BAD_GATEWAY, error),
                Err(_) => failed = (StatusCode::GATEWAY_TIMEOUT, "the sink did not answer in time".to_owned()),
            }
        }
        failed
    }

    async fn attempt(&self, headers: &HeaderMap, body: Bytes) -> Result<StatusCode, String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.sink.clone();
        let passed = headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-") || *name == CONTENT_TYPE);
        request.headers_mut().extend(passed.map(|(name, value)| (name.clone(), value.clone())));
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(status)
    }
}
