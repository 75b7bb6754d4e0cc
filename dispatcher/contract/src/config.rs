//! The configuration of one shard, as the operator renders it and the dispatcher reads it.

use serde::{Deserialize, Serialize};

/// All that a shard has to know. The shards of one region share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardConfig {
    /// The fleet's name: `metadata.name` of the `EventDispatcher`.
    pub fleet: String,
    /// The region that this shard runs in.
    pub region: String,
    /// Where events go. Every accepted event goes to each of them.
    pub sinks: Vec<SinkConfig>,
    /// Backlog, in bytes on disk, above which new events are answered 429. Leaves room on the volume for the
    /// store's own housekeeping.
    pub backlog_limit_bytes: u64,
    /// Largest event accepted, in bytes of request body. A larger one is answered 413.
    pub max_event_bytes: u64,
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkConfig {
    /// Unique within the fleet. The log remembers what was delivered under this name.
    pub name: String,
    /// Absolute `http` or `https` URI, with `{region}` already replaced.
    pub uri: String,
    /// How long one attempt may take, in milliseconds, from connecting to the last byte of the answer's head.
    pub timeout_ms: u64,
    /// Most attempts in flight at once from one shard.
    pub max_concurrency: u32,
    /// When to try again.
    pub retry: RetryConfig,
}

/// Exponential backoff: the n-th wait is a random time between half of and the whole
/// `min(initial_backoff × 2^(n-1), max_backoff)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryConfig {
    /// The first wait, in milliseconds.
    pub initial_backoff_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_backoff_ms: u64,
}
