//! Where the shards of another region are, and which of them owns a key: as the traffic table lists them, until one of them
//! says it better. Pure. May import `slots`, and the crate's `slots`.

use std::collections::BTreeMap;
use std::sync::Arc;

use signalbox_contract::{RegionTraffic, RoutingTable};

use crate::serve::slots::{KEYLESS, SlotSet};
use crate::slots::{owner, slot_of};

/// See the documentation of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// By ordinal.
    listed: Vec<String>,
    /// The region's own routing table, from one of its shards.
    told: Option<Arc<RoutingTable>>,
}

impl Places {
    /// As the table of the fleet says.
    pub(super) fn new(region: &RegionTraffic) -> Self {
        Self { listed: region.shards.iter().map(|shard| shard.address.clone()).collect(), told: None }
    }

    /// A shard of the region goes by this table. Whether that is news.
    pub(super) fn tell(&mut self, table: Arc<RoutingTable>) -> bool {
        let news = table.shards > 0 && self.told.as_ref().is_none_or(|known| known.epoch < table.epoch);
        if news {
            self.told = Some(table);
        }
        news
    }

    /// These slots by the shards that own them. What has no key may go to any of them, and is apart, as is all of it while the
    /// region has no shards.
    pub(super) fn shares(&self, slots: &SlotSet) -> BTreeMap<Option<String>, SlotSet> {
        let mut shares: BTreeMap<Option<String>, SlotSet> = BTreeMap::new();
        for slot in slots.iter() {
            // A slot is one of the keys that are in it.
            let key = u64::try_from(slot).ok().filter(|_| slot != KEYLESS);
            let owner = key.and_then(|key| self.of(Some(key), 0)).map(str::to_owned);
            shares.entry(owner).or_default().insert(slot);
        }
        shares
    }

    /// Where an event goes: to the owner of its key, or without one to the one that `any` says. Nothing: the region has no
    /// shards.
    pub(super) fn of(&self, key: Option<u64>, any: u64) -> Option<&str> {
        let shards = match &self.told {
            Some(table) => table.shards,
            None => u32::try_from(self.listed.len()).unwrap_or(u32::MAX),
        };
        let ordinal = match key {
            Some(key) => owner(slot_of(key), shards),
            None => u32::try_from(any.checked_rem(shards.into())?).unwrap_or(0),
        };
        let told = self.told.iter().flat_map(|table| &table.peers).find(|peer| peer.ordinal == ordinal);
        let listed = || self.listed.get(usize::try_from(ordinal).ok()?).map(String::as_str);
        told.map(|peer| peer.address.as_str()).or_else(listed)
    }

    /// One of them, by turns, other than `this` if there is another: it knows who owns what by now.
    pub(super) fn another(&self, this: &str, turn: usize) -> Option<&str> {
        let others: Vec<_> = self.listed.iter().filter(|address| *address != this).collect();
        turn.checked_rem(others.len()).and_then(|at| others.get(at)).map(|address| address.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Places;
    use crate::serve::slots::{BUCKETS, KEYLESS, SlotSet};
    use signalbox_contract::{Peer, RegionShard, RegionTraffic, RoutingTable};
    use std::sync::Arc;

    fn listed(count: usize) -> Places {
        let shard = |n| RegionShard { address: format!("listed-{n}"), events: None };
        Places::new(&RegionTraffic { shards: (0..count).map(shard).collect(), ..RegionTraffic::default() })
    }

    fn table(epoch: u64, shards: u32) -> Arc<RoutingTable> {
        let peer = |ordinal| Peer { ordinal, address: format!("told-{ordinal}"), log: 0 };
        Arc::new(RoutingTable { epoch, shards, peers: (0..3).map(peer).collect(), ..RoutingTable::default() })
    }

    #[test]
    fn an_event_goes_to_the_owner_of_its_key_and_one_without_to_all_in_turn() {
        let places = listed(8);
        // As in the crate's `slots`: slots 0 to 3 of 8 shards.
        assert_eq!(
            [0, 1, 2, 1027].map(|key| places.of(Some(key), 7).unwrap()),
            ["listed-2", "listed-7", "listed-1", "listed-2"]
        );
        assert_eq!([7, 8, 9].map(|any| places.of(None, any).unwrap()), ["listed-7", "listed-0", "listed-1"]);
        assert_eq!((listed(0).of(None, 3), listed(0).of(Some(3), 3), listed(0).another("x", 1)), (None, None, None));
    }

    #[test]
    fn slots_are_shared_out_by_their_owners_and_what_has_no_key_is_apart() {
        let places = listed(3);
        let shares = places.shares(&SlotSet::all());
        assert_eq!(shares.keys().flatten().collect::<Vec<_>>(), ["listed-0", "listed-1", "listed-2"]);
        assert_eq!(shares[&None].iter().collect::<Vec<_>>(), [KEYLESS]);
        assert_eq!(shares.values().map(|slots| slots.iter().count()).sum::<usize>(), BUCKETS, "each once");
        for (owner, slots) in &shares {
            let is_its = |slot: usize| places.of(Some(u64::try_from(slot).unwrap()), 0) == owner.as_deref();
            assert!(owner.is_none() || slots.iter().all(is_its));
        }
        assert_eq!(listed(0).shares(&SlotSet::all()), [(None, SlotSet::all())].into());
    }

    #[test]
    fn what_a_shard_says_of_its_region_counts_more_than_the_list_until_a_newer_word() {
        let mut places = listed(1);
        assert!(places.tell(table(4, 2)) && !places.tell(table(4, 3)) && !places.tell(table(3, 1)));
        assert_eq!([0, 1].map(|any| places.of(None, any).unwrap()), ["told-0", "told-1"]);
        assert!(!places.tell(table(5, 0)), "a table by which nobody owns anything");
        assert!(places.tell(table(6, 1)));
        assert_eq!(places.of(None, 1), Some("told-0"));
    }

    #[test]
    fn who_does_not_answer_is_asked_about_at_another() {
        let places = listed(3);
        let asked = [0, 1, 2].map(|turn| places.another("listed-1", turn).unwrap());
        assert_eq!(asked, ["listed-0", "listed-2", "listed-0"]);
        assert_eq!(listed(1).another("listed-0", 4), None);
    }
}
