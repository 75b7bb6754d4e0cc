//! What a shard says of itself.

use serde::{Deserialize, Serialize};

use super::{RoutingReport, TrafficReport};

/// One shard's answer to `GET /v1/report`: true at the moment it was taken, and derived from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardReport {
    /// The fleet this shard was configured for.
    pub fleet: String,
    /// The region this shard was configured for.
    pub region: String,
    /// Which process speaks: drawn anew at every start, so that counters of two lives are never subtracted.
    pub incarnation: String,
    /// Counts the reports of this incarnation: a report whose number is not above the last one seen is old.
    #[serde(default)]
    pub sequence: u64,
    /// Milliseconds since this incarnation began, by a clock that only goes forward: what totals are divided by.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Whether `POST /` accepts events now. False while stopping, and while the backlog is at its limit.
    pub accepting: bool,
    /// Events accepted and not yet settled at every sink.
    pub backlog_events: u64,
    /// The same in bytes of stored events.
    pub backlog_bytes: u64,
    /// How long ago the oldest event of the backlog was accepted, in milliseconds. Absent when the backlog is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_event_age_ms: Option<u64>,
    /// Events answered 202 in this incarnation.
    pub accepted_total: u64,
    /// Events that left the backlog in this incarnation because they were settled at every sink. What other shards took
    /// over is not among them, and what came from other shards counts here when it is settled here.
    #[serde(default)]
    pub settled_total: u64,
    /// Requests answered 429 or 503 because of a limit of this shard, in this incarnation.
    #[serde(default)]
    pub refused_total: u64,
    /// What the process uses of its machine.
    #[serde(default)]
    pub usage: Usage,
    /// Where it is with its routing table. Absent: it takes part in no routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingReport>,
    /// Where it is with its traffic table, and what it sees of other regions. Absent: it takes part in no routing, and takes
    /// no such table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficReport>,
    /// One entry per configured sink, in the order of the configuration.
    pub sinks: Vec<SinkReport>,
}

/// What a shard's process uses of its machine. Totals are of this incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Processor time of all its threads, in microseconds.
    pub cpu_us_total: u64,
    /// Processors it may use, in thousandths: its quota, else those of its node. 0: not known.
    pub cpu_limit_millis: u64,
    /// Time in which the log's thread was writing or waiting for the disk, in microseconds.
    pub disk_busy_us_total: u64,
    /// Time that accepted events waited to be on disk, all of them together, in microseconds.
    #[serde(default)]
    pub disk_wait_us_total: u64,
    /// Requests refused because too much was being received at once.
    pub receive_refused_total: u64,
}

/// One sink as one shard sees it. Totals are of this incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkReport {
    /// The sink's name.
    pub name: String,
    /// Events accepted and not yet settled at this sink.
    pub backlog_events: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Events that this sink answered 2xx.
    pub delivered_total: u64,
    /// Attempts that ended otherwise.
    pub failed_attempts_total: u64,
    /// Failed attempts since the last success. Zero while the sink is well, and while nothing waits for it.
    pub consecutive_failures: u64,
    /// How long the sink has failed without a break: from the beginning of the first attempt of the row, or from the last
    /// answer if that was later, to the beginning of the latest, in milliseconds. So it never is longer than the sink was
    /// away, and what has not been tried since is not in it. An attempt under way is one of the row as soon as three have
    /// failed and its own answer is late: after 750 ms, or twice what the sink usually takes, whichever is longer. Of a sink
    /// that hangs, that is known before its timeout is over. Probes that fail lengthen the row, also while the sink's breaker
    /// is tripped. Only what says that the sink as a whole is unwell is such a failure (5xx, no answer in time, no
    /// connection): one that refuses an event (4xx) is there, and ends the row, though it counts in `consecutive_failures`;
    /// one that throttles neither lengthens nor ends it. 0: fewer than two failures in the row, or nothing waits for the sink.
    #[serde(default)]
    pub failing_ms: u64,
    /// Where the sink's breaker is.
    #[serde(default)]
    pub phase: BreakerPhase,
    /// How many attempts at once the sink is trusted with now: at most its `maxConcurrency`, less while it is slow,
    /// throttles, or is coming back.
    #[serde(default)]
    pub concurrency_limit: u64,
    /// Attempts that ended, however they ended.
    #[serde(default)]
    pub attempts_total: u64,
    /// Time that all attempts took together, in microseconds.
    #[serde(default)]
    pub attempt_us_total: u64,
    /// Attempts answered 429, or 503 with `Retry-After`: the sink asks for less.
    #[serde(default)]
    pub throttled_total: u64,
    /// Time in which an event could have been sent, and was not because the limit of attempts was reached, in
    /// microseconds.
    #[serde(default)]
    pub limited_us_total: u64,
    /// Of the events that this shard looks ahead to, how many wait behind another of their key.
    #[serde(default)]
    pub blocked_events: u64,
    /// Of the events that this shard looks ahead to, how many are of the key that has most.
    #[serde(default)]
    pub largest_lane_events: u64,
    /// Events that this shard looks ahead to.
    #[serde(default)]
    pub window_events: u64,
    /// Events given up on and kept, with their reasons.
    #[serde(default)]
    pub dead_letters: u64,
    /// The latest failed attempt, kept after the sink has recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
}

/// Whether a sink is sent events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreakerPhase {
    /// As many as it takes.
    #[default]
    Serving,
    /// None: it fails. Its events wait, and no attempt is counted against them.
    Tripped,
    /// A few, to see whether it is back.
    Probing,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// One sentence without the payload: "connection refused", "no answer within 5s", "answered 503".
    pub message: String,
    /// How long ago, in milliseconds.
    pub age_ms: u64,
}
