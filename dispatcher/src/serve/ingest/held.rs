//! The bound on requests whose events are with other shards, or wait for it to be known where they go. May import the
//! crate's `server`.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::server::MAX_CONNECTIONS;

/// Most such requests at once.
const REQUESTS: usize = 10_000;

/// Of those, most on HTTP/1, where each keeps a connection of its own: others are to find one.
const CONNECTIONS: usize = MAX_CONNECTIONS / 2;

/// Bytes that their events may take together, in units of [`UNIT_BYTES`].
const BYTES: usize = 64 * 1024 * 1024;

const UNIT_BYTES: usize = 1024;

/// The room for them.
pub(super) struct Held {
    requests: Semaphore,
    connections: Semaphore,
    bytes: Semaphore,
}

/// One that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Of its events.
    pub(super) bytes: usize,
    /// It came on a connection that nothing else can use meanwhile.
    pub(super) http1: bool,
}

impl Default for Held {
    fn default() -> Self {
        let [requests, connections, bytes] = [REQUESTS, CONNECTIONS, BYTES / UNIT_BYTES].map(Semaphore::new);
        Self { requests, connections, bytes }
    }
}

impl Held {
    /// Room for a request, if there is: for as long as this is kept.
    pub(super) fn take(&self, request: Request) -> Option<[SemaphorePermit<'_>; 3]> {
        let units = u32::try_from(request.bytes / UNIT_BYTES + 1).ok()?;
        let connections = self.connections.try_acquire_many(u32::from(request.http1));
        Some([self.requests.try_acquire().ok()?, connections.ok()?, self.bytes.try_acquire_many(units).ok()?])
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, CONNECTIONS, Held, REQUESTS, Request};

    #[test]
    fn so_many_requests_connections_and_bytes_are_held_and_no_more() {
        let held = Held::default();
        let http = |http1| Request { bytes: 1, http1 };
        let mut kept: Vec<_> = (0..CONNECTIONS).map(|_| held.take(http(true)).unwrap()).collect();
        assert!(held.take(http(true)).is_none());
        kept.extend((CONNECTIONS..REQUESTS).map(|_| held.take(http(false)).unwrap()));
        assert!(held.take(http(false)).is_none());
        kept.pop();
        assert!(held.take(http(false)).is_some());
        drop(kept);
        let half = Request { bytes: BYTES / 2, http1: true };
        let large = held.take(half).unwrap();
        assert!(held.take(half).is_none(), "each is a little larger than its events");
        drop(large);
        assert!(held.take(half).is_some());
    }
}
