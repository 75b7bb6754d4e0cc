//! Which slots a region delivers by itself, and where the others go: a function of the table alone. Pure. May import
//! `slots`.
//!
//! ```text
//! slots, in a fixed order   [ kept: keeps_permille of them | away . . . . . . . . . . ]
//! away, by a fixed hash                                      us  us  ap  us  ap  us        by their weights
//! ```
//!
//! More thousandths keep the same slots and more, so that a region that comes back step by step gets no slot back only to
//! lose it again. When weights change, only slots move whose region lost weight, or to one that gained some. So the events
//! of a slot go to one region, as long as the weights are what they are.
//!
//! Events without a key are one bucket, which cannot be split: it is kept only by a region that keeps everything. So no
//! region ever delivers more than the share that it is to have.

use std::collections::BTreeMap;

use signalbox_contract::{RegionTraffic, TrafficTable};

use super::check::ALL;
use crate::serve::slots::{BUCKETS, SlotSet};
use crate::slots::{SLOTS, mixed};

/// What makes the order of slots another than those that other hashes are made of.
const ORDER: u64 = 0x6b65_6570_7300_0000;

/// The same for where they go.
const GOES: u64 = 0x676f_6573_0000_0000;

/// Slots that a region does not deliver by itself, by the region that they go to. Regions that get none are not in it.
pub(in crate::serve) type Destinations = BTreeMap<String, SlotSet>;

/// Where the slots of `region` go that it does not keep. None go anywhere when no other region takes any: then it delivers
/// them all.
pub(in crate::serve) fn destinations(table: &TrafficTable, region: &str) -> Destinations {
    let keeps = table.regions.iter().find(|other| other.name == region).map_or(ALL, |own| own.keeps_permille);
    let takers: Vec<_> = table.regions.iter().filter(|other| other.name != region && other.takes_weight > 0).collect();
    let mut all = Destinations::new();
    if !takers.is_empty() && keeps < ALL {
        let kept = kept(keeps);
        for slot in (0..BUCKETS).filter(|&slot| !kept.contains(slot)) {
            if let Some(taker) = taker(&takers, slot) {
                all.entry(taker.name.clone()).or_default().insert(slot);
            }
        }
    }
    all
}

/// The slots that a region keeps with so many thousandths.
fn kept(permille: u32) -> SlotSet {
    if permille >= ALL {
        return SlotSet::all();
    }
    let mut order: Vec<u16> = (0..SLOTS).collect();
    order.sort_by_key(|&slot| (mixed(ORDER ^ u64::from(slot)), slot));
    let count = u64::from(SLOTS) * u64::from(permille) / u64::from(ALL);
    order.into_iter().take(usize::try_from(count).unwrap_or(0)).map(usize::from).collect()
}

