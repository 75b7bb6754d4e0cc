//! What holds of shares, whatever the regions are like.

use proptest::prelude::*;
use signalbox_contract::BreakerPhase::{Probing, Serving, Tripped};

use super::goal::permilles;
use super::tests::{decided, shares};
use super::*;

const NAMES: [&str; 5] = ["eu", "us", "ap", "sa", "af"];

fn any_region() -> impl Strategy<Value = Region<'static>> {
    let phase = proptest::sample::select(&[Serving, Serving, Tripped, Probing][..]);
    let percent = proptest::sample::select(&[5, 10, 25, 50, 100][..]);
    let arriving = (proptest::option::weighted(0.8, 0.0..2_000.0), any::<bool>());
    let shards = (0..6u32, 0..12u32, proptest::option::weighted(0.8, 1..400u64));
    (0..4u32, phase, percent, any::<bool>(), shards, arriving).prop_map(
        |(weight, phase, percent, reachable, (ready, more, per_shard), (per_second, soon))| Region {
            name: "",
            weight,
            phase,
            percent,
            reachable,
            ready,
            most: ready + more,
            per_shard,
            arriving: Arriving { per_second, soon },
            backlog: 0,
            before: None,
        },
    )
}

/// Regions with the shares that some weights come to, or with none remembered.
fn any_regions() -> impl Strategy<Value = Vec<Region<'static>>> {
    let regions = proptest::collection::vec((any_region(), 0..5u64), 1..=5);
    (regions, any::<bool>()).prop_map(|(mut regions, remembered)| {
        let shares = permilles(&regions.iter().map(|(_, share)| *share).collect::<Vec<_>>());
        let remembered = remembered && shares.iter().sum::<u32>() == 1_000;
        for (at, (region, _)) in regions.iter_mut().enumerate() {
            region.name = NAMES[at];
            region.before = remembered.then_some(shares[at]);
        }
        regions.into_iter().map(|(region, _)| region).collect()
    })
}

fn carried<'a>(regions: &[Region<'a>], traffic: &Traffic) -> Vec<Region<'a>> {
    let with = |(region, share): (&Region<'a>, u32)| Region { before: Some(share), ..*region };
    regions.iter().zip(shares(traffic)).map(with).collect()
}

fn lets_go(region: &Region<'_>) -> bool {
    region.phase == Tripped && !region.reachable
}

