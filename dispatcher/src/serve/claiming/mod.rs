//! Claims, carried out: what the pure machine of the crate's `claims` says, on this shard's disk and network.
//!
//! ```text
//! ingest --route--> Router: here, to its owner, or wait        peers --heard--> inbox
//! operator --push--> inbox --> the machine --> effects --> Transfers, the state's file, Outbox --> peers
//! ```
//!
//! May import `log`, `transfers`, `gates`, `slots`, `writer`, and the crate's `claims` and `slots`.

mod driver;
mod durable;
mod giving;
mod handle;
mod jobs;
mod marks;
mod opening;
mod parcel;
mod router;
#[cfg(test)]
mod simulation;
mod start;
mod storing;

pub(super) use handle::{Claiming, Standing};
pub(super) use parcel::{Handed, Outbox, Parcel};
pub(super) use router::{Admission, Router, Routes, Way};
pub(super) use start::{BATCH_BYTES, Start, Started, TICK};
