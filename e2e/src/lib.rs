//! What the demo and the story tests stand on.
//!
//! ```text
//! signalbox-cluster: a real Kubernetes       signalbox-images: the two images
//!            \                                   /
//!             stage: operator installed through the chart
//!                |
//!             scene: a namespace of its own, with sinks, fleets and load
//!                |
//!             demo, tests/stories
//! ```
//!
//! Nothing here knows how the operator works inside: it applies YAML, sends events, and looks.

pub mod bench;
mod fleet;
mod gateway;
mod load;
mod pair;
mod scene;
mod sinks;
mod stage;
mod wait;
pub mod writes;

pub use fleet::{Fleet, FleetSpec, SinkSpec, breaker, condition};
pub use gateway::{GATEWAY, Gateway, Weights};
pub use load::{Interval, Latency, Load, LoadResult, LoadSpec, every_region_accepts, known_everywhere};
pub use pair::{PATIENCE, Pair, accepted_arrives, last_connection};
pub use scene::{Scene, restarts};
pub use sinks::{Receipts, Signatures, Sinks, Tally};
pub use stage::{NAMESPACE, Stage};
pub use wait::eventually;
