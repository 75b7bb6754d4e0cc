//! The routing table of a region: what the operator pushes to every shard, and what shards tell each other.

use serde::{Deserialize, Serialize};

/// Who owns which slots of one region from one moment on. Slots are mapped to ordinals by the count alone.
///
/// A shard keeps the table with the highest epoch that it has seen, on its disk. Whoever makes tables sees to this:
///
/// - An epoch is given out once: two tables that differ never have the same epoch. (Shards that see two refuse both to
///   each other, and go on only with a later one.)
/// - `peers` loses a shard only after that shard has reported that it is empty under a table that it does not own
///   slots in, or by naming it in `lost`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingTable {
    /// The fleet that it is for.
    pub fleet: String,
    /// The region that it is for.
    pub region: String,
    /// The version of the table; only grows. The first is 1.
    pub epoch: u64,
    /// How many shards own slots: those with ordinals below this.
    pub shards: u32,
    /// Every shard that may hold events of the region: the owners, and those that are leaving.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Ordinals of shards that are taken for lost: nobody waits for them. What they hold comes late, when they are
    /// back. A shard that is lost and owns slots keeps them: `shards` says who owns, and nothing else does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<u32>,
}

/// One shard, as the others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its number in the StatefulSet of the region.
    pub ordinal: u32,
    /// Host and port that it listens on for other shards.
    pub address: String,
    /// The id of its log, as it reported it. A shard with another log, one whose volume was lost, does not take this
    /// table for its own. 0: not known, and not checked.
    #[serde(default)]
    pub log: u64,
}

/// Where a shard is with its routing table, as part of its report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingReport {
    /// The shard's number in its region.
    pub ordinal: u32,
    /// The id of its log: see [`Peer::log`].
    pub log: u64,
    /// The epoch of the table that it has on disk. 0: none yet.
    pub epoch: u64,
    /// The highest epoch that it has heard of, in a table that it could not take too.
    pub highest_epoch: u64,
    /// Slots that the table gives to it, and that it does not deliver yet: it waits for what others hold of them.
    pub claiming: u32,
    /// Slots whose order is at risk: a shard that was declared lost may still hold older events of them.
    pub at_risk: u32,
    /// It owns no slot, holds nothing, and will get nothing as long as its table stands: it may go. Never true of a table
    /// that gives it slots.
    pub empty: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_peers_or_losses_is_read() {
        let table: RoutingTable =
            serde_json::from_str(r#"{"fleet":"orders","region":"eu","epoch":3,"shards":2,"later":true}"#).unwrap();
        assert_eq!((table.epoch, table.shards), (3, 2));
        assert!(table.peers.is_empty() && table.lost.is_empty());
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let peer = Peer { ordinal: 2, address: "orders-eu-2.orders:9443".to_owned(), log: 0xabcd };
        let table = RoutingTable {
            fleet: "orders".to_owned(),
            region: "eu".to_owned(),
            epoch: 7,
            shards: 2,
            peers: vec![peer],
            lost: vec![2],
        };
        assert_eq!(serde_json::from_str::<RoutingTable>(&serde_json::to_string(&table).unwrap()).unwrap(), table);
    }
}
