//! The logs from outside, for `benches/log.rs` alone: what is measured there is what the shard uses, called as the
//! writer calls it.

use std::path::Path;

use bytes::Bytes;

use super::fjall::FjallLog;
use super::{LogError, NewRecord, Position, SegmentLog, ShardLog, SinkSet};

/// Index entries read at once, as a sink does.
const READ_BATCH: usize = 512;

/// One of the logs, with two sinks.
pub struct Bench {
    log: Box<dyn ShardLog>,
    identity: u128,
    next: Position,
}

impl Bench {
    /// The segmented log.
    pub fn segments(dir: &Path) -> Result<Self, LogError> {
        Ok(Self::of(Box::new(SegmentLog::open(dir, &sinks())?)))
    }

    /// The log on the embedded store.
    pub fn fjall(dir: &Path) -> Result<Self, LogError> {
        Ok(Self::of(Box::new(FjallLog::open(dir, &sinks())?)))
    }

    fn of(log: Box<dyn ShardLog>) -> Self {
        Self { log, identity: 0, next: 0 }
    }

    /// Appends a group of events with this record, and makes it durable. The second sink gets one of `second_gets`.
    pub fn append(&mut self, events: usize, record: &Bytes, second_gets: u128) -> Result<(), LogError> {
        let group: Vec<NewRecord> = (0..events)
            .map(|_| {
                self.identity += 1;
                let skip = if self.identity.is_multiple_of(second_gets) {
                    SinkSet::default()
                } else {
                    SinkSet::default().with(1)
                };
                let key = u64::try_from(self.identity % 10_000).ok();
                NewRecord { accepted_at_us: 0, key, skip, identity: self.identity, record: record.clone() }
            })
            .collect();
        self.log.append(&group).map(|_| ())
    }

    /// The first sink settles everything that it has not.
    pub fn settle(&mut self) -> Result<(), LogError> {
        loop {
            let found = self.log.unsettled(0, self.next, READ_BATCH)?;
            self.next = found.next;
            if found.entries.is_empty() {
                return Ok(());
            }
            let settlements: Vec<_> = found.entries.into_iter().map(|entry| (0, entry)).collect();
            self.log.settle(&settlements)?;
        }
    }

    /// Events that are not settled everywhere.
    pub fn events(&self) -> Result<u64, LogError> {
        Ok(self.log.stats()?.events)
    }
}

fn sinks() -> Vec<String> {
    vec!["first".to_owned(), "second".to_owned()]
}
