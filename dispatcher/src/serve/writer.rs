//! The one thread that writes to the log: group commit.
//!
//! ```text
//! requests --append--\            take all that is queued        wake every request of the group
//!                     > queue --> settle, append, one fdatasync -->
//! sinks ----settle---/            meanwhile the next group queues up
//! ```
//!
//! There is no timer: a group is what arrived during the sync before it. When a write fails, nobody of its group
//! is answered, the thread ends, and [`Writer::failed`] tells the process to.
//!
//! May import `log` and `metrics`.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::log::{Entry, LogError, NewRecord, Position, ShardLog, SinkId};
use super::metrics::Metrics;

/// Commands that may be queued. Who finds the queue full waits, so memory is bounded by the requests under way.
const QUEUE: usize = 8192;

/// Most commands in one group: bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 4096;

/// Most record bytes in one group.
const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;

enum Command {
    Append(Vec<NewRecord>, oneshot::Sender<()>),
    Settle(SinkId, Entry),
    Close,
}

/// The writer has ended, because the log failed or the process is stopping. Nothing was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log no longer takes events")]
pub(super) struct Ended;

/// How to reach the writer.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Command>,
    end: watch::Receiver<Position>,
    failed: watch::Receiver<Option<Arc<LogError>>>,
}

impl Writer {
    /// Starts the thread. It ends at [`Writer::close`], or when a write fails.
    pub(super) fn start(log: Arc<dyn ShardLog>, metrics: Metrics) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, commands) = mpsc::channel(QUEUE);
        let (end_tx, end) = watch::channel(log.end());
        let (failed_tx, failed) = watch::channel(None);
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || {
            if let Err(e) = run(&*log, commands, &end_tx, &metrics) {
                let _ = failed_tx.send(Some(Arc::new(e)));
            }
        })?;
        Ok((Self { queue, end, failed }, thread))
    }

    /// Appends the events of one request, whole or not at all. `Ok` means that they are on disk.
    pub(super) async fn append(&self, records: Vec<NewRecord>) -> Result<(), Ended> {
        let (done, durable) = oneshot::channel();
        self.queue.send(Command::Append(records, done)).await.map_err(|_| Ended)?;
        durable.await.map_err(|_| Ended)
    }

    /// Notes that `sink` is done with an event. Not durable on its own.
    pub(super) async fn settle(&self, sink: SinkId, entry: Entry) -> Result<(), Ended> {
        self.queue.send(Command::Settle(sink, entry)).await.map_err(|_| Ended)
    }

    /// Makes everything queued durable, and ends the thread.
    pub(super) async fn close(&self) {
        // Ended already: nothing to close.
        let _ = self.queue.send(Command::Close).await;
        self.queue.closed().await;
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

fn run(
    log: &dyn ShardLog,
    mut commands: mpsc::Receiver<Command>,
    end: &watch::Sender<Position>,
    metrics: &Metrics,
) -> Result<(), LogError> {
    let mut appends = Vec::new();
    let mut waiters = Vec::new();
    let mut settlements = Vec::new();
    let mut closing = false;
    while !closing {
        let Some(first) = commands.blocking_recv() else { break };
        let mut next = Some(first);
        let mut bytes = 0;
        while let Some(command) = next.take() {
            match command {
                Command::Append(records, done) => {
                    bytes += records.iter().map(|new| new.record.len()).sum::<usize>();
                    appends.extend(records);
                    waiters.push(done);
                }
                Command::Settle(sink, entry) => settlements.push((sink, entry)),
                Command::Close => closing = true,
            }
            if !closing && bytes < MAX_GROUP_BYTES && appends.len() + settlements.len() < MAX_GROUP {
                next = commands.try_recv().ok();
            }
        }
        if !settlements.is_empty() {
            log.settle(&settlements)?;
            settlements.clear();
        }
        if !appends.is_empty() {
            let started = Instant::now();
            log.append(&appends)?;
            metrics.group(appends.len(), started.elapsed());
            end.send_replace(log.end());
            for waiter in waiters.drain(..) {
                // A request that has gone away finds its events accepted all the same.
                let _ = waiter.send(());
            }
            appends.clear();
        }
    }
    log.sync()
}

#[cfg(test)]
mod tests {
    use super::Writer;
    use crate::serve::log::memory::{Disk, MemoryLog};
    use crate::serve::log::{NewRecord, ShardLog, SinkSet};
    use crate::serve::metrics::Metrics;
    use bytes::Bytes;
    use std::sync::Arc;

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
    async fn everyone_of_a_group_is_answered_when_it_is_stored() {
        let log = Arc::new(MemoryLog::open(&Disk::default(), &["a".to_owned()]));
        let (writer, thread) = Writer::start(log.clone(), Metrics::new(&["a".to_owned()])).unwrap();
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
        let (writer, thread) = Writer::start(log, Metrics::new(&["a".to_owned()])).unwrap();
        writer.append(vec![record()]).await.unwrap();
        disk.fail();
        let results = futures::future::join_all((0..10).map(|_| writer.append(vec![record()]))).await;
        assert!(results.iter().all(Result::is_err));
        assert!(writer.failed().await.to_string().contains("the disk failed"));
        thread.join().unwrap();
    }
}
