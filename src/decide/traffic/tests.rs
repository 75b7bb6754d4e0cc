//! Tables: one situation, one set of shares.

use std::time::Duration;

use signalbox_contract::BreakerPhase::{self, Probing, Serving, Tripped};

use super::*;
use crate::fixtures;

/// A region with weight 1 and four shards that can settle 100 events a second each, of 300 that arrive at all three.
fn region(name: &str, phase: BreakerPhase) -> Region<'_> {
    Region {
        name,
        weight: 1,
        phase,
        percent: 5,
        reachable: true,
        ready: 4,
        most: 16,
        per_shard: Some(100),
        arriving: Arriving { per_second: Some(100.0), soon: false },
        backlog: 0,
        before: Some(333),
    }
}

/// Three regions of which the last one is Tripped.
fn one_of_three() -> [Region<'static>; 3] {
    let mut regions = [region("eu", Serving), region("us", Serving), region("ap", Tripped)];
    regions[0].before = Some(334);
    regions
}

pub(super) fn decided(regions: &[Region<'_>], history: &TrafficHistory) -> Traffic {
    desired_shares(&Situation {
        regions,
        none_is_well: false,
        when_all_unhealthy: WhenAllUnhealthy::HoldWeights,
        drain: Duration::from_mins(1),
        history,
        now: fixtures::now(),
    })
}

pub(super) fn shares(traffic: &Traffic) -> Vec<u32> {
    traffic.regions.iter().map(|region| region.share_permille).collect()
}

fn goals(traffic: &Traffic) -> Vec<u32> {
    traffic.regions.iter().map(|region| region.goal_permille).collect()
}

fn of(regions: &[Region<'_>]) -> Traffic {
    decided(regions, &TrafficHistory::default())
}

fn message(traffic: &Traffic) -> &str {
    &traffic.shift.as_ref().unwrap().message
}

#[test]
fn while_all_serve_shares_are_as_the_weights_of_the_spec_say() {
    let mut regions = [region("eu", Serving), region("us", Serving), region("ap", Serving)];
    // Whatever they were, and whatever there is room for.
    (regions[0].before, regions[1].ready) = (Some(900), 0);
    let traffic = of(&regions);
    assert_eq!((shares(&traffic), traffic.shift.is_none()), (vec![334, 333, 333], true));
    assert!(traffic.regions.iter().all(|region| region.expected_arrival.is_none()));
    assert!(traffic.takes.iter().all(|takes| *takes == Takes { weight: 1, per_second: 0 }));
}

#[test]
fn where_there_is_room_all_of_it_moves_at_once() {
    let traffic = of(&one_of_three());
    assert_eq!(shares(&traffic), [500, 500, 0]);
    assert_eq!(message(&traffic), "33 % shifted away from ap");
    assert!(traffic.shift.unwrap().done);
}

#[test]
fn survivors_get_no_more_than_85_percent_of_what_they_can_settle_and_the_rest_stays() {
    let mut regions = one_of_three();
    // 85 of 300 is less than what it has; 127 of 300 is more.
    (regions[0].ready, regions[1].per_shard) = (1, Some(32));
    let traffic = of(&regions);
    // 108 of 300 events: 360 thousandths, of which whole percents are taken.
    assert_eq!(shares(&traffic), [334, 353, 313]);
    assert_eq!(goals(&traffic), [500, 500, 0]);
    assert_eq!(
        message(&traffic),
        "shifting 2 of 33 % away from ap, waiting for 1 shard in eu and 2 shards in us; more than 85 % of what they can \
         settle goes to eu"
    );
    // They are made large enough for all of it meanwhile.
    let expected: Vec<_> = traffic.regions.iter().map(|region| region.expected_arrival).collect();
    assert_eq!(expected, [Some(150), Some(150), None]);
}

#[test]
fn a_region_that_may_not_have_as_many_shards_says_so() {
    let mut regions = one_of_three();
    (regions[0].ready, regions[0].most) = (1, 1);
    let said = of(&regions);
    assert!(message(&said).contains("waiting for room in eu, which may have 1 shard at most"), "{}", message(&said));
}

#[test]
fn what_is_not_known_of_a_capacity_limits_nothing_and_is_said() {
    let mut regions = one_of_three();
    for region in &mut regions {
        region.per_shard = None;
    }
    let traffic = of(&regions);
    assert_eq!(shares(&traffic), [500, 500, 0]);
    assert!(
        message(&traffic)
            .ends_with("nothing limits what goes to eu and us, because what shards can settle there is not known")
    );
    // 0: no limit.
    assert_eq!(traffic.takes, [1, 1, 0].map(|weight| Takes { weight, per_second: 0 }));
}

#[test]
fn a_region_that_cannot_be_reached_gets_nothing_at_once() {
    let mut regions = one_of_three();
    regions[2].reachable = false;
    // Only the survivors tell: two thirds of what arrives.
    (regions[0].ready, regions[1].ready) = (1, 2);
    let traffic = of(&regions);
    // 85 and 170 of 300 events are what they have room for: us takes 563 at most, and what is left goes to both.
    assert_eq!(shares(&traffic)[2], 0);
    assert_eq!(shares(&traffic).iter().sum::<u32>(), 1_000);
    assert!(shares(&traffic)[1] > 566, "{:?}", shares(&traffic));
    assert!(message(&traffic).contains("more than 85 %"), "{}", message(&traffic));
}

#[test]
fn what_it_lets_go_of_goes_first_where_there_is_room() {
    let mut regions = one_of_three();
    regions[2].reachable = false;
    regions[0].ready = 1;
    let traffic = of(&regions);
    assert_eq!(shares(&traffic), [334, 666, 0]);
    // When shards come there, it moves on to its goal, and back from where it had to go.
    regions[0].ready = 2;
    for (region, share) in regions.iter_mut().zip([334, 666, 0]) {
        region.before = Some(share);
    }
    assert_eq!(shares(&of(&regions)), [500, 500, 0]);
}

#[test]
fn a_share_does_not_go_back_within_an_episode() {
    let mut regions = one_of_three();
    for (region, share) in regions.iter_mut().zip([400, 400, 200]) {
        (region.before, region.ready) = (Some(share), 1);
    }
    // More arrives, and a shard is away: there is room for less than what they have.
    let held = TrafficHistory { arrival: Some(900), ..TrafficHistory::default() };
    assert_eq!(shares(&decided(&regions, &held)), [400, 400, 200]);
}

#[test]
fn nothing_moves_to_a_region_without_a_shard() {
    let mut regions = one_of_three();
    (regions[0].ready, regions[0].per_shard) = (0, None);
    let traffic = of(&regions);
    assert_eq!(shares(&traffic), [334, 500, 166]);
    assert!(message(&traffic).contains("waiting for a shard in eu"), "{}", message(&traffic));
}

#[test]
fn when_no_region_is_well_the_weights_of_the_spec_hold() {
    let mut regions = [region("eu", Tripped), region("us", Tripped), region("ap", Tripped)];
    regions[1].weight = 2;
    let traffic = of(&regions);
    assert_eq!((shares(&traffic), traffic.sheds), (vec![250, 500, 250], false));
    assert_eq!(message(&traffic), "no region is well: new events are accepted by the weights of the spec, and wait");
    // Not where nobody answers, if somebody does.
    regions[1].reachable = false;
    assert_eq!(shares(&of(&regions)), [500, 0, 500]);
    for region in &mut regions {
        region.reachable = false;
    }
    assert_eq!(shares(&of(&regions)), [250, 500, 250]);
}

#[test]
fn when_no_region_is_well_new_events_may_be_refused() {
    let regions = [region("eu", Tripped), region("us", Tripped)];
    let situation = Situation {
        regions: &regions,
        none_is_well: false,
        when_all_unhealthy: WhenAllUnhealthy::Shed,
        drain: Duration::from_mins(1),
        history: &TrafficHistory::default(),
        now: fixtures::now(),
    };
    let traffic = desired_shares(&situation);
    assert_eq!((shares(&traffic), traffic.sheds), (vec![500, 500], true));
}

#[test]
fn the_last_region_gets_no_more_than_its_weight_where_it_is_not_well_either() {
    let (regions, history) = ([region("eu", Tripped), region("us", Serving)], TrafficHistory::default());
    let with = |when_all_unhealthy| Situation {
        regions: &regions,
        none_is_well: true,
        when_all_unhealthy,
        drain: Duration::from_mins(1),
        history: &history,
        now: fixtures::now(),
    };
    let traffic = desired_shares(&with(WhenAllUnhealthy::HoldWeights));
    assert_eq!((shares(&traffic), traffic.sheds), (vec![500, 500], false));
    // Each delivers what it can: nobody is better off.
    let listed = [500, 500].map(|permille| Listed { owners: Some(3), permille, places: 0 });
    assert_eq!(table::keeps(&regions, &traffic, &listed), [1_000, 1_000]);
    assert_eq!(traffic.takes, [Takes::default(); 2]);
    assert!(desired_shares(&with(WhenAllUnhealthy::Shed)).sheds);
}

#[test]
fn a_region_that_comes_back_gets_its_part_of_the_weight_and_delivers_no_more_of_what_comes() {
    let mut regions = one_of_three();
    regions[2].phase = Probing;
    for (region, share) in regions.iter_mut().zip([500, 500, 0]) {
        region.before = Some(share);
    }
    let traffic = of(&regions);
    // 5 of 205.
    assert_eq!(shares(&traffic), [488, 488, 24]);
    // Of its three shards, one is listed, beside three and three.
    let listed = [428, 429, 143].map(|permille| Listed { owners: Some(3), permille, places: 0 });
    assert_eq!(table::keeps(&regions, &traffic, &listed), [1_000, 1_000, 167]);
    let delivered = delivered(&regions, &traffic, &listed);
    assert_eq!(delivered.iter().sum::<u32>(), 1_000);
    assert_eq!(delivered[2], 23);
}

#[test]
fn who_is_tripped_hands_everything_over_and_takes_nothing() {
    let mut regions = one_of_three();
    regions[2].backlog = 6_000;
    let traffic = of(&regions);
    let listed = [500, 500, 0].map(|permille| Listed { owners: Some(3), permille, places: 0 });
    assert_eq!(table::keeps(&regions, &traffic, &listed), [1_000, 1_000, 0]);
    // 340 of 400 can be led there, and half of 300 is.
    let takes = Takes { weight: 1, per_second: 190 };
    assert_eq!(traffic.takes, [takes, takes, Takes::default()]);
    // Half of what it holds, within the minute that a backlog may take.
    assert_eq!(traffic.regions[0].expected_arrival, Some(150 + 50));
}

#[test]
fn who_has_nobody_to_hand_over_to_delivers_by_itself() {
    let regions = [region("eu", Tripped), region("us", Tripped)];
    let listed = [500, 500].map(|permille| Listed { owners: Some(3), permille, places: 0 });
    assert_eq!(table::keeps(&regions, &of(&regions), &listed), [1_000, 1_000]);
    let regions = [region("eu", Tripped), region("us", Probing)];
    assert_eq!(table::keeps(&regions, &of(&regions), &listed), [1_000, 1_000]);
}

#[test]
fn a_region_of_weight_zero_makes_no_episode() {
    let mut regions = one_of_three();
    regions[2].weight = 0;
    let traffic = of(&regions);
    assert_eq!((shares(&traffic), traffic.episode), (vec![500, 500, 0], false));
}

#[test]
fn what_arrives_is_less_only_when_it_is_so_for_a_while() {
    let mut regions = one_of_three();
    let look = |regions: &[Region<'_>], history: &TrafficHistory, seconds: u64| {
        let now = fixtures::now() + Duration::from_secs(seconds);
        let situation = Situation {
            regions,
            none_is_well: false,
            when_all_unhealthy: WhenAllUnhealthy::HoldWeights,
            drain: Duration::from_mins(1),
            history,
            now,
        };
        desired_shares(&situation).history
    };
    let first = look(&regions, &TrafficHistory::default(), 0);
    assert_eq!(first.arrival, Some(300));
    // A tenth is noise.
    regions[0].arriving.per_second = Some(125.0);
    assert_eq!(look(&regions, &first, 1).arrival, Some(300));
    regions[0].arriving.per_second = Some(200.0);
    let more = look(&regions, &first, 1);
    assert_eq!(more.arrival, Some(400));
    regions[0].arriving.per_second = Some(100.0);
    let less = look(&regions, &more, 2);
    assert_eq!(look(&regions, &less, 31).arrival, Some(400));
    assert_eq!(look(&regions, &less, 32).arrival, Some(300));
    // A clock that was set back says nothing of how long it has been.
    let ahead = fixtures::now() + Duration::from_hours(1);
    let back = TrafficHistory { less_since: Some(ahead), ..less.clone() };
    assert_eq!(look(&regions, &back, 3).arrival, Some(400));
    assert_eq!(look(&regions, &look(&regions, &back, 3), 33).arrival, Some(300));
    // Reports that are missing are no silence.
    for region in &mut regions {
        region.arriving = Arriving::default();
    }
    assert_eq!(look(&regions, &less, 99).arrival, Some(400));
}

#[test]
fn who_cannot_be_reached_is_made_up_for_by_the_others() {
    let mut regions = one_of_three();
    regions[2].reachable = false;
    regions[2].arriving.per_second = Some(9_000.0);
    // 200 events at two of three regions.
    assert_eq!(of(&regions).history.arrival, Some(300));
    // Once they have all of it, it is what they tell.
    (regions[0].before, regions[1].before, regions[2].before) = (Some(500), Some(500), Some(0));
    assert_eq!(of(&regions).history.arrival, Some(200));
}

#[test]
fn a_new_operator_moves_nothing_until_it_has_heard_how_much_arrives() {
    let mut regions = one_of_three();
    for region in &mut regions {
        region.arriving = Arriving { per_second: None, soon: true };
    }
    let traffic = of(&regions);
    assert_eq!(shares(&traffic), [334, 333, 333]);
    assert!(message(&traffic).contains("waiting for reports from eu and reports from us"), "{}", message(&traffic));
    // Where none will be, it does not wait for them.
    for region in &mut regions {
        region.arriving.soon = false;
    }
    assert_eq!(shares(&of(&regions)), [500, 500, 0]);
}
