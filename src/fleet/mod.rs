//! The nouns that flow between the rooms: intent -> snapshot -> plan.
//!
//! ```text
//! EventDispatcher --parse--> FleetIntent --+
//!                                          +--decide--> FleetPlan
//! cluster, shards --observe-> FleetSnapshot+
//! ```
//!
//! **Architecture Invariant:** a leaf. Plain data with constructors; no async, no client, no clock, no policy.

mod bottleneck;
mod breaker;
mod intent;
mod keyring;
mod limit;
mod manual;
mod memory;
pub mod names;
mod plan;
mod routing;
mod scaling;
mod snapshot;
mod traffic;
mod units;

pub use bottleneck::{
    Bottleneck, FleetHistory, Foretold, Known, Look, Point, Quickest, RegionHistory, Saturates, Saturation,
};
pub use breaker::{
    BreakerHistory, BreakerIntent, BreakerLook, BreakerMemory, BreakerPlan, BreakerReason, TripCause, WhenAllUnhealthy,
};
pub use intent::{FleetIntent, QueueIntent, RegionIntent, ShardDefaults, Signing, SinkIntent, SpecError};
pub use keyring::{Authority, KeyPairPem, Keyring};
pub use limit::Limit;
pub use manual::{HeldPhase, HoldPurpose, ManualIntent, RegionHold};
pub use memory::{Called, Capacity, FleetMemory, Hold, RegionMemory, Trial, WINDOW_ENTRIES};
pub use plan::{EndpointPlan, FleetPlan, RegionPlan, RegionReason, Standing};
pub use routing::{Behind, Routing, RoutingPlan};
pub use scaling::{Bound, ScalingDecision, ScalingIntent, ScalingMode, ScalingNumbers, ScalingReason, ShardRange};
pub use snapshot::{
    DataPort, FleetSnapshot, NotRead, Observation, PodSnapshot, PodTrouble, Rates, RegionSnapshot, Report, Rollout,
    ShardSnapshot, SinkRates, TroubleKind, Volume,
};
pub use traffic::{
    GatewayIntent, ParentIntent, RegionTrafficPlan, Shift, TrafficHistory, TrafficIntent, TrafficMemory, TrafficPlan,
};
pub use units::{approximate_age, approximate_count, check_network, parse_duration, round_to_two_digits, whole_second};
