//! What the operator and a shard say to each other, and nothing else: serde types, ports and paths.
//!
//! ```text
//! operator --ShardConfig (a file)--> shard
//! operator <--ShardReport (JSON)---- shard
//! operator --RoutingTable (JSON)---> shard <--> shards of the region
//! operator --TrafficTable (JSON)---> shard  --> shards of other regions
//! ```
//!
//! **Architecture Invariant:** this crate is a leaf. It reads no clock, file or socket, and both sides may
//! only learn of each other through it.
//!
//! Versions may differ during an upgrade, so a reader ignores what it does not know, and a new field has a
//! default that means what its absence meant before.

mod config;
mod report;
mod routing;
mod traffic;

pub use config::{AddressPolicy, ControlConfig, Ordering, RetryConfig, ShardConfig, SinkConfig, TlsConfig};
pub use report::{BreakerPhase, LastFailure, ShardReport, SinkReport, Usage};
pub use routing::{Peer, RoutingReport, RoutingTable};
pub use traffic::{RegionSeen, RegionShard, RegionTraffic, TrafficReport, TrafficTable};

/// The port that takes events: `POST /`.
pub const EVENTS_PORT: u16 = 8080;

/// The port for probes, metrics and the report. Not part of any Service that producers use.
pub const ADMIN_PORT: u16 = 9090;

/// The port for the report and dead letters of a shard that has keys: TLS, and both sides show a certificate.
pub const CONTROL_PORT: u16 = 9443;

/// Liveness: answers 200 while the process is able to make progress.
pub const HEALTHZ_PATH: &str = "/healthz";

/// Readiness: answers 200 while the shard accepts events.
pub const READYZ_PATH: &str = "/readyz";

/// `OpenMetrics` text.
pub const METRICS_PATH: &str = "/metrics";

/// The [`ShardReport`], as JSON.
pub const REPORT_PATH: &str = "/v1/report";

/// The [`RoutingTable`] that the operator gives to a shard, as JSON: `PUT`. 204: it has it, on disk or about to be. 409: it
/// cannot take it, and the body says why, in a sentence. 503: not yet.
pub const ROUTING_PATH: &str = "/v1/routing";

/// The [`TrafficTable`] that the operator gives to a shard, as JSON: `PUT`. Answers as [`ROUTING_PATH`] does. A table that is
/// not newer than the one the shard has is answered 204 and changes nothing.
pub const TRAFFIC_PATH: &str = "/v1/traffic";

/// The environment variable that tells a shard in a pod its number in its region. Without it, or without a control port,
/// it takes part in no routing: every slot is its own.
pub const ORDINAL_VARIABLE: &str = "SIGNALBOX_ORDINAL";

/// Dead letters: list, replay, delete.
pub const DEAD_LETTERS_PATH: &str = "/v1/dead-letters";

/// Where a shard in a pod finds its [`ShardConfig`].
pub const CONFIG_FILE: &str = "/etc/signalbox/config.json";

/// Where a shard in a pod keeps its log.
pub const DATA_DIR: &str = "/var/lib/signalbox";
