//! What takes longer than a look: on the log's thread, or on the disk, beside the driver. Each ends with what the driver
//! has to know.
//!
//! What fails for want of room is tried again, for as long as it takes. What fails because the log has failed ends in
//! nothing: the process is about to end. May import `transfers`, `writer`, `log`, and `claiming`'s own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::durable::{self, State};
use super::giving::{self, Batch as Gathered, Survey, Wanted};
use super::marks::Marks;
use crate::claims::{Batch, Durable, Epoch, Ordinal};
use crate::serve::log::{Bequest, Entry, PairLog, Position, ShardLog as _};
use crate::serve::slots::SlotSet;
use crate::serve::transfers::Transfers;
use crate::serve::writer::{NotStored, Writer};

/// What came of a job.
#[derive(Debug)]
pub(super) enum Done {
    /// The state is on disk, with these marks.
    Written(Marks),
    /// No attempt is under way for what was closed under this epoch.
    Stopped(Epoch),
    /// What was to be put in order is.
    Ordered,
    /// A batch for a shard.
    Gathered(Ordinal, Epoch, Gathered),
    /// Settlements are durable.
    Synced,
    /// A batch from a shard is stored; these slots had something new.
    Stored(Ordinal, Epoch, Batch, SlotSet, usize),
    /// It is not.
    NotStored(Ordinal, Epoch, Batch),
    /// The log has failed, or the process is ending.
    Ended,
}

/// What jobs work with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    pub(super) transfers: Arc<Transfers>,
    pub(super) log: Arc<PairLog>,
    pub(super) writer: Writer,
    pub(super) dir: PathBuf,
    /// The id of the log.
    pub(super) id: u64,
    /// How long to wait before trying again.
    pub(super) pause: Duration,
    pub(super) batch_bytes: usize,
}

impl Jobs {
    /// Writes the state. `begins`: under a new epoch; everything admitted before is in the log, or in the queue for it.
    pub(super) async fn write(self, durable: Durable, mut marks: Marks, begins: bool) -> Done {
        if begins {
            let Ok((lowest, end)) = self.border().await else { return Done::Ended };
            marks.prune(lowest);
            marks.push(durable.epoch(), end);
        }
        let state = State { log: self.id, durable, marks };
        let mut told = false;
        loop {
            let (dir, copy) = (self.dir.clone(), state.clone());
            match tokio::task::spawn_blocking(move || durable::store(&dir, &copy)).await {
                Ok(Ok(())) => return Done::Written(state.marks),
                Ok(Err(error)) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(%error, "the routing state cannot be written: trying until it can");
                }
                _ => {}
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Where an epoch begins in the log, and below where all is settled for good.
    async fn border(&self) -> Result<(Position, Position), NotStored> {
        // Behind what requests left in the queue that have gone away.
        match self.writer.append(Vec::new()).await {
            Ok(()) | Err(NotStored::Full) => {}
            Err(ended) => return Err(ended),
        }
        let log = self.log.clone();
        let border = move || {
            let lowest = log.lowest()?;
            log.sync()?;
            Ok((lowest, log.end()))
        };
        self.writer.run(Vec::new(), border).await
    }

    /// Puts slots in order.
    pub(super) async fn order(self, slots: SlotSet) -> Done {
        loop {
            match self.transfers.order(&slots).await {
                Ok(()) => return Done::Ordered,
                Err(NotStored::Full) => tokio::time::sleep(self.pause).await,
                Err(NotStored::Ended(_)) => return Done::Ended,
            }
        }
    }

    /// Settles what another shard has, and gathers more for it.
    pub(super) async fn give(
        self,
        (to, epoch): (Ordinal, Epoch),
        given: Vec<Entry>,
        (survey, wanted): (Arc<Survey>, Arc<Wanted>),
        from: Option<Position>,
    ) -> Done {
        while !given.is_empty() {
            match self.transfers.moved(given.clone()).await {
                Ok(()) => break,
                Err(NotStored::Full) => tokio::time::sleep(self.pause).await,
                Err(NotStored::Ended(_)) => return Done::Ended,
            }
        }
        loop {
            let (transfers, survey, wanted) = (self.transfers.clone(), survey.clone(), wanted.clone());
            let most = self.batch_bytes;
            match tokio::task::spawn_blocking(move || giving::gather(&transfers, &survey, &wanted, from, most)).await {
                Ok(Ok(batch)) => return Done::Gathered(to, epoch, batch),
                Ok(Err(error)) => tracing::error!(%error, to, "what belongs to another shard cannot be read"),
                Err(error) => tracing::error!(%error, to, "gathering for another shard was interrupted"),
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Makes settlements durable.
    pub(super) async fn sync(self) -> Done {
        let log = self.log.clone();
        match self.writer.run(Vec::new(), move || log.sync()).await {
            Ok(()) => Done::Synced,
            Err(_) => Done::Ended,
        }
    }

    /// Stores what another shard gave.
    pub(super) async fn store(self, (from, epoch, batch): (Ordinal, Epoch, Batch), bequests: Vec<Bequest>) -> Done {
        let events = bequests.len();
        match self.transfers.inherit(bequests).await {
            Ok(added) => Done::Stored(from, epoch, batch, added, events),
            Err(NotStored::Full) => Done::NotStored(from, epoch, batch),
            Err(NotStored::Ended(_)) => Done::Ended,
        }
    }
}
