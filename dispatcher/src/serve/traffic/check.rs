//! Whether a table makes sense. Pure.

use std::collections::BTreeSet;

use signalbox_contract::{RegionTraffic, TrafficTable};

/// All thousandths of a shard's slots.
pub(super) const ALL: u32 = 1000;

/// Why a table is not for the shards of this fleet, or contradicts itself. Nothing: it can be taken.
pub(super) fn refusal(table: &TrafficTable, fleet: &str) -> Option<String> {
    if table.fleet != fleet {
        return Some(format!(
            "the table is for fleet {}, and this shard is of {fleet}: nothing was changed",
            table.fleet
        ));
    }
    if table.version == 0 {
        return Some("a table has a version from 1 on: nothing was changed".to_owned());
    }
    let mut names = BTreeSet::new();
    table.regions.iter().find_map(|region| {
        let RegionTraffic { name, keeps_permille, takes_weight, .. } = region;
        if !names.insert(name) {
            return Some(format!("region {name} is twice in the table: nothing was changed"));
        }
        if *keeps_permille > ALL {
            return Some(format!("region {name} would keep {keeps_permille} of {ALL} slots: nothing was changed"));
        }
        // Events would go round in circles.
        (*keeps_permille < ALL && *takes_weight > 0)
            .then(|| format!("region {name} would give events away and take others': nothing was changed"))
    })
}

#[cfg(test)]
mod tests {
    use super::refusal;
    use signalbox_contract::{RegionTraffic, TrafficTable};

    #[test]
    fn a_table_of_another_fleet_and_one_that_contradicts_itself_are_refused_with_a_sentence() {
        let region = |name: &str, keeps_permille, takes_weight| RegionTraffic {
            name: name.to_owned(),
            keeps_permille,
            takes_weight,
            ..RegionTraffic::default()
        };
        let refused = |fleet: &str, version, regions: &[RegionTraffic]| {
            let table = TrafficTable { fleet: fleet.to_owned(), version, regions: regions.to_vec() };
            refusal(&table, "orders")
        };
        let good = [region("eu", 0, 0), region("us", 1000, 50), region("ap", 1000, 0)];
        assert_eq!(refused("orders", 1, &good), None);
        assert_eq!(refused("orders", 1, &[]), None);
        for (sentence, said) in [
            (refused("mail", 1, &good), "fleet mail"),
            (refused("orders", 0, &good), "version"),
            (refused("orders", 1, &[region("eu", 0, 0), region("eu", 1000, 0)]), "twice"),
            (refused("orders", 1, &[region("eu", 1001, 0)]), "1001"),
            (refused("orders", 1, &[region("eu", 999, 1)]), "give events away and take"),
        ] {
            assert!(sentence.as_ref().is_some_and(|sentence| sentence.contains(said)), "{said}: {sentence:?}");
        }
    }
}
