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
mod drill;
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
    Attempts, BreakerHistory, BreakerIntent, BreakerLook, BreakerMemory, BreakerPlan, BreakerReason, ShardTotals,
    Suspicion, TripCause, WhenAllUnhealthy,
};
pub use drill::{DrillHistory, DrillMemory, DrillOutcome, ShardRefusals};
pub use intent::{FleetIntent, QueueIntent, RegionIntent, ShardDefaults, Signing, SinkIntent, SpecError};
pub use keyring::{Authority, KeyPairPem, Keyring};
pub use limit::Limit;
pub use manual::{HeldPhase, HoldPurpose, LONGEST_ORDER, ManualIntent, PAUSE_SCALING, RegionHold};
pub use memory::{Called, Capacity, FleetMemory, Hold, RegionMemory, Trial, WINDOW_ENTRIES, phase_word};
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
pub use units::{
    approximate_age, approximate_count, check_network, digest, floor_to_two_digits, parse_duration,
    round_to_two_digits, share_text, whole_second,
};
