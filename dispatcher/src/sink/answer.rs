//! Answers as a sink gives them: at once, slowly, or not at all.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// The connection is closed instead of an answer, because the sink was told to.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is closed on purpose")]
pub(super) struct Closed;

/// The body of a slow answer.
const SLOW: &[u8] = b"slow on purpose\n";

/// A body that comes at once, or one byte at a time.
pub(super) struct AnswerBody {
    left: Bytes,
    slowly: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let count = match &mut self.slowly {
            None => self.left.len(),
            Some((pause, next)) => {
                ready!(next.as_mut().poll(cx));
                *next = Box::pin(sleep(*pause));
                1
            }
        };
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.left.len()).unwrap_or(0))
    }
}

/// An answer with a sentence.
pub(super) fn text(status: StatusCode, sentence: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody { left: sentence.into(), slowly: None });
    *response.status_mut() = status;
    response
}

/// An answer of which every byte takes its time.
pub(super) fn slow(status: StatusCode, pause: Duration) -> Response<AnswerBody> {
    let slowly = Some((pause, Box::pin(sleep(pause))));
    let mut response = Response::new(AnswerBody { left: Bytes::from_static(SLOW), slowly });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(SLOW.len()));
    response
}

/// An answer with something in JSON.
pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<AnswerBody> {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            // For terminals.
            body.push(b'\n');
            let mut response = text(status, body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}
