//! What waits for the writer: events to append, and settlements.
//!
//! An append wakes the writer at once, and so does work for other shards. Settlements do not each: the writer looks at them with the next append, or
//! [`LINGER`] after the first of them, so that a busy sink costs a few hundred wake-ups a second and not one per
//! event. Pushing never waits. Memory is bounded by what pushes: the bodies that ingest holds at once, and the
//! windows of the sinks.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::log::{Entry, NewRecord, SinkId};
use super::{Ended, NotStored, Work};

/// Most events, and most settlements, in one group: bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 4096;

/// Most record bytes in one group, unless one request has more.
const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;

/// How long settlements wait for company.
const LINGER: Duration = Duration::from_millis(2);

/// The events of one request.
pub(super) struct Append {
    pub(super) records: Vec<NewRecord>,
    /// Whether they are looked for in the duplicate window. They are remembered there either way.
    pub(super) look: bool,
    pub(super) done: oneshot::Sender<Result<(), NotStored>>,
    /// Dropped when they are on disk, or given up.
    pub(super) keep: Option<Box<dyn Send>>,
}

/// What the writer's thread waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    #[default]
    Nothing,
    Anything,
    Appends,
}

#[derive(Default)]
struct Inner {
    appends: VecDeque<Append>,
    settlements: Vec<(SinkId, Entry)>,
    work: Vec<Work>,
    waiting: Waiting,
    closing: bool,
    ended: bool,
}

/// The queue between everybody and the writer's thread.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Queue {
    /// Queues the events of a request.
    pub(super) fn append(&self, append: Append) -> Result<(), Ended> {
        let mut inner = self.open()?;
        inner.appends.push_back(append);
        let wake = std::mem::take(&mut inner.waiting) != Waiting::Nothing;
        drop(inner);
        if wake {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Queues other work. It is done after the settlements that were queued before it.
    pub(super) fn work(&self, work: Work) -> Result<(), Ended> {
        let mut inner = self.open()?;
        inner.work.push(work);
        inner.waiting = Waiting::Nothing;
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Queues a settlement.
    pub(super) fn settle(&self, sink: SinkId, entry: Entry) -> Result<(), Ended> {
        let mut inner = self.open()?;
        inner.settlements.push((sink, entry));
        let wake = match inner.waiting {
            Waiting::Nothing => false,
            Waiting::Anything => true,
            Waiting::Appends => inner.settlements.len() >= MAX_GROUP,
        };
        if wake {
            inner.waiting = Waiting::Nothing;
        }
        drop(inner);
        if wake {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Nothing more is to come: the writer takes what is there, and ends.
    pub(super) fn close(&self) {
        self.inner().closing = true;
        self.changed.notify_one();
    }

    /// The writer has ended: who still waits is told so.
    pub(super) fn end(&self) {
        let mut inner = self.inner();
        inner.ended = true;
        inner.appends.clear();
        inner.settlements.clear();
        inner.work.clear();
    }

    /// Waits for the next group, and puts it where it is told to. False when the queue is closed and empty.
    pub(super) fn take(
        &self,
        appends: &mut Vec<Append>,
        settlements: &mut Vec<(SinkId, Entry)>,
        work: &mut Vec<Work>,
    ) -> bool {
        let mut inner = self.inner();
        let mut until = None;
        while inner.appends.is_empty() && inner.work.is_empty() && !inner.closing && inner.settlements.len() < MAX_GROUP
        {
            if inner.settlements.is_empty() {
                inner.waiting = Waiting::Anything;
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = until.get_or_insert_with(|| Instant::now() + LINGER).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner.waiting = Waiting::Appends;
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.waiting = Waiting::Nothing;
        std::mem::swap(&mut inner.settlements, settlements);
        work.append(&mut inner.work);
        let (mut events, mut bytes) = (0, 0);
        while events < MAX_GROUP
            && bytes < MAX_GROUP_BYTES
            && let Some(append) = inner.appends.pop_front()
        {
            events += append.records.len();
            bytes += append.records.iter().map(|new| new.record.len()).sum::<usize>();
            appends.push(append);
        }
        !(appends.is_empty() && settlements.is_empty() && work.is_empty() && inner.closing)
    }

    fn open(&self) -> Result<MutexGuard<'_, Inner>, Ended> {
        let inner = self.inner();
        if inner.ended || inner.closing { Err(Ended) } else { Ok(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