/// Which of these regions gets a slot: each draws a number for it, and the highest for its weight wins (rendezvous hashing).
fn taker<'a>(takers: &[&'a RegionTraffic], slot: usize) -> Option<&'a RegionTraffic> {
    let drawn = |taker: &RegionTraffic| {
        let name = taker.name.bytes().fold(GOES, |hash, byte| mixed(hash ^ u64::from(byte)));
        // A number above 0 and up to 1, of 32 bits.
        let draw = u32::try_from(mixed(name ^ slot as u64) >> 32).unwrap_or(u32::MAX);
        let draw = (f64::from(draw) + 1.0) / (f64::from(u32::MAX) + 1.0);
        // The draw that has the same distribution for all weights wins in proportion to them.
        f64::from(taker.takes_weight) / -draw.min(1.0 - f64::EPSILON).ln()
    };
    takers.iter().copied().max_by(|a, b| drawn(a).total_cmp(&drawn(b)).then_with(|| b.name.cmp(&a.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::slots::KEYLESS;
    use proptest::prelude::*;

    fn table(own: u32, others: &[(&str, u32)]) -> TrafficTable {
        let region = |name: &str, keeps_permille, takes_weight| RegionTraffic {
            name: name.to_owned(),
            keeps_permille,
            takes_weight,
            ..RegionTraffic::default()
        };
        let others = others.iter().map(|&(name, weight)| region(name, ALL, weight));
        TrafficTable {
            regions: std::iter::once(region("eu", own, 0)).chain(others).collect(),
            ..TrafficTable::default()
        }
    }

    fn keeps_keyless(all: &Destinations) -> bool {
        !all.values().any(|slots| slots.contains(KEYLESS))
    }

    fn away(all: &Destinations) -> SlotSet {
        all.values().fold(SlotSet::default(), SlotSet::union)
    }

    #[test]
    fn a_region_keeps_the_part_that_the_table_says_and_everything_if_it_says_nothing() {
        let two = [("us", 1)];
        for (permille, gone) in [(0, 1025), (1, 1024), (50, 974), (500, 513), (999, 3), (1000, 0)] {
            let all = destinations(&table(permille, &two), "eu");
            assert_eq!(away(&all).iter().count(), gone, "{permille}");
            assert_eq!(keeps_keyless(&all), permille == 1000, "{permille}");
        }
        assert!(destinations(&table(0, &two), "us").is_empty(), "a region that keeps everything");
        assert!(destinations(&table(0, &two), "ap").is_empty(), "a region that is not in it");
        assert!(destinations(&TrafficTable::default(), "eu").is_empty());
    }

    #[test]
    fn where_nobody_takes_anything_a_region_delivers_everything() {
        assert!(destinations(&table(0, &[("us", 0), ("ap", 0)]), "eu").is_empty());
        let own = TrafficTable { regions: table(0, &[]).regions, ..TrafficTable::default() };
        assert!(destinations(&own, "eu").is_empty());
    }

    #[test]
    fn regions_get_slots_by_their_weights() {
        for (weights, within) in [([50, 50], 60), ([90, 10], 40), ([1, 1000], 20)] {
            let all = destinations(&table(0, &[("us", weights[0]), ("ap", weights[1])]), "eu");
            let us = all.get("us").map_or(0, |slots| slots.iter().count());
            let expected = 1025 * weights[0] / (weights[0] + weights[1]);
            assert!(us.abs_diff(expected as usize) <= within, "{weights:?}: {us}");
        }
    }

    #[test]
    fn which_slots_go_where_never_changes_between_versions() {
        let kept = kept(10).iter().collect::<Vec<_>>();
        let first: Vec<_> = destinations(&table(0, &[("us", 2), ("ap", 1)]), "eu")["ap"].iter().take(8).collect();
        assert_eq!(kept, [41, 220, 474, 582, 684, 766, 793, 829, 844, 929]);
        assert_eq!(first, [10, 12, 15, 16, 18, 19, 24, 26]);
    }

    proptest! {
        #[test]
        fn more_thousandths_keep_the_same_slots_and_more(a in 0..=ALL, b in 0..=ALL) {
            let (less, more) = (kept(a.min(b)), kept(a.max(b)));
            prop_assert!(less.without(&more).is_empty());
        }

        #[test]
        fn slots_move_only_from_who_has_less_weight_now_or_to_who_has_more(
            weights in proptest::collection::vec(0..100_u32, 3),
            which in 0..3_usize,
            to in 0..100_u32,
        ) {
            let names = ["us", "ap", "sa"];
            let of = |weights: &[u32]| {
                let others: Vec<_> = names.iter().copied().zip(weights.iter().copied()).collect();
                destinations(&table(0, &others), "eu")
            };
            let mut changed = weights.clone();
            changed[which] = to;
            let (before, after) = (of(&weights), of(&changed));
            if before.is_empty() || after.is_empty() {
                return Ok(());
            }
            for (region, slots) in &before {
                let left = after.get(region).map_or(*slots, |now| slots.without(now));
                let gained = after.get(names[which]).copied().unwrap_or_default();
                if *region == names[which] {
                    prop_assert!(left.is_empty() || to < weights[which]);
                } else {
                    prop_assert!(left.without(&gained).is_empty(), "to another than the one that gained");
                    prop_assert!(left.is_empty() || to > weights[which]);
                }
            }
            prop_assert_eq!(away(&after), SlotSet::all());
        }
    }
}
