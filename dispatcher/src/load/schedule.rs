//! Who sends what when: hands out the events of a run, each at its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedSender;

use super::profile::Profile;

/// Events due within this are handed out together. It is the most by which the schedule itself is late: finer
/// than the runtime's timers, whose millisecond would be seen in every latency.
const TICK: Duration = Duration::from_micros(100);

/// After so long the schedule looks whether it is to end early.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Who sends what when.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) start: Instant,
    /// When that is, in microseconds since 1970: events say when they are meant to be sent.
    pub(super) start_us: i64,
    /// The schedule. None: as fast as events are answered.
    pub(super) profile: Option<Profile>,
    /// Events to send, if that is known.
    pub(super) count: Option<u64>,
    /// When to stop, if `count` is not known.
    pub(super) until: Option<Instant>,
    pub(super) keys: u64,
    pub(super) workers: u64,
    /// Events of one request.
    pub(super) batch: u64,
    /// Set to end the run early. What has been handed out and not been sent yet is not sent any more.
    pub(super) stop: AtomicBool,
}

impl Plan {
    /// Whether the run is to end early.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// When event `index` is meant to be sent. Without a schedule: now.
    pub(super) fn intended(&self, index: u64) -> Instant {
        self.profile.as_ref().map_or_else(Instant::now, |profile| self.start + profile.intended(index))
    }

    /// An instant of this run in microseconds since 1970.
    pub(super) fn clock_us(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.start).as_micros();
        self.start_us.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
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

    /// Events of the first request of `worker`. Fewer than a batch, so that batches of different workers, which fill
    /// at the same pace, are not all full at the same time.
    pub(super) fn first_batch(&self, worker: u64) -> u64 {
        (self.batch * (worker + 1)).div_ceil(self.workers).clamp(1, self.batch)
    }
}

/// Hands out the events of a paced plan, each when it is due, from a thread of its own.
pub(super) fn start(plan: Arc<Plan>, workers: Vec<UnboundedSender<u64>>) -> anyhow::Result<()> {
    if plan.profile.is_none() {
        return Ok(());
    }
    let pace = move || {
        for index in 0..plan.count.unwrap_or(0) {
            let intended = plan.intended(index);
            while let Some(left) = intended.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                thread::sleep(left.clamp(TICK, LONGEST_SLEEP));
                if plan.stopped() {
                    return;
                }
            }
            let worker = usize::try_from(plan.worker_of(index)).unwrap_or(0);
            if plan.stopped() || workers.get(worker).is_none_or(|worker| worker.send(index).is_err()) {
                return;
            }
        }
    };
    thread::Builder::new().name("schedule".to_owned()).spawn(pace).context("no thread for the schedule")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Plan;
    use std::collections::HashSet;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    fn plan(keys: u64, workers: u64, batch: u64) -> Plan {
        Plan {
            start: Instant::now(),
            start_us: 1_000_000,
            profile: None,
            count: Some(100),
            until: None,
            keys,
            workers,
            batch,
            stop: AtomicBool::new(false),
        }
    }

    #[test]
    fn every_event_has_one_worker_and_every_key_too() {
        for (keys, workers) in [(0, 3), (7, 3), (2, 5), (10, 1)] {
            let plan = plan(keys, workers, 1);
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
    fn first_batches_differ_so_that_workers_do_not_all_send_at_once() {
        let plan = plan(0, 4, 10);
        assert_eq!([0, 1, 2, 3].map(|worker| plan.first_batch(worker)), [3, 5, 8, 10]);
        assert_eq!(super::Plan { batch: 1, ..plan }.first_batch(0), 1);
    }

    #[test]
    fn the_clock_of_a_run_counts_from_its_start() {
        let plan = plan(0, 1, 1);
        assert_eq!(plan.clock_us(plan.start + Duration::from_millis(2)), 1_002_000);
    }
}
