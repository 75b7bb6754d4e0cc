//! The scenarios: what is done, and which figures come of it. The goals are those of the project.

mod backlog;
mod delivery;
mod evacuation;
mod ingest;
mod overload;
mod peer;
mod raw;
mod region;
mod sinks;

use anyhow::Result;
use clap::ValueEnum;

use crate::figure::Figure;
use crate::lab::Lab;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The disk by itself, and a server that does nothing.
    Raw,
    /// Durable ingest, one event a request.
    IngestSingle,
    /// Durable ingest, a hundred events a request.
    IngestBatch,
    /// Ingest and delivery of 10,000 keys, order verified by the sink.
    EndToEnd,
    /// From request to 202 at half of the highest rate.
    AckLatency,
    /// From request to the sink's answer at a moderate rate.
    DeliveryLatency,
    /// Memory when idle and with a big backlog, and how soon a killed shard is ready with it.
    Backlog,
    /// Three times as many requests as can be taken.
    Overload,
    /// One of ten sinks never answers.
    Isolation,
    /// All sinks answer 500.
    RetryStorm,
    /// Three shards, each sent events of all keys: two thirds are handed over to their owners.
    HandOver,
    /// Slots change hands under load: two shards, four, and two again.
    Claims,
    /// A backlog whose sink is down goes to another region.
    Evacuation,
    /// nats-server beside the dispatcher.
    Peer,
}

impl Scenario {
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) async fn run(self, lab: &Lab) -> Result<Vec<Figure>> {
        match self {
            Self::Raw => raw::run(lab).await,
            Self::IngestSingle => ingest::single(lab).await,
            Self::IngestBatch => ingest::batch(lab).await,
            Self::EndToEnd => delivery::end_to_end(lab).await,
            Self::AckLatency => ingest::ack_latency(lab).await,
            Self::DeliveryLatency => delivery::latency(lab).await,
            Self::Backlog => backlog::run(lab).await,
            Self::Overload => overload::run(lab).await,
            Self::Isolation => sinks::isolation(lab).await,
            Self::RetryStorm => sinks::retry_storm(lab).await,
            Self::HandOver => region::hand_over(lab).await,
            Self::Claims => region::claims(lab).await,
            Self::Evacuation => evacuation::run(lab).await,
            Self::Peer => peer::run(lab).await,
        }
    }
}
