//! What limits a region: the one word that the bottleneck monitor finds and the autoscaler acts on.

/// What keeps a region from settling more events a second than it does. `None` of it means: not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The processors that its shards may use.
    Cpu,
    /// The volumes that its shards write to.
    Disk,
    /// The sink of this name: it takes no more.
    Sink(String),
    /// `maxConcurrency` of the sink of this name: the sink would take more.
    ConcurrencyLimit(String),
    /// One key of the sink of this name: its events are delivered one after another, whatever the shards.
    HotKey(String),
    /// Slots that are spread unevenly: one shard has more to do than the others.
    Skew,
    /// What is received at once: events are refused before they are in the backlog.
    Ingest,
    /// Nothing: the region settles what arrives.
    Nothing,
}

impl Limit {
    /// The word for machines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cpu => "Cpu",
            Self::Disk => "Disk",
            Self::Sink(_) => "Sink",
            Self::ConcurrencyLimit(_) => "ConcurrencyLimit",
            Self::HotKey(_) => "HotKey",
            Self::Skew => "Skew",
            Self::Ingest => "Ingest",
            Self::Nothing => "Nothing",
        }
    }

    /// The sink that it is about.
    pub fn sink(&self) -> Option<&str> {
        match self {
            Self::Sink(sink) | Self::ConcurrencyLimit(sink) | Self::HotKey(sink) => Some(sink),
            Self::Cpu | Self::Disk | Self::Skew | Self::Ingest | Self::Nothing => None,
        }
    }

    /// Whether a region that this limits settles more with more shards. Each shard has processors, a volume, a
    /// receiving end and a `maxConcurrency` of its own; a sink that takes no more, and a key that is delivered in order,
    /// are the same for all of them.
    pub fn yields_to_shards(&self) -> bool {
        match self {
            Self::Cpu | Self::Disk | Self::ConcurrencyLimit(_) | Self::Ingest | Self::Nothing => true,
            Self::Sink(_) | Self::HotKey(_) | Self::Skew => false,
        }
    }
}
