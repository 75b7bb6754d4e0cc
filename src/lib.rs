//! The Signalbox operator: one `EventDispatcher` in, a fleet of event dispatchers out.
//!
//! ```text
//!            controller.rs: the only file that knows the order
//!   observe --> decide --> render --> apply --> report --> push
//!     in        pure       pure       out       out        out
//!      \__________\__________\_________\_________\________/
//!            fleet/  manifests.rs  api/ : the leaves
//! ```
//!
//! | room | power | may import |
//! | --- | --- | --- |
//! | `api` | leaf: what users write and read | nothing |
//! | `fleet` | leaf: intent, snapshot, plan, names | `api` |
//! | `manifests` | leaf: the parcel of objects | nothing |
//! | `tls` | leaf: what the operator shows to shards, and whom it takes for one | `fleet` |
//! | `observe` | reads the network | `api`, `fleet`, `manifests`, `clock`, `metrics`, `tls` |
//! | `decide` | pure | `fleet` |
//! | `keys` | mints certificates; pure, given time and random keys | `fleet` |
//! | `render` | pure, infallible | `api`, `fleet`, `manifests` |
//! | `apply` | writes objects | `api`, `fleet::names`, `manifests` |
//! | `report` | writes status and events | `api`, `fleet`, `manifests` |
//! | `push` | gives shards their routing tables, and the traffic table | `fleet`, `metrics`, `tls` |
//! | `simulate` | pure: a model of a fleet, for `decide` to decide about | `api`, `fleet`, `decide` |
//!
//! Each room has one door: a public function of the room's name. `tidy.rs` reads the sources and fails on an
//! import that this table does not allow.

pub mod api;
pub mod fleet;
pub mod simulate;

mod admin;
mod apply;
mod clock;
mod controller;
mod decide;
mod error;
mod keys;
mod leading;
mod lease;
mod manifests;
mod metrics;
mod observe;
mod push;
mod record;
mod render;
mod report;
mod run;
mod tls;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tidy;

pub use run::{Settings, run};