fn before(regions: &[Region<'_>]) -> Vec<u32> {
    let spec = Goals::of(regions, false).spec;
    regions.iter().zip(spec).map(|(region, spec)| region.before.unwrap_or(spec)).collect()
}

proptest! {
    #[test]
    fn shares_and_goals_sum_up_to_all_of_it_where_any_region_has_a_weight(regions in any_regions()) {
        let traffic = decided(&regions, &TrafficHistory::default());
        let expected = if regions.iter().any(|region| region.weight > 0) { 1_000 } else { 0 };
        prop_assert_eq!(shares(&traffic).iter().sum::<u32>(), expected);
        prop_assert_eq!(traffic.regions.iter().map(|region| region.goal_permille).sum::<u32>(), expected);
    }

    #[test]
    fn a_survivor_grows_beyond_85_percent_only_with_what_nobody_else_can_have(regions in any_regions(), total in 1..5_000u64) {
        let history = TrafficHistory { arrival: Some(total), ..TrafficHistory::default() };
        // What arrives is what was held, or more.
        let traffic = decided(&regions, &history);
        let Some(total) = traffic.history.arrival else { return Ok(()) };
        let all_out = regions.iter().filter(|region| region.weight > 0).all(|region| region.phase == Tripped);
        prop_assume!(traffic.episode && !all_out);
        let room = |region: &Region<'_>| shift::room(region, Known::Is(total));
        for ((region, share), before) in regions.iter().zip(shares(&traffic)).zip(before(&regions)) {
            if share <= before || room(region).is_none_or(|room| share <= room) {
                continue;
            }
            prop_assert!(regions.iter().any(lets_go), "{region:?} {share}");
            let takers = regions.iter().zip(&traffic.regions).filter(|(_, plan)| plan.goal_permille > 0);
            for (other, plan) in takers {
                let full = room(other).is_some_and(|room| plan.share_permille >= room);
                prop_assert!(full, "{region:?} has {share}, and there is room in {other:?}: {plan:?}");
            }
        }
    }

    #[test]
    fn what_a_region_may_be_handed_and_its_share_are_within_85_percent_together(regions in any_regions(), total in 1..1_500u64) {
        let mut regions = regions;
        for region in &mut regions {
            region.arriving = Arriving::default();
        }
        let traffic = decided(&regions, &TrafficHistory { arrival: Some(total), ..TrafficHistory::default() });
        for ((region, takes), share) in regions.iter().zip(&traffic.takes).zip(shares(&traffic)) {
            let Some(each) = region.per_shard.filter(|_| takes.per_second > 0) else { continue };
            let comes = part(total, share.into(), 1_000);
            // 0 would be no limit.
            let left = shift::room_per_second(region.ready, each).saturating_sub(comes).max(1);
            prop_assert!(takes.per_second <= left, "{region:?} may be handed {} of {left}", takes.per_second);
        }
    }

    #[test]
    fn a_share_moves_only_toward_its_goal_but_for_what_another_region_lets_go_of(regions in any_regions()) {
        let traffic = decided(&regions, &TrafficHistory::default());
        prop_assume!(traffic.episode && !regions.iter().any(|region| lets_go(region)));
        for (plan, before) in traffic.regions.iter().zip(before(&regions)) {
            let (share, goal) = (plan.share_permille, plan.goal_permille);
            prop_assert!((before.min(goal)..=before.max(goal)).contains(&share), "{before} -> {share} -> {goal}");
        }
    }

    #[test]
    fn whatever_capacities_and_rates_do_then_no_share_goes_back(
        regions in any_regions(), later in proptest::collection::vec((0..6u32, 1..400u64, 0.0..2_000.0), 5),
    ) {
        let first = decided(&regions, &TrafficHistory::default());
        let mut regions = carried(&regions, &first);
        for (region, (ready, per_shard, arriving)) in regions.iter_mut().zip(later) {
            (region.ready, region.per_shard) = (ready, Some(per_shard));
            region.arriving = Arriving { per_second: Some(arriving), soon: false };
        }
        let second = decided(&regions, &first.history);
        for (first, second) in first.regions.iter().zip(&second.regions) {
            let off = |plan: &RegionTrafficPlan| plan.share_permille.abs_diff(plan.goal_permille);
            prop_assert!(off(second) <= off(first), "{first:?} {second:?}");
        }
    }

    #[test]
    fn deciding_again_with_what_was_remembered_moves_nothing(regions in any_regions(), total in 1..5_000u64) {
        let mut regions = regions;
        for region in &mut regions {
            region.arriving = Arriving::default();
        }
        let history = TrafficHistory { arrival: Some(total), ..TrafficHistory::default() };
        let first = decided(&regions, &history);
        let second = decided(&carried(&regions, &first), &first.history);
        prop_assert_eq!(shares(&first), shares(&second));
    }

    #[test]
    fn where_phases_stay_and_shards_come_as_they_are_asked_for_shares_reach_their_goals(
        regions in any_regions(), total in 1..5_000u64,
    ) {
        prop_assume!(regions.iter().any(|region| region.weight > 0));
        let (mut regions, mut history) = (regions, TrafficHistory { arrival: Some(total), ..TrafficHistory::default() });
        let most = 1_000;
        for region in &mut regions {
            (region.most, region.arriving) = (most, Arriving::default());
        }
        for _ in 0..50 {
            let traffic = decided(&regions, &history);
            if shares(&traffic) == traffic.regions.iter().map(|region| region.goal_permille).collect::<Vec<_>>() {
                return Ok(());
            }
            regions = carried(&regions, &traffic);
            for (region, plan) in regions.iter_mut().zip(&traffic.regions) {
                // As the autoscaler does: with 80 % of what they can settle, or one where there is none.
                let needed = region.per_shard.zip(plan.expected_arrival).map_or(0, |(each, expected)| {
                    u32::try_from((expected * 10).div_ceil(each * 8)).unwrap()
                });
                region.ready = region.ready.max(needed.min(most)).max(1);
            }
            history = traffic.history;
        }
        let short = regions.iter().any(|region| region.per_shard.is_some_and(|each| each * u64::from(most) < total * 2));
        prop_assert!(short, "{regions:?}");
    }

    #[test]
    fn a_region_that_is_tripped_and_reached_by_nobody_has_nothing(regions in any_regions()) {
        let well = |region: &Region<'_>| region.weight > 0 && region.phase != Tripped;
        prop_assume!(regions.iter().any(well));
        let traffic = decided(&regions, &TrafficHistory::default());
        for (region, share) in regions.iter().zip(shares(&traffic)) {
            prop_assert!(!lets_go(region) || region.weight == 0 || share == 0);
        }
    }
}
