//! Traffic across regions: what the spec says of it, what is remembered of it, and what was decided.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_contract::TrafficTable;

use super::routing::Behind;

/// How new events are led to regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficIntent {
    /// `Some`: an `HTTPRoute` with weights, beside the Service. `None`: the Service alone.
    pub gateway: Option<GatewayIntent>,
}

/// The `HTTPRoute` that leads to the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayIntent {
    /// The Gateways that it hangs on; at least one.
    pub parents: Vec<ParentIntent>,
    /// The hosts that it is for; empty: all of the Gateway's.
    pub hostnames: Vec<String>,
}

/// A Gateway, or one listener of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParentIntent {
    /// The Gateway's name.
    pub name: String,
    /// Its namespace; `None`: the fleet's.
    pub namespace: Option<String>,
    /// The listener; `None`: all that fit.
    pub section: Option<String>,
}

/// What is remembered of traffic: the status says all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficMemory {
    /// The version of the traffic table that shards were given last; 0: none.
    pub version: u64,
    /// The digest of that table without its version.
    pub digest: u64,
    /// The share of new traffic that each region had, in thousandths.
    pub shares: BTreeMap<String, u32>,
}

/// What one process remembers of traffic. Lost with the process, and then gathered anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficHistory {
    /// Events a second that arrive at all regions together, as the latest decisions went by it. `None`: not known.
    pub arrival: Option<u64>,
    /// Since when it has been clearly less.
    pub less_since: Option<Timestamp>,
    /// When shards that have no table yet were last given one, by the uid of the pod.
    pub given: BTreeMap<String, Timestamp>,
}

/// What was decided about traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPlan {
    /// By region; those that are leaving too, with nothing.
    pub regions: BTreeMap<String, RegionTrafficPlan>,
    /// What shards are to go by. `None`: no shard takes part in it, or the fleet has one region only.
    pub table: Option<TrafficTable>,
    /// Its digest, without its version.
    pub digest: u64,
    /// Shards that go by an older table, or by none: they are to be given this one.
    pub behind: Vec<Behind>,
    /// A shift of traffic that is under way or done, in a sentence: "shifting 40 of 60 %, waiting for 3 shards in eu-west".
    /// `None`: traffic is as the weights of the spec say.
    pub shift: Option<Shift>,
}

/// A shift of traffic away from regions that are not Serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Whether it has come to its goal.
    pub done: bool,
    /// In a sentence.
    pub message: String,
}

/// One region's traffic. Shares are in thousandths of the fleet's new traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionTrafficPlan {
    /// What it is to have by weights and phases.
    pub goal_permille: u32,
    /// What it has from now on. It moves toward the goal no faster than capacity appears: of what it has more than before,
    /// nothing is beyond 85 % of what its ready shards can settle, unless it has to go somewhere and all others are there
    /// too.
    pub share_permille: u32,
    /// Shards that are listed in the Service.
    pub places: u32,
    /// Events a second that it is to be large enough for: what arrives, and what is about to be shifted there. `None` while
    /// every region is Serving, or what arrives is not known.
    pub expected_arrival: Option<u64>,
}
