//! Reading the body of a request, within its limits of size, time and memory. May import `metrics`' reasons.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{Rejection, reject};
use crate::serve::metrics::Reject;

/// How long the body of a request may take.
pub(super) const BODY_TIME: Duration = Duration::from_secs(10);

/// Bytes of bodies that may be under way at once, in units of [`PERMIT_BYTES`].
const RECEIVING_BYTES: usize = 64 * 1024 * 1024;

/// One permit of the budget. A request takes at least one.
const PERMIT_BYTES: u64 = 1024;

/// Of a body that is refused, this much is read and thrown away, so that its sender gets to the answer and the
/// connection can be used again.
const DISCARD_BYTES: usize = 4 * 1024 * 1024;

/// And for so long.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Seconds to wait when too much is being received.
const RETRY_AFTER: u64 = 1;

/// The memory for bodies that are under way.
pub(super) struct Receiver {
    memory: Semaphore,
    limit: u64,
}

impl Receiver {
    /// Takes bodies of up to `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { memory: Semaphore::new(RECEIVING_BYTES / usize::try_from(PERMIT_BYTES).unwrap_or(1)), limit }
    }

    /// Reads a body. The permit is held until its events are stored.
    pub(super) async fn receive(&self, body: Incoming) -> Result<(Bytes, SemaphorePermit<'_>), Rejection> {
        let limit = self.limit;
        let too_large = || {
            reject(
                Reject::TooLarge,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is larger than {limit} bytes: send a smaller event, a reference to the data, or fewer \
                     events at once"
                ),
            )
        };
        // A body of unknown length may turn out to be as long as is allowed.
        let expected = body.size_hint().upper().unwrap_or(limit);
        if expected > limit {
            discard(body).await;
            return Err(too_large());
        }
        let permits = u32::try_from(expected / PERMIT_BYTES + 1).unwrap_or(u32::MAX);
        let Ok(permit) = self.memory.try_acquire_many(permits) else {
            discard(body).await;
            return Err(reject(
                Reject::Overloaded,
                StatusCode::TOO_MANY_REQUESTS,
                "too much is being received at once: wait as Retry-After says",
            )
            .after(RETRY_AFTER));
        };
        let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
        match tokio::time::timeout(BODY_TIME, limited.collect()).await {
            Ok(Ok(collected)) => Ok((collected.to_bytes(), permit)),
            Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(e)) => Err(reject(
                Reject::BrokenBody,
                StatusCode::BAD_REQUEST,
                format!("the body ended early ({e}): send it whole"),
            )),
            Err(_) => Err(reject(
                Reject::SlowBody,
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} s: send it faster", BODY_TIME.as_secs()),
            )),
        }
    }
}

/// An answer sent before the request was read is lost when the connection is closed on the rest of it.
pub(super) async fn discard(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    let until = Instant::now() + DISCARD_TIME;
    let mut left = DISCARD_BYTES;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until.into(), body.frame()).await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
        left = rest;
    }
}
