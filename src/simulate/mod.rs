//! A model of a fleet, driven by the very `decide` that runs in the operator: to see what a spec would do with a load.
//!
//! ```text
//! load (a shape with a seed, or what was recorded) --> world --reports--> decide --shards--> world ... --> timeline
//! ```
//!
//! **Architecture Invariant:** pure, and the same seed gives the same timeline. Files are read by `command` alone.

mod command;
mod faults;
mod load;
mod page;
mod plot;
mod random;
mod run;
mod shard;
mod sight;
mod summary;
mod text;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use command::{Output, Simulate};
pub use faults::{Fault, FaultKind, drawn};
pub use load::{Load, Shape, shaped};
pub use run::{Change, Sample, Timeline, simulate};
pub use summary::{RegionSummary, Summary, summary};
pub use trace::{Line, TraceError};
pub use world::{Leader, World};
