//! When each event is meant to be sent, and by whom.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// Events due within this are handed out together. It is the most by which the schedule itself is late: finer
/// than the runtime's timers, whose millisecond would be seen in every latency.
const TICK: Duration = Duration::from_micros(100);

/// Who sends what when.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) start: Instant,
    /// Events per second. 0: no schedule.
    pub(super) rate: f64,
    /// Events to send, if that is known.
    pub(super) count: Option<u64>,
    /// When to stop, if `count` is not known.
    pub(super) until: Option<Instant>,
    pub(super) keys: u64,
    pub(super) workers: u64,
}

impl Plan {
    /// Whether there is a schedule.
    pub(super) fn is_paced(&self) -> bool {
        self.rate > 0.0
    }

    /// When event `index` is meant to be sent.
    #[expect(clippy::cast_precision_loss, reason = "an index stays far below 2^52")]
    pub(super) fn intended(&self, index: u64) -> Instant {
        self.start + Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// The worker that sends event `index`.
    pub(super) fn worker_of(&self, index: u64) -> u64 {
        (if self.keys == 0 { index } else { index % self.keys }) % self.workers
    }

    /// The first event of `worker` at or after `from`, unless there is none.
    pub(super) fn next_of(&self, worker: u64, from: u64) -> Option<u64> {
        let round = self.keys.max(self.workers);
        (from..from.saturating_add(round))
            .find(|&index| self.worker_of(index) == worker)
            .filter(|&index| self.count.is_none_or(|count| index < count))
    }
}

/// How many events a rate makes in a time.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and neither is negative")]
pub(super) fn events_in(rate: f64, duration: Duration) -> u64 {
    (rate * duration.as_secs_f64()).round() as u64
}

/// Hands out the events of a paced plan, each when it is due, from a thread of its own.
pub(super) fn start(plan: Arc<Plan>, workers: Vec<UnboundedSender<u64>>) -> anyhow::Result<()> {
    if !plan.is_paced() {
        return Ok(());
    }
    let pace = move || {
        for index in 0..plan.count.unwrap_or(0) {
            let intended = plan.intended(index);
            let now = Instant::now();
            if intended > now {
                thread::sleep((intended - now).max(TICK));
            }
            let worker = usize::try_from(plan.worker_of(index)).unwrap_or(0);
            if workers.get(worker).is_none_or(|worker| worker.send(index).is_err()) {
                return;
            }
        }
    };
    thread::Builder::new().name("schedule".to_owned()).spawn(pace).context("no thread for the schedule")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Plan, events_in};
    use std::collections::HashSet;
    use std::time::{Duration, Instant};

    fn plan(keys: u64, workers: u64, count: u64) -> Plan {
        Plan { start: Instant::now(), rate: 1000.0, count: Some(count), until: None, keys, workers }
    }

    #[test]
    fn every_event_has_one_worker_and_every_key_too() {
        for (keys, workers) in [(0, 3), (7, 3), (2, 5), (10, 1)] {
            let plan = plan(keys, workers, 100);
            let mut seen = HashSet::new();
            for worker in 0..workers {
                let mut next = plan.next_of(worker, 0);
                while let Some(index) = next {
                    assert!(seen.insert(index));
                    assert!(keys == 0 || plan.worker_of(index % keys) == worker);
                    next = plan.next_of(worker, index + 1);
                }
            }
            assert_eq!(seen.len(), 100, "{keys} keys, {workers} workers");
        }
    }

    #[test]
    fn events_are_meant_to_be_sent_at_an_even_pace() {
        let plan = plan(0, 1, 10);
        assert_eq!(plan.intended(500) - plan.start, Duration::from_millis(500));
        assert_eq!(events_in(1000.0, Duration::from_millis(2500)), 2500);
    }
}
