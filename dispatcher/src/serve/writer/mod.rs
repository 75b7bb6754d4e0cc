//! The one thread that writes to the log: group commit.
//!
//! ```text
//! requests --append--\            take all that is queued        wake every request of the group
//!                     > queue --> settle, append, one fdatasync -->
//! sinks ----settle---/            meanwhile the next group queues up
//! ```
//!
//! There is no timer: a group is what arrived during the sync before it. When a write fails, nobody of its group
//! is answered, the thread ends, and [`Writer::failed`] tells the process to. A full disk is no failed write: the
//! requests of that group are refused, and the thread goes on.
//!
//! Work for other shards, what they hand over and what they have taken, is done in between, in the order that it came.
//!
//! `queue.rs` has the queue, `window.rs` the duplicates, which are looked for here because here events are in a
//! row. May import `log` and `metrics`.

mod queue;
mod window;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::log::{Entry, LogError, NewRecord, Position, ShardLog, SinkId};
use super::metrics::Metrics;
use queue::{Append, Queue};
use window::Window;

/// The writer has ended, because the log failed or the process is stopping. Nothing was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log no longer takes events")]
pub(super) struct Ended;

/// Why events were not stored. None of them is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotStored {
    /// The writer has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// There is no room on the disk. Later there may be.
    #[error("the disk is full")]
    Full,
}

/// Something else to do with the log, between two groups. It answers whoever waits for it. What it
/// returns are events for the duplicate window: when they were accepted, and
/// their identities.
type Work = Box<dyn FnOnce() -> Result<Vec<(i64, u128)>, LogError> + Send>;

/// How to reach the writer.
#[derive(Clone)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    end: watch::Receiver<Position>,
    failed: watch::Receiver<Option<Arc<LogError>>>,
}

