//! The shard's durable queue: what [`ShardLog`] promises, and what it is made of.
//!
//! ```text
//! append --> [ position 0 | 1 | 2 | ... | end )          one record per accepted event
//!                   ^ cursor of sink A        everything below is settled there
//!                         settled above it:   ranges, held by the Ledger
//! ```
//!
//! The contract, which `conformance.rs` checks for every implementation:
//!
//! 1. **Durable.** When [`ShardLog::append`] returns `Ok`, its events are on disk (`fdatasync`) and outlive a
//!    power cut. A group is stored whole or not at all.
//! 2. **Ordered.** Positions only grow, in the order of the group, and are never used twice, not even after a
//!    restart of an empty log.
//! 3. **Settled once, per sink.** An event is offered to a sink by [`ShardLog::unsettled`] until it is settled
//!    there. When all sinks have settled it, it is trimmed: it no longer counts, and its space is given back in
//!    the store's own time.
//! 4. **Forgetting is harmless.** When [`ShardLog::settle`] returns, its settlements outlive the process; they
//!    outlive a power cut only after the next append or [`ShardLog::sync`]. What is forgotten is delivered again:
//!    at least once.
//! 5. **The log is the truth.** Counts, bytes and ages are derived from it at start and kept up from there.
//! 6. **No way back.** Nothing that has been settled is read again: reading goes on from a position, and
//!    trimming never looks for the oldest event from the beginning.
//! 7. **A failed write is the end.** After an error of `append`, `settle` or `sync` what is on disk is unknown.
//!    The caller stops acknowledging and ends the process; the next start recovers. [`LogError::Full`] is no such
//!    error: then `append` has written nothing.
//! 8. **One writer.** `append`, `settle` and `sync` are called from one thread, `writer.rs`. Reading may be done
//!    from any.
//!
//! Sinks are known to the log by name. A sink that is new starts at the end: it gets what is accepted from then
//! on. A sink that is gone takes its settlements along, and what only it was waiting for is trimmed.
//!
//! `pair` puts two of them together: what this shard accepted, and what it inherited. May import nothing of this crate,
//! but for that one `slots`.

pub mod bench;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod drawn;
mod fjall;
mod ledger;
#[cfg(test)]
pub(crate) mod memory;
pub(super) mod pair;
mod segment;

use std::path::PathBuf;

use bytes::Bytes;

#[cfg(test)]
use fjall::FjallLog;
pub(super) use pair::{Bequest, Gifts, INHERITED, Origin, PairLog, is_inherited};
use segment::SegmentLog;
pub use segment::fuzz;

/// Bytes that one event takes besides its record: its frame and its index entry, rounded up.
pub(super) const OVERHEAD_BYTES: u64 = 128;

/// Where an event is in the log.
pub(super) type Position = u64;

/// A sink by its index in the configuration.
pub(super) type SinkId = usize;

/// An event about to be appended.
#[derive(Clone, Debug)]
pub(super) struct NewRecord {
    /// When it was accepted, in microseconds since 1970.
    pub accepted_at_us: i64,
    /// Hash of its key: [`key_hash`]. Events with the same hash are delivered in order. Nothing: no order.
    pub key: Option<u64>,
    /// The sinks that it is not for: settled there from the start, atomically with being stored.
    pub skip: SinkSet,
    /// What tells it from every other event: a hash of 128 bits of its `source` and `id`.
    pub identity: u128,
    /// The encoded event.
    pub record: Bytes,
}

/// A set of sinks. There are at most 32 in a configuration; this holds 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SinkSet(u64);

impl SinkSet {
    /// The same with `sink`.
    pub(super) fn with(self, sink: SinkId) -> Self {
        Self(self.0 | u32::try_from(sink).ok().and_then(|sink| 1_u64.checked_shl(sink)).unwrap_or(0))
    }

    /// Whether `sink` is in it.
    pub(super) fn contains(self, sink: SinkId) -> bool {
        u32::try_from(sink).ok().and_then(|sink| self.0.checked_shr(sink)).is_some_and(|bits| bits & 1 == 1)
    }

    /// Those that are in it, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = SinkId> {
        (0..64).filter(move |&sink| self.contains(sink))
    }
}

