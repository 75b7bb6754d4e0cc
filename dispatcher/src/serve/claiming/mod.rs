//! Claims, carried out: what the pure machine of the crate's `claims` says, on this shard's disk and network.
//!
//! ```text
//! ingest --route--> Router: here, to its owner, or wait        peers --heard--> inbox
//! operator --push--> inbox --> the machine --> effects --> Transfers, the state's file, Outbox --> peers
//! ```
//!
//! May import `log`, `transfers`, `gates`, `slots`, `writer`, and the crate's `claims` and `slots`.
#![allow(dead_code, unused_imports, reason = "nothing drives it yet")]

mod durable;
mod marks;
mod parcel;
mod router;

pub(super) use parcel::{Handed, Outbox, Parcel};
pub(super) use router::{Admission, Router, Routes, Way};
