//! What is answered to a request that is not accepted, and to one that asks whether it may send.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::serve::metrics::Reject;

/// The methods of `/`.
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// Who would like to send, by the rules of the `CloudEvents` webhook specification.
const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");

/// Who may.
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");

/// And how many requests in a minute.
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// A request that was not accepted.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) reason: Reject,
    pub(super) status: StatusCode,
    sentence: String,
    retry_after: Option<u64>,
}

/// A rejection without `Retry-After`.
pub(super) fn reject(reason: Reject, status: StatusCode, sentence: impl Into<String>) -> Rejection {
    Rejection { reason, status, sentence: sentence.into(), retry_after: None }
}

impl Rejection {
    /// The same, to be tried again after so many seconds.
    pub(super) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Status, sentence and seconds to wait, for whoever passes them on.
    pub(super) fn told(self) -> (StatusCode, String, Option<u64>) {
        (self.status, self.sentence, self.retry_after)
    }

    /// The answer, on HTTP/1.1 or another.
    pub(super) fn answer(self, http1: bool) -> Response<Full<Bytes>> {
        let body = serde_json::json!({ "error": self.sentence }).to_string();
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, METHODS);
        }
        // HTTP/2 has no such header: its connections are told to go away by the server.
        if http1 && matches!(self.reason, Reject::Stopping | Reject::LogFailed | Reject::SlowBody) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer to `OPTIONS /`. Whoever can reach the port may send, as fast as the backlog allows: 429 says when it
/// does not. A `WebHook-Request-Callback` is not needed, because consent is not waited for.
pub(super) fn options(request: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(ALLOW, METHODS);
    if request.contains_key(REQUEST_ORIGIN) {
        headers.insert(ALLOWED_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ALLOWED_RATE, HeaderValue::from_static("*"));
    }
    response
}

/// The answer to events that were accepted.
pub(super) fn accepted() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