/// What the log knows of an event without reading its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is.
    pub position: Position,
    /// When it was accepted, in microseconds since 1970.
    pub accepted_at_us: i64,
    /// Hash of its key, if it has one.
    pub key: Option<u64>,
    /// Bytes that it takes: its record and [`OVERHEAD_BYTES`].
    pub bytes: u64,
    /// Sinks that it is not for, as the log numbers them: of use to the log only.
    pub skip: SinkSet,
}

/// Part of what a sink still has to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    /// In order of position.
    pub entries: Vec<Entry>,
    /// Where to go on reading.
    pub next: Position,
}

/// The log at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogStats {
    /// Events not yet settled at every sink.
    pub events: u64,
    /// Bytes that they take, [`OVERHEAD_BYTES`] each included.
    pub bytes: u64,
    /// When the oldest of them was accepted, in microseconds since 1970.
    pub oldest_accepted_at_us: Option<i64>,
    /// Events not yet settled, per sink.
    pub sinks: Vec<u64>,
    /// Events that were found damaged since the start, and are lost. They count as settled.
    pub lost: u64,
    /// The position that the next event will get. What it has moved by, and the backlog has not grown by, was settled.
    pub end: Position,
    /// Of those, how many no sink settled: they went to another shard, or to another place in here. Since the start, and
    /// for a moment more than there are.
    pub departed: u64,
}

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Someone else has it open.
    #[error("the data directory {0} is in use by another process: stop that one, or give this one its own --data-dir")]
    Locked(PathBuf),
    /// The data directory cannot be made or opened.
    #[error("the data directory {path} cannot be opened ({source}): give a --data-dir that this process may write to")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store failed. Writing to it has to end: see the contract, 7.
    #[error("the log failed: {0}")]
    Store(String),
    /// There is no room on the disk for more events. Nothing was written, and nothing has failed: settling makes
    /// room, and appending may be tried again.
    #[error("the disk is full: nothing is accepted until deliveries have made room, or the volume is made larger")]
    Full,
    /// The store holds something that is not ours to read.
    #[error("the log holds {0}, which this version cannot read")]
    Foreign(&'static str),
}

/// A durable queue with settlements per sink. The contract is in the documentation of this module.
pub(super) trait ShardLog: Send + Sync + 'static {
    /// Appends a group and makes it durable. Of each event, the sinks in its `skip` have settled it from then on;
    /// an event that no sink wants is not to be appended. Returns the position of the first; the others follow it.
    fn append(&self, group: &[NewRecord]) -> Result<Position, LogError>;

    /// Notes that these events are settled at these sinks. Settling twice is settling once.
    fn settle(&self, settlements: &[(SinkId, Entry)]) -> Result<(), LogError>;

    /// Makes all settlements so far durable.
    fn sync(&self) -> Result<(), LogError>;

    /// Up to `limit` events at or after `from` that `sink` has not settled. None when `from` is the end.
    fn unsettled(&self, sink: SinkId, from: Position, limit: usize) -> Result<Unsettled, LogError>;

    /// The record at `position`, unless it has been trimmed.
    fn read(&self, position: Position) -> Result<Option<Bytes>, LogError>;

    /// When they were accepted, and the identities, of events that the log still has, in order of position. Those
    /// that were accepted longer than `span_us` before the last one may be left out.
    fn identities(&self, span_us: i64) -> Result<Vec<(i64, u128)>, LogError>;

    /// The position that the next event will get.
    fn end(&self) -> Position;

    /// Counts, at the price of one read.
    fn stats(&self) -> Result<LogStats, LogError>;

    /// Bytes of all events not yet settled everywhere. Cheap: asked for every request.
    fn backlog_bytes(&self) -> u64;
}

/// The number that stands for a key in the log: FNV-1a of 64 bits, with the finaliser of `MurmurHash3` so that its
/// lower bits are as good as the upper. It is stored, so it must never change. Keys that collide only wait for
/// each other.
pub(super) fn key_hash(key: &str) -> u64 {
    let mut hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::key_hash;

    #[test]
    fn the_hash_of_a_key_never_changes() {
        assert_eq!(key_hash(""), 0xefd0_1f60_ba99_2926);
        assert_eq!(key_hash("a"), 0x82a2_a958_a9be_ce5b);
        assert_eq!(key_hash("order-4711"), 0x140f_65d6_8b87_9ec1);
        assert_eq!(key_hash("gr\u{fc}\u{df}e"), 0xee29_eaa8_207e_2bfb);
        assert_ne!(key_hash("key-1"), key_hash("key-2"));
    }
}
