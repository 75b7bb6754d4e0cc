//! Whether producers still send here: a shard that is to stop goes on accepting for as long as they do, within reason. May
//! import nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked at.
const LOOK_TIME: Duration = Duration::from_millis(20);

/// Requests of producers. Two counters, because every request counts itself.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request that is being answered, for as long as it is kept.
pub(super) struct UnderWay<'a>(&'a Traffic);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Traffic {
    /// A request has come.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Resolves when none has come for so long, and none is being answered.
    pub(super) async fn quiet(&self, span: Duration) {
        let mut watch = Watch::new(span, Instant::now());
        while !watch.is_quiet(self.counts(), Instant::now()) {
            tokio::time::sleep(LOOK_TIME).await;
        }
    }

    /// How many have ended, and have begun.
    fn counts(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::Relaxed);
        (ended, self.begun.load(Ordering::Relaxed))
    }
}

/// What was seen of them. Pure.
struct Watch {
    span: Duration,
    begun: u64,
    /// Since when nothing has come, and nothing is under way.
    since: Instant,
}

impl Watch {
    fn new(span: Duration, now: Instant) -> Self {
        Self { span, begun: 0, since: now }
    }

    fn is_quiet(&mut self, (ended, begun): (u64, u64), now: Instant) -> bool {
        if std::mem::replace(&mut self.begun, begun) != begun || ended < begun {
            self.since = now;
        }
        now - self.since >= self.span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(500);

    #[test]
    fn it_is_quiet_when_nothing_has_come_for_a_while_and_nothing_is_under_way() {
        let (traffic, start) = (Traffic::default(), Instant::now());
        let mut watch = Watch::new(SPAN, start);
        let mut looks = |traffic: &Traffic, spans: u32| watch.is_quiet(traffic.counts(), start + SPAN * spans);
        let request = traffic.begin();
        assert!(!looks(&traffic, 1) && !looks(&traffic, 9), "a request is under way");
        drop(request);
        assert!(looks(&traffic, 10), "the last look saw it, and it has ended since");
        drop(traffic.begin());
        assert!(!looks(&traffic, 20), "one has come and gone since the last look");
        assert!(!looks(&traffic, 20) && looks(&traffic, 21));
    }
}
