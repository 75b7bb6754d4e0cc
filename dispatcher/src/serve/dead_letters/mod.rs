//! Dead letters: events given up on, kept with their reason until somebody replays or deletes them.
//!
//! ```text
//! deliver --bury--> keeper (one thread, group commit) --> store        admin port --list, show--> store
//!    then settle                  ^                                              --delete--> keeper
//!                                 '--remove-- replay --append--> writer --> log
//! ```
//!
//! # Contract
//!
//! 1. **Durable.** When [`DeadLetters::bury`] returns `Ok`, the letter is on disk (`fdatasync`) and outlives a power
//!    cut. Only then may the event be settled, so it is always in the log, or here, or for a moment in both.
//! 2. **One letter per event and sink.** Burying again what is there already changes nothing: a crash between bury
//!    and settle makes no second letter.
//! 3. **Bounded.** Letters take at most `deadLetterLimitBytes`, each with [`OVERHEAD_BYTES`]. Beyond that nothing is
//!    buried ([`BuryError::Full`]), and the event stays in the log: no letter is dropped for another.
//! 4. **Replayed before removed.** A replay appends a letter to the log, and removes it when that is on disk: at least
//!    once, never lost.
//! 5. **A failed write ends the keeping, not the process.** Nothing was settled, so nothing is lost: events stay in
//!    the log, and the next start opens the store anew.
//!
//! The store is in a directory of its own and is made with the first letter, so a shard that never had one pays
//! nothing.
//!
//! May import `log` for positions, `writer`, `metrics`, the router of `claiming` and `shutdown`'s phase for replays, `clock`, and the crate's
//! `event`.

mod api;
mod filter;
mod headroom;
mod keeper;
mod letter;
mod replay;
mod replays;
mod step;
mod store;
mod totals;
mod view;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelValue;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::clock;
use super::log::Position;
use keeper::Command;
use letter::LetterKey;
use store::{Shelf, Store};

pub(super) use api::{Desk, router};
pub(super) use totals::Totals;

/// Bytes that one letter takes besides its record and what is written about it, rounded up.
pub(super) const OVERHEAD_BYTES: u64 = 64;

/// Commands that may be queued. Who finds the queue full waits, so memory is bounded by what is in flight.
const QUEUE: usize = 256;

/// Why an event was given up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, EncodeLabelValue)]
pub(super) enum Reason {
    /// The sink answered, and refused it as often as `maxAttempts` allows.
    AttemptsExhausted,
    /// The record cannot be read: the log is damaged, or a newer version wrote it.
    Unreadable,
}

impl Reason {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::AttemptsExhausted, Self::Unreadable];

    /// The word that stands for it in JSON, in filters and on disk.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "AttemptsExhausted",
            Self::Unreadable => "Unreadable",
        }
    }

    /// Reads what [`Reason::name`] wrote.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// An event about to be given up on.
#[derive(Clone, Debug)]
pub(super) struct NewDeadLetter {
    /// Name of the sink that did not take it.
    pub sink: String,
    /// Where it is in the log.
    pub position: Position,
    /// Hash of its key, as in the log.
    pub key: Option<u64>,
    /// When it was accepted, in microseconds since 1970.
    pub accepted_at_us: i64,
    /// Why it is given up on.
    pub reason: Reason,
    /// Failed attempts that counted.
    pub attempts: u32,
    /// What came of the last attempt, in a sentence. Cut to [`letter::MAX_ANSWER_BYTES`].
    pub last_answer: String,
    /// The encoded event. Empty when the log has lost it.
    pub record: Bytes,
}

/// Why a letter is not kept. The event must not be settled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BuryError {
    /// There is no room. It is worth trying again when letters have been replayed or deleted.
    #[error(
        "dead letters are at their limit of {0} bytes: replay or delete some, or raise deadLetterLimitBytes; until \
         then no event is given up"
    )]
    Full(u64),
    /// The store has failed, and keeps nothing until the next start.
    #[error("dead letters cannot be kept: {0}")]
    Failed(String),
}

/// What can go wrong with the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of dead letters failed: {0}")]
pub struct StoreError(String);

/// How to reach the dead letters of a shard. Cheap to clone.
#[derive(Clone)]
pub(super) struct DeadLetters {
    shelf: Arc<Shelf>,
    queue: mpsc::Sender<Command>,
    limit_bytes: u64,
}

impl DeadLetters {
    /// Opens the store in `data_dir` if there is one, and starts the thread that writes to it. Blocks for as long as
    /// the store takes to recover. The thread ends with the last clone.
    pub(super) fn open(data_dir: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        let shelf = Arc::new(Shelf::open(data_dir)?);
        let (queue, commands) = mpsc::channel(QUEUE);
        keeper::start(shelf.clone(), limit_bytes, commands)
            .map_err(|e| StoreError(format!("no thread for dead letters ({e})")))?;
        Ok(Self { shelf, queue, limit_bytes })
    }

    /// Reads the store on a thread that may block. Nothing, if there is no store.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let place = self.shelf.clone();
        let reading = tokio::task::spawn_blocking(move || place.store().map(read).transpose());
        reading.await.map_err(|e| StoreError(e.to_string()))?
    }

    /// Keeps an event that is given up on. `Ok` means that it is on disk, now or since an earlier call.
    pub(super) async fn bury(&self, letter: NewDeadLetter) -> Result<(), BuryError> {
        let (done, buried) = oneshot::channel();
        let command = Command::Bury(Box::new(letter), clock::now_us(), done);
        self.queue.send(command).await.map_err(|_| BuryError::Failed(ENDED.to_owned()))?;
        buried.await.map_err(|_| BuryError::Failed(ENDED.to_owned()))?
    }

    /// Removes letters, and notes how replays are doing in the same breath. Returns how many letters were there.
    async fn remove(&self, keys: Vec<LetterKey>, replays: Option<Bytes>) -> Result<u64, StoreError> {
        let (done, removed) = oneshot::channel();
        let command = Command::Remove(keys, replays, done);
        self.queue.send(command).await.map_err(|_| StoreError(ENDED.to_owned()))?;
        removed.await.map_err(|_| StoreError(ENDED.to_owned()))?
    }

    /// How many letters there are, and what they take, by sink and reason.
    pub(super) fn totals(&self) -> Totals {
        self.shelf.totals()
    }

    /// Bytes that letters may take.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }
}

/// What those are told whom the thread has not answered.
const ENDED: &str = "a write failed on the way: see the log";

#[cfg(test)]
mod tests;
