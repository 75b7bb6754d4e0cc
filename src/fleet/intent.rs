//! What the user wants, parsed: after this nothing reads the raw resource, and rendering cannot fail.
//!
//! The API server has checked nearly all of this by the rules in the CRD. It is checked again because objects
//! stored under older rules stay valid while they are unchanged.

mod breaker;
mod manual;
mod sinks;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use signalbox_contract::AddressPolicy;
use thiserror::Error;

use super::breaker::BreakerIntent;
use super::manual::ManualIntent;
use super::names;
use super::scaling::{ScalingIntent, ScalingMode, ShardRange};
use super::traffic::TrafficIntent;
use super::units::{parse_bytes, parse_duration};
use crate::api::{self, EventDispatcher, Queue, Region};

pub use sinks::{Signing, SinkIntent};

/// What a fleet's pods get when its spec does not say, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardDefaults {
    /// The dispatcher image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Which addresses sinks may have: for whoever runs the operator to say, not for whoever has a fleet.
    pub addresses: AddressPolicy,
}

/// One fleet as its user wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetIntent {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: what owner references point at.
    pub uid: String,
    /// At least one, names distinct.
    pub sinks: Vec<SinkIntent>,
    /// The queue of each shard.
    pub queue: QueueIntent,
    /// The Secret with the certificate of the events port; `None` for plain HTTP.
    pub tls_secret: Option<String>,
    /// How the regions' sizes follow their load.
    pub scaling: ScalingIntent,
    /// At least one, names distinct, the sum of the weights above 0.
    pub regions: Vec<RegionIntent>,
    /// When a region is taken out of service, and how it comes back.
    pub breaker: BreakerIntent,
    /// How new events are led to regions.
    pub traffic: TrafficIntent,
    /// What people ask for by annotation.
    pub manual: ManualIntent,
    /// The image that the shards run.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: String,
    /// Which addresses sinks may have.
    pub addresses: AddressPolicy,
}

/// The durable queue of each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueIntent {
    /// Size of the volume, as the user wrote it.
    pub storage: String,
    /// The same in bytes.
    pub storage_bytes: u64,
    /// `None` for the cluster's default class.
    pub storage_class: Option<String>,
    /// Most events in the backlog.
    pub limit_events: Option<u64>,
    /// Highest age of the oldest of them.
    pub limit_age: Option<Duration>,
    /// For how long an event of the same source and id is the same; zero for never.
    pub duplicate_window: Duration,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionIntent {
    /// Distinct within the fleet.
    pub name: String,
    /// Share of new traffic, relative to the other regions.
    pub weight: u32,
    /// Shards to run.
    pub shards: ShardRange,
    /// Labels of the nodes to run on.
    pub node_selector: BTreeMap<String, String>,
}

