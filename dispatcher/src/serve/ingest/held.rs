//! The bound on requests whose events are with other shards, or wait for it to be known where they go.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Most such requests at once.
const REQUESTS: usize = 10_000;

/// Bytes that their events may take together, in units of [`UNIT_BYTES`].
const BYTES: usize = 64 * 1024 * 1024;

const UNIT_BYTES: usize = 1024;

/// The room for them.
pub(super) struct Held {
    requests: Semaphore,
    bytes: Semaphore,
}

impl Default for Held {
    fn default() -> Self {
        Self { requests: Semaphore::new(REQUESTS), bytes: Semaphore::new(BYTES / UNIT_BYTES) }
    }
}

impl Held {
    /// Room for a request with events of so many bytes, if there is: for as long as this is kept.
    pub(super) fn take(&self, bytes: usize) -> Option<[SemaphorePermit<'_>; 2]> {
        let units = u32::try_from(bytes / UNIT_BYTES + 1).ok()?;
        Some([self.requests.try_acquire().ok()?, self.bytes.try_acquire_many(units).ok()?])
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, Held, REQUESTS};

    #[test]
    fn so_many_requests_and_so_many_bytes_are_held_and_no_more() {
        let held = Held::default();
        let mut kept: Vec<_> = (0..REQUESTS).map(|_| held.take(1).unwrap()).collect();
        assert!(held.take(1).is_none());
        kept.pop();
        assert!(held.take(1).is_some());
        drop(kept);
        let large = held.take(BYTES / 2).unwrap();
        assert!(held.take(BYTES / 2).is_none(), "each is a little larger than its events");
        drop(large);
        assert!(held.take(BYTES / 2).is_some());
    }
}
