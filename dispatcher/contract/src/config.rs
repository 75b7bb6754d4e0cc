//! The configuration of one shard, as the operator renders it and the dispatcher reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All that a shard has to know. The shards of one region share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardConfig {
    /// The fleet's name: `metadata.name` of the `EventDispatcher`.
    pub fleet: String,
    /// The region that this shard runs in.
    pub region: String,
    /// Where events go. Every accepted event goes to each of them whose filter it matches.
    pub sinks: Vec<SinkConfig>,
    /// Backlog, in bytes on disk, above which new events are answered 429. Leaves room on the volume for the
    /// store's own housekeeping.
    pub backlog_limit_bytes: u64,
    /// Backlog, in events, above which new events are answered 429. Absent: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_limit_events: Option<u64>,
    /// Age of the oldest event of the backlog, in milliseconds, above which new events are answered 429: a queue
    /// that does not move is told to those who fill it. Absent: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_limit_age_ms: Option<u64>,
    /// Largest event accepted, in bytes of request body; of a batch, the whole. A larger one is answered 413.
    pub max_event_bytes: u64,
    /// For how long an event with the `source` and `id` of one that was accepted is taken for the same, in
    /// milliseconds: answered 202 and not stored again. 0: not looked at.
    #[serde(default)]
    pub duplicate_window_ms: u64,
    /// Bytes that dead letters may take. While they are at the limit, no event is given up: it is tried again
    /// instead. 0: none are kept, so no event is ever given up.
    #[serde(default)]
    pub dead_letter_limit_bytes: u64,
    /// Certificate and key of the events port. Absent: plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// The port for the report and dead letters, with keys. Absent: they are on the admin port, for everybody who can
    /// reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlConfig>,
    /// Which addresses sinks may have.
    #[serde(default)]
    pub addresses: AddressPolicy,
}

/// A certificate of a server, in PEM files that are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// The chain, the server's own certificate first.
    pub cert_file: String,
    /// Its private key.
    pub key_file: String,
}

/// The control port: both sides show a certificate. PEM files, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlConfig {
    /// Address and port to listen on.
    pub listen: std::net::SocketAddr,
    /// The chain, the shard's own certificate first.
    pub cert_file: String,
    /// Its private key.
    pub key_file: String,
    /// The authorities that may vouch for who connects, and for the shards that this one connects to.
    pub ca_file: String,
    /// The name that the operator's certificate is made out to, of the DNS kind. It may do everything that there is.
    pub operator: String,
    /// The name that the certificates of the fleet's shards are made out to, this one's among them. They may speak as
    /// shards do to each other, and nothing else. Who has neither name is refused, whoever vouches.
    pub shard: String,
}

/// Which addresses sinks may have, looked at when a connection is made. Networks are written in CIDR notation, such
/// as `10.0.0.0/8`. Link-local addresses, those of the metadata services of clouds among them, are never allowed,
/// nor are multicast, unspecified and reserved ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressPolicy {
    /// Networks that are not allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// If there are any: networks that alone are allowed, unless denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
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
    /// In which order events are delivered.
    #[serde(default)]
    pub ordering: Ordering,
    /// `CloudEvents` attributes by name, each with the prefix that its value must have. An event that lacks one, or
    /// has another value, is not for this sink. Empty: every event is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, String>,
    /// File with the Standard Webhooks secrets that sign deliveries, one `whsec_...` a line, read again when it
    /// changes. Absent: deliveries are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret_file: Option<String>,
}

/// In which order a sink gets its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordering {
    /// Events of one key one at a time, in the order in which they were accepted.
    #[default]
    PerKey,
    /// As they come.
    None,
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
    /// Failed attempts after which an event becomes a dead letter. What fails because the sink as a whole is down
    /// does not count. Absent: an event is tried for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
}
