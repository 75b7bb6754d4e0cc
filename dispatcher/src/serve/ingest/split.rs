//! Who gets which events of a request. Pure. May import `claiming`.

use std::collections::BTreeMap;

use crate::claims::Ordinal;
use crate::serve::claiming::Way;

/// The events of a request by the way that they go, each as its place among them, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// Into the own log.
    pub(super) here: Vec<usize>,
    /// To other shards.
    pub(super) owners: BTreeMap<Ordinal, Vec<usize>>,
    /// Nowhere yet.
    pub(super) held: Vec<usize>,
}

/// Whether all of them stay here.
pub(super) fn all_here(ways: &[Way]) -> bool {
    ways.iter().all(|way| *way == Way::Here)
}

/// Puts those together that go the same way.
pub(super) fn split(ways: &[Way]) -> Split {
    let mut split = Split::default();
    for (at, way) in ways.iter().enumerate() {
        match way {
            Way::Here => split.here.push(at),
            Way::Owner(owner) => split.owners.entry(*owner).or_default().push(at),
            // Nobody has passed a producer's events on, so nobody is to be told.
            Way::Hold | Way::Redirect => split.held.push(at),
        }
    }
    split
}

/// Those of `all` at these places, which are in order.
pub(super) fn pick<T: Clone>(all: &[T], places: &[usize]) -> Vec<T> {
    places.iter().filter_map(|&at| all.get(at).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{all_here, pick, split};
    use crate::serve::claiming::Way;
    use proptest::prelude::*;

    fn way() -> impl Strategy<Value = Way> {
        prop_oneof![Just(Way::Here), (0..4_u32).prop_map(Way::Owner), Just(Way::Hold), Just(Way::Redirect)]
    }

    proptest! {
        #[test]
        fn every_event_goes_one_way_and_those_of_one_way_keep_their_order(ways in proptest::collection::vec(way(), 0..30)) {
            let split = split(&ways);
            prop_assert_eq!(split.here.len() == ways.len(), all_here(&ways));
            let groups: Vec<&Vec<usize>> = split.owners.values().chain([&split.here, &split.held]).collect();
            let mut all: Vec<usize> = groups.iter().flat_map(|group| group.iter().copied()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..ways.len()).collect::<Vec<_>>());
            for group in groups {
                prop_assert!(group.is_sorted());
                prop_assert_eq!(pick(&ways, group).len(), group.len());
            }
            for (owner, places) in &split.owners {
                prop_assert!(pick(&ways, places).iter().all(|way| *way == Way::Owner(*owner)));
            }
        }
    }
}
