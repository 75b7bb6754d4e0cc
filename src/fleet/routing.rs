//! The routing of a region: which shards own slots, which may hold events, and which are taken for lost.
//!
//! ```text
//! status --of_status--> Routing --decide--> Routing --report--> status
//!                                              |
//!                                              +--table--> shards
//! ```
//!
//! A routing is a table without its addresses, which follow from names. So one epoch is one table, for whoever makes it
//! from what the status says: how an address is made must not change without every region getting another epoch.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_contract::{CONTROL_PORT, Peer, RoutingTable};

use super::names;
use crate::api::RoutingStatus;

/// The largest epoch: what programs that hold numbers as floating point still tell from the next.
const LARGEST_EPOCH: u64 = 1 << 53;

/// Who owns the slots of a region, and who may hold its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// The version; only grows. At least 1.
    pub epoch: u64,
    /// How many shards own slots: those with ordinals below this. At least 1.
    pub shards: u32,
    /// The shards that may hold events, by ordinal, with the ids of their logs; 0 for one that has not told.
    pub peers: BTreeMap<u32, u64>,
    /// Those of them that nobody waits for.
    pub lost: BTreeSet<u32>,
    /// How often a shard came back with another log than it had, or its claim was deleted while it held events.
    pub volumes_lost: u32,
    /// Events that peers held when they were heard last which are leaving, lost, or without a pod, to two digits; never 0.
    /// No part of the table: a change of it alone makes no epoch.
    pub held: BTreeMap<u32, u64>,
}

impl Routing {
    /// What a status says. What makes no sense is taken for forgotten.
    pub(super) fn of_status(status: &RoutingStatus) -> Option<Self> {
        let ordinal = |number: i32| u32::try_from(number).ok();
        let peers: Option<BTreeMap<_, _>> = status
            .peers
            .iter()
            .map(|peer| Some((ordinal(peer.ordinal)?, u64::from_str_radix(&peer.log, 16).ok()?)))
            .collect();
        // What makes no sense here is not known, and the table is as good as before.
        let held = status.peers.iter().filter_map(|peer| {
            let events = u64::try_from(peer.events?).ok().filter(|events| *events > 0)?;
            Some((ordinal(peer.ordinal)?, events))
        });
        let lost: Option<BTreeSet<_>> = status.lost.iter().copied().map(ordinal).collect();
        let epoch = u64::try_from(status.epoch).ok().filter(|epoch| (1..=LARGEST_EPOCH).contains(epoch));
        Some(Self {
            epoch: epoch?,
            shards: ordinal(status.shards).filter(|shards| *shards > 0)?,
            peers: peers?,
            lost: lost?,
            volumes_lost: ordinal(status.volumes_lost).unwrap_or(0),
            held: held.collect(),
        })
    }

    /// What the shards of a region are given.
    pub fn table(&self, fleet: &str, region: &str, namespace: &str) -> RoutingTable {
        let peers = self.peers.iter().map(|(&ordinal, &log)| {
            let (pod, service) = (names::pod(fleet, region, ordinal), names::shards(fleet, region));
            Peer { ordinal, address: format!("{pod}.{service}.{namespace}.svc:{CONTROL_PORT}"), log }
        });
        RoutingTable {
            fleet: fleet.to_owned(),
            region: region.to_owned(),
            epoch: self.epoch,
            shards: self.shards,
            peers: peers.collect(),
            lost: self.lost.iter().copied().collect(),
        }
    }
}

/// The routing of a region, and how far its shards are with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingPlan {
    /// What the shards are to go by.
    pub routing: Routing,
    /// Shards that go by an older table, or by none: they are to be given this one.
    pub behind: Vec<Behind>,
    /// Slots that their owners do not deliver yet, of all shards that tell.
    pub claiming: u32,
    /// Slots whose order is at risk, of all shards that tell.
    pub at_risk: u32,
    /// What slots that are not delivered yet wait for, in a sentence. `None`: none waits.
    pub waits: Option<String>,
    /// What may come out of order, and why, in a sentence. `None`: nothing.
    pub risk: Option<String>,
    /// Events that shards hold which are lost, or have no pod, as far as that is known.
    pub stranded_events: u64,
    /// Where such events are that come only with somebody's hand, or late, in a sentence. `None`: none are known of.
    pub stranded: Option<String>,
}

/// A shard that is to be given a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Its pod.
    pub pod: String,
    /// Its address.
    pub ip: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing() -> Routing {
        Routing {
            epoch: 7,
            shards: 2,
            peers: BTreeMap::from([(0, 0xab), (1, 0xcd), (2, 0)]),
            lost: BTreeSet::from([2]),
            volumes_lost: 1,
            held: BTreeMap::from([(2, 1_200)]),
        }
    }

    #[test]
    fn an_address_never_changes_its_form_because_an_epoch_is_remembered_without_it() {
        let table = routing().table("orders", "eu-west", "shop");
        let peer =
            Peer { ordinal: 1, address: "orders-eu-west-1.orders-eu-west-shards.shop.svc:9443".to_owned(), log: 0xcd };
        assert_eq!(table.peers[1], peer);
        assert_eq!((table.fleet.as_str(), table.region.as_str()), ("orders", "eu-west"));
        assert_eq!((table.epoch, table.shards, table.lost), (7, 2, vec![2]));
    }

    #[test]
    fn a_status_that_makes_no_sense_is_forgotten() {
        let sane = r#"{"epoch": 3, "shards": 1, "peers": [{"ordinal": 0, "log": "ff"}]}"#;
        let read = |text: &str| Routing::of_status(&serde_json::from_str(text).unwrap());
        assert_eq!(read(sane).unwrap().peers, BTreeMap::from([(0, 255)]));
        for (sound, broken) in [("3", "0"), ("3", "-3"), ("3", "9007199254740993"), ("1", "0"), ("\"ff\"", "\"xy\"")] {
            assert_eq!(read(&sane.replace(sound, broken)), None, "{broken}");
        }
    }

    #[test]
    fn a_count_that_makes_no_sense_is_not_known_and_leaves_the_table_as_it_is() {
        let held = |events: &str| {
            let text = r#"{"epoch": 3, "shards": 1, "peers": [{"ordinal": 0, "log": "ff", "events": 12}]}"#;
            let routing = Routing::of_status(&serde_json::from_str(&text.replace("12", events)).unwrap()).unwrap();
            assert_eq!((routing.epoch, routing.peers), (3, BTreeMap::from([(0, 255)])));
            routing.held
        };
        assert_eq!(held("1200"), BTreeMap::from([(0, 1_200)]));
        assert!(held("0").is_empty() && held("-7").is_empty() && held("null").is_empty());
    }
}