/// Why a spec cannot be acted on. Each says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// An object from the API server without one of the fields that it always sets.
    #[error("metadata.{0} is missing")]
    Metadata(&'static str),
    /// A field whose text does not parse.
    #[error("{field}: {text:?} cannot be read; {instead}")]
    Unreadable {
        /// Path of the field.
        field: String,
        /// What it says.
        text: String,
        /// What to write instead.
        instead: &'static str,
    },
    /// A number out of its range.
    #[error("{field}: {value} is out of range; {instead}")]
    OutOfRange {
        /// Path of the field.
        field: String,
        /// What it says.
        value: i64,
        /// What to write instead.
        instead: &'static str,
    },
    /// Two entries of a list with one name.
    #[error("{field}: the name {name:?} is used twice; give each entry a name of its own")]
    Duplicate {
        /// Path of the list.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// A list without entries.
    #[error("{0}: give at least one entry")]
    Empty(&'static str),
    /// No region takes traffic.
    #[error("regions: give at least one region a weight above 0")]
    NoWeight,
}

impl QueueIntent {
    /// What a shard's dead letters may take: a tenth of its volume.
    pub fn dead_letter_limit_bytes(&self) -> u64 {
        self.storage_bytes / 10
    }

    /// What a shard's backlog may take: the rest, but for what the store needs, which is its journal, and what is
    /// settled and not yet reclaimed. The dispatcher's README says 512 MiB and a fifth of the limit.
    pub fn backlog_limit_bytes(&self) -> u64 {
        let rest = self.storage_bytes.saturating_sub(self.dead_letter_limit_bytes()).saturating_sub(512 << 20) / 6 * 5;
        // A volume smaller than the rules allow is one from before the rules: let it go on with what it can hold.
        rest.max(self.storage_bytes / 4)
    }
}

impl FleetIntent {
    /// Parses a resource as the API server hands it out.
    pub fn parse(dispatcher: &EventDispatcher, defaults: &ShardDefaults) -> Result<Self, SpecError> {
        let metadata = &dispatcher.metadata;
        let spec = &dispatcher.spec;
        let regions: Vec<_> = spec.regions.iter().map(parse_region).collect::<Result<_, _>>()?;
        let sinks: Vec<_> = spec.sinks.iter().map(sinks::parse).collect::<Result<_, _>>()?;
        distinct("sinks", sinks.iter().map(|sink| &sink.name))?;
        distinct("regions", regions.iter().map(|region| &region.name))?;
        if regions.iter().all(|region| region.weight == 0) {
            return Err(SpecError::NoWeight);
        }
        Ok(Self {
            namespace: metadata.namespace.clone().ok_or(SpecError::Metadata("namespace"))?,
            name: metadata.name.clone().ok_or(SpecError::Metadata("name"))?,
            uid: metadata.uid.clone().ok_or(SpecError::Metadata("uid"))?,
            sinks,
            queue: parse_queue(&spec.queue)?,
            tls_secret: spec.tls.as_ref().map(|tls| tls.secret_name.clone()),
            scaling: parse_scaling(&spec.autoscaling)?,
            breaker: breaker::parse(&spec.breaker)?,
            traffic: breaker::parse_traffic(&spec.traffic, regions.len())?,
            manual: manual::parse(metadata.annotations.as_ref().unwrap_or(&BTreeMap::new()), &regions),
            regions,
            image: spec.image.clone().unwrap_or_else(|| defaults.image.clone()),
            image_pull_policy: defaults.image_pull_policy.clone(),
            addresses: defaults.addresses.clone(),
        })
    }

    /// The Secrets that every shard mounts, each once, by name.
    pub fn secrets(&self) -> BTreeSet<&str> {
        let signing = self.sinks.iter().filter_map(|sink| sink.signing.as_ref());
        self.tls_secret.as_deref().into_iter().chain(signing.map(|signing| signing.secret.as_str())).collect()
    }

    /// The region of this name, if the spec has it.
    pub fn region(&self, name: &str) -> Option<&RegionIntent> {
        self.regions.iter().find(|region| region.name == name)
    }
}

fn parse_queue(queue: &Queue) -> Result<QueueIntent, SpecError> {
    let storage = &queue.storage;
    let storage_bytes = parse_bytes(storage).filter(|bytes| *bytes > 0).ok_or_else(|| SpecError::Unreadable {
        field: "queue.storage".to_owned(),
        text: storage.clone(),
        instead: "write a quantity such as 1Gi",
    })?;
    let events = |events| {
        u64::try_from(events).ok().filter(|events| *events > 0).ok_or_else(|| SpecError::OutOfRange {
            field: "queue.limits.events".to_owned(),
            value: events,
            instead: "write a number above 0",
        })
    };
    Ok(QueueIntent {
        storage: storage.clone(),
        storage_bytes,
        storage_class: queue.storage_class_name.clone(),
        limit_events: queue.limits.events.map(events).transpose()?,
        limit_age: queue.limits.age.as_ref().map(|age| duration("queue.limits.age", age)).transpose()?,
        duplicate_window: parse_duration(&queue.duplicate_window)
            .ok_or_else(|| not_a_duration("queue.duplicateWindow", &queue.duplicate_window))?,
    })
}

fn parse_region(region: &Region) -> Result<RegionIntent, SpecError> {
    let node_selector = if region.node_selector.is_empty() {
        BTreeMap::from([(names::REGION_NODE_LABEL.to_owned(), region.name.clone())])
    } else {
        region.node_selector.clone()
    };
    Ok(RegionIntent {
        name: region.name.clone(),
        weight: u32::try_from(region.weight).map_err(|_| SpecError::OutOfRange {
            field: format!("regions[{}].weight", region.name),
            value: region.weight.into(),
            instead: "write a number from 0 to 1000",
        })?,
        shards: parse_shards(region)?,
        node_selector,
    })
}

fn parse_shards(region: &Region) -> Result<ShardRange, SpecError> {
    let min = count(&format!("regions[{}].shards.min", region.name), region.shards.min)?;
    let field = format!("regions[{}].shards.max", region.name);
    let max = region.shards.max.map(|max| count(&field, max)).transpose()?.unwrap_or(min);
    if max < min {
        let value = max.into();
        return Err(SpecError::OutOfRange { field, value, instead: "write a number not below shards.min" });
    }
    Ok(ShardRange { min, max })
}

fn parse_scaling(autoscaling: &api::Autoscaling) -> Result<ScalingIntent, SpecError> {
    let percent = autoscaling.target_utilization;
    Ok(ScalingIntent {
        mode: match autoscaling.mode {
            api::ScalingMode::Internal => ScalingMode::Internal,
            api::ScalingMode::External => ScalingMode::External,
            api::ScalingMode::Fixed => ScalingMode::Fixed,
        },
        target_drain: duration("autoscaling.targetDrainTime", &autoscaling.target_drain_time)?,
        target_utilization: u32::try_from(percent).ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(
            || SpecError::OutOfRange {
                field: "autoscaling.targetUtilization".to_owned(),
                value: percent.into(),
                instead: "write a number from 10 to 100",
            },
        )?,
        stabilization: parse_duration(&autoscaling.scale_down_stabilization).ok_or_else(|| {
            not_a_duration("autoscaling.scaleDownStabilization", &autoscaling.scale_down_stabilization)
        })?,
    })
}

/// One above zero.
fn duration(field: &str, text: &str) -> Result<Duration, SpecError> {
    parse_duration(text).filter(|duration| !duration.is_zero()).ok_or_else(|| not_a_duration(field, text))
}

fn not_a_duration(field: &str, text: &str) -> SpecError {
    SpecError::Unreadable { field: field.to_owned(), text: text.to_owned(), instead: "write a duration such as 5s" }
}

fn count(field: &str, value: i32) -> Result<u32, SpecError> {
    u32::try_from(value).ok().filter(|count| *count > 0).ok_or_else(|| SpecError::OutOfRange {
        field: field.to_owned(),
        value: value.into(),
        instead: "write a number above 0",
    })
}

fn distinct<'a>(field: &'static str, names: impl ExactSizeIterator<Item = &'a String>) -> Result<(), SpecError> {
    if names.len() == 0 {
        return Err(SpecError::Empty(field));
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(SpecError::Duplicate { field, name: name.clone() });
        }
    }
    Ok(())
}
