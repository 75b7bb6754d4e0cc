//! Who takes whose traffic: what the operator tells every shard of a fleet about its regions, and what shards see of the
//! other regions.

use serde::{Deserialize, Serialize};

use super::BreakerPhase;

/// The regions of a fleet from one moment on. One for all shards of the fleet.
///
/// A shard keeps the table with the highest version that it was given, on its disk, and goes by it when the operator is
/// away. Whoever makes tables sees to it that two that differ never have the same version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficTable {
    /// The fleet that it is for.
    pub fleet: String,
    /// The version of the table; only grows. The first is 1.
    pub version: u64,
    /// Every region of the fleet that has shards, each once.
    #[serde(default)]
    pub regions: Vec<RegionTraffic>,
}

/// One region, as all shards of the fleet are to treat it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionTraffic {
    /// The region's name.
    pub name: String,
    /// Where its breaker is.
    #[serde(default)]
    pub phase: BreakerPhase,
    /// Of the slots of a shard of this region, in thousandths, how many it delivers by itself. What it holds and gets of
    /// the others it hands over to regions that take it, as fast as they do; what they do not take stays with it, durably.
    /// 1000: it delivers everything. Which slots it keeps follows from the number, and more thousandths keep the same
    /// ones and more.
    pub keeps_permille: u32,
    /// The region's share of what others hand over, relative to the other regions' numbers. 0: it takes nothing.
    #[serde(default)]
    pub takes_weight: u32,
    /// Events a second that all other regions together may hand over to this one. 0: no limit is known.
    #[serde(default)]
    pub takes_per_second: u64,
    /// New events are refused (503 with `Retry-After`): all regions are unhealthy, and the fleet's owner wants events to
    /// be refused rather than to wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sheds: bool,
    /// Its shards that own slots, by ordinal.
    #[serde(default)]
    pub shards: Vec<RegionShard>,
}

/// One shard of a region, as the shards of other regions reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionShard {
    /// Host and port that it listens on for other shards: a name, which stays the same when the pod is made anew.
    pub address: String,
    /// Address and port of its events port, to see whether it answers: no name, so that a name server that is away with
    /// the region is not taken for the region. Absent: its pod has no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<std::net::SocketAddr>,
}

/// What a shard says about traffic, as part of its report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// The version of the [`TrafficTable`] that it goes by, on its disk. 0: none yet.
    pub version: u64,
    /// Of its slots, how many it does not deliver by itself now, as the table says.
    #[serde(default)]
    pub away_slots: u32,
    /// Events of such slots that are still here: the part of the backlog that waits to be handed over.
    #[serde(default)]
    pub away_events: u64,
    /// Events that other regions have taken over from this shard, in this incarnation.
    #[serde(default)]
    pub handed_over_total: u64,
    /// Events that this shard has taken over from other regions, in this incarnation. They count as accepted too.
    #[serde(default)]
    pub taken_over_total: u64,
    /// What it sees of each other region of its table.
    #[serde(default)]
    pub regions: Vec<RegionSeen>,
}

/// What a shard sees of another region: it asks the events ports of its shards, each about once a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionSeen {
    /// The region's name.
    pub name: String,
    /// Shards of it that were asked in the latest round.
    pub asked: u32,
    /// Those of them that answered, anything at all.
    pub answered: u32,
    /// For how long none of them has answered, in milliseconds, since the first that did not. 0: the latest round was
    /// answered by some, or there was none yet.
    #[serde(default)]
    pub silent_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let shard = RegionShard { address: "orders-eu-0.orders-eu-shards.shop.svc:9443".to_owned(), events: None };
        let region = RegionTraffic {
            name: "eu".to_owned(),
            phase: BreakerPhase::Probing,
            keeps_permille: 50,
            takes_weight: 0,
            takes_per_second: 1200,
            sheds: true,
            shards: vec![shard],
        };
        let table = TrafficTable { fleet: "orders".to_owned(), version: 7, regions: vec![region] };
        assert_eq!(serde_json::from_str::<TrafficTable>(&serde_json::to_string(&table).unwrap()).unwrap(), table);
    }
}
