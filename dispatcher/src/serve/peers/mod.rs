//! Shards speak to each other, on the control port. Those of one region: messages of the protocol, and events that are
//! passed on to the shard that owns their key. Those of other regions: events that are given away.
//!
//! ```text
//! claims --Outbox--\                                   /messages --> Router::heard
//!                   > links --HTTP/2 over TLS--> inbound
//! ingest --hand over-/   one connection per peer       \/events ----> the storing of ingest
//! evacuation --give--> regions --HTTP/2 over TLS--> shards of other regions
//! ```
//!
//! Both sides show a certificate of the fleet that is made out to its shards. May import `claiming`, `clock`, `evacuation`'s
//! door, `ingest`, `log`, `metrics`, and the crate's `claims`, `server` and `slots`.

mod connect;
pub mod fuzz;
mod inbound;
mod links;
mod queue;
mod regions;
mod sender;
mod whereabouts;
mod wire;

pub(super) use inbound::{Door, router};
pub(super) use links::Links;

/// Where shards send the messages of the protocol: `POST`.
pub(super) const MESSAGES_PATH: &str = "/v1/peers/messages";

/// Where shards pass events on to their owner: `POST`.
pub(super) const EVENTS_PATH: &str = "/v1/peers/events";

/// Where shards of other regions give events away: `POST`.
pub(super) const REGIONS_PATH: &str = "/v1/regions/events";
