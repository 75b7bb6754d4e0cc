//! Who takes whose traffic, as this shard was told: the operator's table, on disk, and what this shard does by it.
//!
//! ```text
//! operator --push--> check --file--> Traffic --> evacuation: which slots go to which region
//!                                       ^   \--> ingest: whether events are refused
//!        neighbours: what is seen of others \--> report, metrics
//! ```
//!
//! A shard goes by the last table that it was given, also after a restart: it needs no operator for that. May import
//! `file`, `slots`, and `metrics`.

mod check;
mod file;
mod share;
mod store;

pub(super) use share::{Destinations, destinations};
pub(super) use store::{NotTaken, Traffic};

#[cfg(test)]
pub(super) use store::tests::table;
