//! What was decided, and why: specific enough that no choice is left to whoever carries it out.

use std::time::Duration;

use super::bottleneck::{Bottleneck, FleetHistory};
use super::breaker::BreakerPlan;
use super::drill::DrillMemory;
use super::memory::FleetMemory;
use super::routing::RoutingPlan;
use super::scaling::ScalingDecision;
use super::traffic::{TrafficMemory, TrafficPlan};

/// What is to become of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPlan {
    /// Those of the spec in its order, then those that are leaving, by name.
    pub regions: Vec<RegionPlan>,
    /// What limits those that stay, in the order of the spec.
    pub bottlenecks: Vec<Bottleneck>,
    /// How new events are led to them.
    pub traffic: TrafficPlan,
    /// Whether it had an `HTTPRoute`, which is to go if it is to have none now.
    pub had_route: bool,
    /// The latest drill, as it stands now.
    pub drill: Option<DrillMemory>,
    /// What to know of this look with the next one.
    pub history: FleetHistory,
    /// When to decide again if nothing is seen to change before.
    pub recheck_after: Duration,
}

impl FleetPlan {
    /// What the next decision must know: the same as the status then says.
    pub fn memory(&self) -> FleetMemory {
        let regions = self.regions.iter().filter_map(|region| {
            let memory = &region.scaling.as_ref()?.memory;
            memory.wanted.is_some().then(|| (region.name.clone(), memory.clone()))
        });
        let routing = self.regions.iter().filter_map(|region| {
            let plan = region.routing.as_ref()?;
            (region.standing != Standing::Gone).then(|| (region.name.clone(), plan.routing.clone()))
        });
        let breakers = self.regions.iter().filter_map(|region| {
            let plan = region.breaker.as_ref()?;
            Some((region.name.clone(), plan.memory))
        });
        let shares = self.traffic.regions.iter().map(|(name, region)| (name.clone(), region.share_permille));
        let version = self.traffic.table.as_ref().map_or(0, |table| table.version);
        FleetMemory {
            regions: regions.collect(),
            routing: routing.collect(),
            breakers: breakers.collect(),
            traffic: TrafficMemory { version, digest: self.traffic.digest, shares: shares.collect() },
            drill: self.drill.clone(),
            route: self.had_route,
        }
    }

    /// What limits the region of this name, if the spec has it.
    pub fn bottleneck(&self, region: &str) -> Option<&Bottleneck> {
        self.bottlenecks.iter().find(|bottleneck| bottleneck.region == region)
    }
}

/// What is to become of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPlan {
    /// The region's name.
    pub name: String,
    /// Whether the spec has it.
    pub standing: Standing,
    /// Its weight; 0 when it is leaving.
    pub weight: u32,
    /// Shards that are wanted by spec and load; 0 when it is leaving.
    pub wanted: u32,
    /// Shards to run now: more than `wanted` while shards that go still hold events.
    pub replicas: u32,
    /// Whether `replicas` is ours to write: not where somebody else decides and the StatefulSet exists.
    pub writes_replicas: bool,
    /// Shards that accept events, of `replicas`.
    pub ready: u32,
    /// Every pod, by ordinal, and whether producers are sent there.
    pub endpoints: Vec<EndpointPlan>,
    /// The share of new events that the region delivers, in percent: what its listed shards get of new connections, less
    /// what it hands over to other regions, with what they hand over to it.
    pub share_percent: u32,
    /// Whether the region is as the spec says: every shard that it always has is ready and up to date.
    pub settled: bool,
    /// How its size follows its load; `None` when it is leaving.
    pub scaling: Option<ScalingDecision>,
    /// Where its breaker is; `None` when it is leaving.
    pub breaker: Option<BreakerPlan>,
    /// Who owns its slots; `None` while no shard takes part in routing.
    pub routing: Option<RoutingPlan>,
    /// Why the region is as it is.
    pub reason: RegionReason,
    /// The same in a sentence, with the object to look at.
    pub message: String,
}

/// One pod as the Service is to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlan {
    /// The pod's name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// Its address.
    pub ip: String,
    /// Its node.
    pub node: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Producers are sent here.
    pub listed: bool,
    /// It accepts events, whether or not producers are sent here.
    pub serving: bool,
    /// It is being deleted.
    pub terminating: bool,
}

/// Whether a region belongs to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The spec has it.
    Stays,
    /// The spec has it no more, and its shards still hold events: its objects are left as they are.
    Leaving,
    /// The spec has it no more, and nothing keeps it: its objects are deleted.
    Gone,
}

/// Why a region is as it is. The same word is the reason in status, conditions, events and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegionReason {
    /// Every shard is ready and takes its share.
    Serving,
    /// Every shard is ready; its weight of 0 keeps new events away.
    OutOfService,
    /// Its breaker is Tripped: other regions get its traffic.
    Tripped,
    /// Its breaker is Probing: its traffic comes back step by step.
    Probing,
    /// Every shard is ready, but not all of them say what they hold.
    ReportsMissing,
    /// Shards that go deliver what they hold first, or hand it over.
    Draining,
    /// Every shard is ready, and some wait for what others held of slots that are theirs now.
    Claiming,
    /// Every shard is ready, and the volume of one that is gone still holds events.
    Stranded,
    /// The region is not in the spec any more, and delivers what it holds first.
    Leaving,
    /// Pods are being replaced by ones of the new spec.
    RollingOut,
    /// Shards are being started.
    Starting,
    /// No node takes a pod.
    Unschedulable,
    /// A pod's volume cannot be had.
    VolumeUnavailable,
    /// The image cannot be had.
    ImageUnavailable,
    /// A shard ends again and again.
    Crashing,
    /// A container cannot be made.
    ContainerRejected,
}

impl RegionReason {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::OutOfService => "OutOfService",
            Self::Tripped => "Tripped",
            Self::Probing => "Probing",
            Self::ReportsMissing => "ReportsMissing",
            Self::Draining => "Draining",
            Self::Claiming => "Claiming",
            Self::Stranded => "Stranded",
            Self::Leaving => "Leaving",
            Self::RollingOut => "RollingOut",
            Self::Starting => "Starting",
            Self::Unschedulable => "Unschedulable",
            Self::VolumeUnavailable => "VolumeUnavailable",
            Self::ImageUnavailable => "ImageUnavailable",
            Self::Crashing => "Crashing",
            Self::ContainerRejected => "ContainerRejected",
        }
    }
}