impl Writer {
    /// Starts the thread. It ends at [`Writer::close`], or when a write fails. An event whose identity was stored
    /// within `duplicate_window` before it is not stored again.
    pub(super) fn start(
        log: Arc<dyn ShardLog>,
        metrics: Metrics,
        duplicate_window: Duration,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let queue = Arc::new(Queue::default());
        let (end_tx, end) = watch::channel(log.end());
        let (failed_tx, failed) = watch::channel(None);
        let ending = EndsQueue(queue.clone());
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || {
            if let Err(e) = run(&*log, &ending.0, &end_tx, &metrics, duplicate_window) {
                let _ = failed_tx.send(Some(Arc::new(e)));
            }
            drop(ending);
        })?;
        Ok((Self { queue, end, failed }, thread))
    }

    /// Appends the events of one request, whole or not at all. `Ok` means that they are on disk, or for a
    /// duplicate that the first one is.
    pub(super) async fn append(&self, records: Vec<NewRecord>) -> Result<(), NotStored> {
        self.append_keeping(records, None::<()>).await
    }

    /// The same. `keep` is dropped when they are on disk or given up, whether or not somebody still waits for it.
    pub(super) async fn append_keeping<K: Send + 'static>(
        &self,
        records: Vec<NewRecord>,
        keep: Option<K>,
    ) -> Result<(), NotStored> {
        self.queued(records, true, keep).await
    }

    /// The same for events that were accepted elsewhere. They are stored whatever the duplicate window says: it may
    /// know them from when they were here before.
    pub(super) async fn append_taken<K: Send + 'static>(
        &self,
        records: Vec<NewRecord>,
        keep: Option<K>,
    ) -> Result<(), NotStored> {
        self.queued(records, false, keep).await
    }

    async fn queued<K: Send + 'static>(
        &self,
        records: Vec<NewRecord>,
        look: bool,
        keep: Option<K>,
    ) -> Result<(), NotStored> {
        let (done, durable) = oneshot::channel();
        let keep = keep.map(|keep| Box::new(keep) as Box<dyn Send>);
        self.queue.append(Append { records, look, done, keep })?;
        durable.await.map_err(|_| Ended)?
    }

    /// Has the thread do `work` with the log, after the settlements that are queued. `Ok` has what it returned; the events
    /// of `remember` are in the duplicate window from then on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        remember: Vec<(i64, u128)>,
        work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, NotStored> {
        let (done, answer) = oneshot::channel();
        self.queue.work(Box::new(move || match work() {
            Ok(result) => {
                let _ = done.send(Ok(result));
                Ok(remember)
            }
            Err(LogError::Full) => {
                let _ = done.send(Err(NotStored::Full));
                Ok(Vec::new())
            }
            Err(e) => Err(e),
        }))?;
        answer.await.map_err(|_| Ended)?
    }

    /// Notes that `sink` is done with an event. Not durable on its own. Never waits.
    pub(super) fn settle(&self, sink: SinkId, entry: Entry) -> Result<(), Ended> {
        self.queue.settle(sink, entry)
    }

    /// Makes everything queued durable, and ends the thread.
    pub(super) async fn close(&self) {
        self.queue.close();
        let mut end = self.end.clone();
        while end.changed().await.is_ok() {}
    }

    /// The end of the log, as it moves.
    pub(super) fn end(&self) -> watch::Receiver<Position> {
        self.end.clone()
    }

    /// Whether the log has failed.
    pub(super) fn is_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    /// Resolves when a write has failed: the process has to end.
    pub(super) async fn failed(&self) -> Arc<LogError> {
        let mut failed = self.failed.clone();
        loop {
            if let Some(error) = failed.borrow_and_update().clone() {
                return error;
            }
            if failed.changed().await.is_err() {
                // The thread ended without a failure.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Ends the queue with the thread, however that ends.
struct EndsQueue(Arc<Queue>);

impl Drop for EndsQueue {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn run(
    log: &dyn ShardLog,
    queue: &Queue,
    end: &watch::Sender<Position>,
    metrics: &Metrics,
    duplicate_window: Duration,
) -> Result<(), LogError> {
    let mut window = Window::new(duplicate_window);
    if let Some(window) = &mut window {
        for (accepted_at_us, identity) in log.identities(window.span_us())? {
            window.remember(identity, accepted_at_us);
        }
    }
    let mut appends = Vec::new();
    let mut records = Vec::new();
    let mut waiters = Vec::new();
    let mut settlements = Vec::new();
    let mut work = Vec::new();
    while queue.take(&mut appends, &mut settlements, &mut work) {
        metrics.log_is_busy(true);
        if !settlements.is_empty() {
            log.settle(&settlements)?;
            settlements.clear();
        }
        for work in work.drain(..) {
            for (accepted_at_us, identity) in work()? {
                if let Some(window) = &mut window {
                    window.remember(identity, accepted_at_us);
                }
            }
        }
        for Append { records: mut new, look, done, keep } in appends.drain(..) {
            if let Some(window) = &mut window {
                let before = new.len();
                new.retain(|new| !window.is_duplicate(new.identity, new.accepted_at_us) || !look);
                metrics.duplicates(before - new.len());
            }
            records.extend(new);
            waiters.push((done, keep));
        }
        let stored = if records.is_empty() { Ok(()) } else { store(log, &records, end, metrics) };
        metrics.log_is_busy(false);
        let answer = match stored {
            Ok(()) => Ok(()),
            Err(LogError::Full) => Err(NotStored::Full),
            Err(e) => return Err(e),
        };
        if let Some(window) = &mut window {
            window.decided(answer.is_ok());
        }
        records.clear();
        for (waiter, keep) in waiters.drain(..) {
            drop(keep);
            // A request that has gone away finds its events accepted all the same.
            let _ = waiter.send(answer);
        }
    }
    log.sync()
}

fn store(
    log: &dyn ShardLog,
    records: &[NewRecord],
    end: &watch::Sender<Position>,
    metrics: &Metrics,
) -> Result<(), LogError> {
    let started = Instant::now();
    log.append(records)?;
    metrics.group(records.len(), started.elapsed());
    end.send_replace(log.end());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{NotStored, Writer};
    use crate::serve::log::memory::{Disk, MemoryLog};
    use crate::serve::log::{NewRecord, ShardLog, SinkSet};
    use crate::serve::metrics::Metrics;
    use bytes::Bytes;
    use std::sync::Arc;
    use std::time::Duration;

    fn record() -> NewRecord {
        NewRecord {
            accepted_at_us: 0,
            key: None,
            skip: SinkSet::default(),
            identity: 0,
            record: Bytes::from_static(b"event"),
        }
    }

    #[tokio::test]
    async fn what_was_accepted_elsewhere_is_stored_whatever_the_window_knows_and_known_from_then_on() {
        let log = Arc::new(MemoryLog::open(&Disk::default(), &["a".to_owned()]));
        let metrics = Metrics::new(&["a".to_owned()]);
        let (writer, _) = Writer::start(log.clone(), metrics, Duration::from_mins(1)).unwrap();
        let known = |identity| vec![NewRecord { identity, ..record() }];
        for stored in [1, 2] {
            writer.append_taken(known(7), None::<()>).await.unwrap();
            assert_eq!(log.end(), stored);
        }
        writer.append(known(7)).await.unwrap();
        assert_eq!(log.end(), 2);
        writer.append(known(8)).await.unwrap();
        assert_eq!(log.end(), 3);
    }

    #[tokio::test]
    async fn everyone_of_a_group_is_answered_when_it_is_stored() {
        let log = Arc::new(MemoryLog::open(&Disk::default(), &["a".to_owned()]));
        let (writer, thread) = Writer::start(log.clone(), Metrics::new(&["a".to_owned()]), Duration::ZERO).unwrap();
        futures::future::try_join_all((0..50).map(|_| writer.append(vec![record(), record()]))).await.unwrap();
        assert_eq!((log.end(), *writer.end().borrow()), (100, 100));
        writer.close().await;
        thread.join().unwrap();
        assert!(writer.append(vec![record()]).await.is_err());
        assert!(!writer.is_failed());
    }

    #[tokio::test]
    async fn when_a_write_fails_nobody_is_acknowledged_and_the_writer_ends() {
        let disk = Disk::default();
        let log = Arc::new(MemoryLog::open(&disk, &["a".to_owned()]));
        let (writer, thread) = Writer::start(log, Metrics::new(&["a".to_owned()]), Duration::ZERO).unwrap();
        writer.append(vec![record()]).await.unwrap();
        disk.fail();
        let results = futures::future::join_all((0..10).map(|_| writer.append(vec![record()]))).await;
        assert!(results.iter().all(Result::is_err));
        assert!(writer.failed().await.to_string().contains("the disk failed"));
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn the_log_is_busy_while_it_writes_and_only_then() {
        let log = Arc::new(MemoryLog::open(&Disk::default(), &["a".to_owned()]));
        let metrics = Metrics::new(&["a".to_owned()]);
        let (writer, thread) = Writer::start(log, metrics.clone(), Duration::ZERO).unwrap();
        let now = std::time::Instant::now();
        let later = now + Duration::from_hours(1);
        assert_eq!(metrics.log_busy_total(later), Duration::ZERO, "nothing was written");
        writer.append(vec![record()]).await.unwrap();
        writer.close().await;
        thread.join().unwrap();
        let busy = metrics.log_busy_total(later);
        assert!(busy > Duration::ZERO && busy < now.elapsed(), "{busy:?}: it is busy no more");
    }

    fn identified(identity: u128, accepted_at_us: i64) -> NewRecord {
        NewRecord { accepted_at_us, identity, ..record() }
    }

    #[tokio::test]
    async fn an_event_sent_again_within_the_window_is_answered_and_not_stored_again() {
        let disk = Disk::default();
        let log = Arc::new(MemoryLog::open(&disk, &["a".to_owned()]));
        let metrics = Metrics::new(&["a".to_owned()]);
        let (writer, thread) = Writer::start(log.clone(), metrics.clone(), Duration::from_micros(100)).unwrap();
        writer.append(vec![identified(7, 0), identified(7, 1), identified(8, 1)]).await.unwrap();
        assert_eq!(log.end(), 2, "once in one request");
        writer.append(vec![identified(8, 100)]).await.unwrap();
        assert_eq!(log.end(), 2, "once within the window");
        writer.append(vec![identified(0, 100), identified(0, 100)]).await.unwrap();
        assert_eq!(log.end(), 4, "what has no identity is never a duplicate");
        writer.append(vec![identified(7, 101)]).await.unwrap();
        assert_eq!(log.end(), 5, "again after the window");
        let text = metrics.text(None, 0).unwrap();
        assert!(text.contains("signalbox_dispatcher_duplicates_total 2"), "{text}");
        writer.close().await;
        thread.join().unwrap();

        let log = Arc::new(MemoryLog::open(&disk, &["a".to_owned()]));
        let (writer, thread) = Writer::start(log.clone(), metrics, Duration::from_micros(100)).unwrap();
        writer.append(vec![identified(7, 102)]).await.unwrap();
        assert_eq!(log.end(), 5, "the window outlives the process");
        writer.close().await;
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_refuses_events_and_takes_them_when_there_is_room_again() {
        let disk = Disk::default();
        let log = Arc::new(MemoryLog::open(&disk, &["a".to_owned()]));
        let metrics = Metrics::new(&["a".to_owned()]);
        let (writer, thread) = Writer::start(log.clone(), metrics, Duration::from_secs(1)).unwrap();
        disk.fill(true);
        assert_eq!(writer.append(vec![identified(1, 0)]).await, Err(NotStored::Full));
        disk.fill(false);
        writer.append(vec![identified(1, 0)]).await.unwrap();
        assert_eq!(log.end(), 1, "what was refused is no duplicate");
        writer.close().await;
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn settlements_reach_the_log_of_an_idle_shard_by_themselves() {
        let log = Arc::new(MemoryLog::open(&Disk::default(), &["a".to_owned()]));
        let (writer, thread) = Writer::start(log.clone(), Metrics::new(&["a".to_owned()]), Duration::ZERO).unwrap();
        writer.append(vec![record(); 3]).await.unwrap();
        for entry in log.unsettled(0, 0, 10).unwrap().entries {
            writer.settle(0, entry).unwrap();
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while log.stats().unwrap().events > 0 {
            assert!(std::time::Instant::now() < deadline, "not settled");
            tokio::task::yield_now().await;
        }
        writer.close().await;
        thread.join().unwrap();
    }
}
