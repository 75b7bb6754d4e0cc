//! Sinks that fail from one region, from all, for a while, or in part.

use signalbox_contract::BreakerPhase::{Probing, Serving, Tripped};

use super::world::{World, time};
use crate::fleet::{BreakerReason, FleetSnapshot, Observation, SinkRates, TripCause};

/// A sink fails from eu-west from the fifteenth second on, for so long.
fn outage(lasts: u64, begins: u64) -> impl Fn(&str, &str, u64) -> u64 {
    move |region, sink, at| {
        let now = (begins..begins + lasts).contains(&at);
        if region == "eu-west" && sink == "fulfilment" && now { 100 } else { 0 }
    }
}

/// Beginnings at every part of a second.
const BEGINNINGS: [u64; 5] = [15_000, 15_200, 15_500, 15_700, 15_900];

#[test]
fn an_outage_trips_within_nine_seconds_of_its_begin() {
    for begins in BEGINNINGS {
        for probes in [500, 700, 1000] {
            let world = World { probes, ..World::new(outage(60_000, begins)) }.run(40_000);
            let (at, region, phase) = world.moves()[0];
            assert_eq!((region, phase), ("eu-west", Tripped));
            assert!(
                (begins + 6_000..=begins + 9_000).contains(&at),
                "began at {begins}, probes {probes}: tripped at {at}"
            );
            let plan = world.at("eu-west", at);
            assert_eq!(plan.reason, BreakerReason::Tripped(TripCause::SinkFailing));
            let until = plan.memory.until.unwrap();
            let told = |seconds: u32| {
                let row = format!("a row of failures of {seconds} s on 2 of 2 shards");
                format!("tripped until {until}: sink fulfilment fails from here ({row}), and not from us-east")
            };
            assert!([told(6), told(7)].contains(&plan.message), "{}", plan.message);
            assert!(until >= time(at + 15_000) && until <= time(at + 31_000), "{until}");
        }
    }
}

#[test]
fn a_blip_of_five_seconds_never_trips() {
    for begins in BEGINNINGS {
        for (probes, rate) in [(500, 100), (1000, 100), (1000, 1000), (1000, 10), (700, 20)] {
            let world = World { rate, probes, ..World::new(outage(5_000, begins)) }.run(60_000);
            assert_eq!(world.moves(), [], "began at {begins}, probes {probes}, rate {rate}");
            assert_eq!(world.last("eu-west").reason, BreakerReason::Healthy);
        }
    }
}

/// What shards tell of a sink that hangs from then on, for so long: nothing ends until the first attempts time out after
/// five seconds; then probes are made, of which each is late after 750 ms, and followed by another.
fn hang(lasts: u64, begins: u64, first_probe: u64) -> World {
    let seen = move |snapshot: &mut FleetSnapshot, at: u64| {
        let Some(since) = at.checked_sub(begins) else { return };
        let over = since >= lasts.max(first_probe);
        for shard in snapshot.regions.get_mut("eu-west").unwrap().shards.values_mut() {
            let Observation::Reading { value, .. } = &mut shard.report else { unreachable!() };
            let Some(sink) = value.shard.sinks.iter_mut().find(|sink| sink.name == "fulfilment") else { continue };
            if over {
                continue;
            }
            let delivered = begins / 10;
            (sink.delivered_total, sink.backlog_events, sink.in_flight) = (delivered, since / 10 + 1, 16);
            let timed_out = since >= 5_000;
            let probes = since.checked_sub(first_probe).map_or(0, |since| since / 750);
            if timed_out {
                (sink.failed_attempts_total, sink.consecutive_failures) = (16, 16);
                sink.phase = if since < first_probe { Tripped } else { Probing };
                sink.failing_ms = if probes == 0 { 2 } else { first_probe + (probes - 1) * 750 };
            }
            let failed = if timed_out { 3.2 } else { 0.0 };
            value
                .rates
                .as_mut()
                .unwrap()
                .sinks
                .insert("fulfilment".to_owned(), SinkRates { failed, ..SinkRates::default() });
        }
    };
    World { seen: Box::new(seen), ..World::new(|_, _, _| 0) }
}

#[test]
fn a_sink_that_hangs_trips_its_region_within_ten_seconds_and_one_that_does_for_five_never() {
    for begins in BEGINNINGS {
        for first_probe in [5_500, 5_800, 6_000] {
            let world = hang(u64::MAX / 2, begins, first_probe).run(40_000);
            let (at, region, phase) = world.moves()[0];
            assert_eq!((region, phase), ("eu-west", Tripped));
            assert!((begins + 6_000..=begins + 10_000).contains(&at), "hangs from {begins} on: tripped at {at}");
            let world = hang(5_000, begins, first_probe).run(40_000);
            assert_eq!(world.moves(), [], "hung from {begins} on");
            assert_eq!(world.last("eu-west").reason, BreakerReason::Healthy);
        }
    }
}

#[test]
fn a_message_does_not_move_while_a_region_is_tripped() {
    let world = World::new(outage(600_000, 15_000)).run(38_000);
    let (tripped, ..) = world.moves()[0];
    let messages: Vec<_> =
        world.log.iter().filter(|(at, _)| *at > tripped).map(|(_, plans)| &plans["eu-west"]).collect();
    assert!(!messages.is_empty());
    let first = messages[0];
    assert!(
        messages.iter().all(|plan| (&plan.message, plan.memory) == (&first.message, first.memory)),
        "{messages:#?}"
    );
    let until = first.memory.until.unwrap();
    assert_eq!(first.message, format!("tripped until {until}: a sink fails from here, and not from elsewhere"));
}

#[test]
fn a_large_share_of_failures_trips_when_it_has_lasted_and_a_small_one_never() {
    let share = |percent: u64, rate: u64| {
        let failing = move |region: &str, sink: &str, at: u64| {
            if region == "eu-west" && sink == "audit" && at >= 15_000 { percent } else { 0 }
        };
        World { rate, ..World::new(failing) }.run(60_000)
    };
    for percent in [60, 80] {
        let world = share(percent, 100);
        let (at, region, phase) = world.moves()[0];
        assert_eq!((region, phase), ("eu-west", Tripped), "{percent}%");
        assert!((25_000..45_000).contains(&at), "{percent}%: at {at}");
        assert!(world.at("eu-west", at).message.contains("% of the attempts), and not from us-east"));
    }
    for percent in [10, 30, 45] {
        assert_eq!(share(percent, 100).moves(), [], "{percent}%");
    }
    assert_eq!(
        share(60, 10).moves().first().map(|(_, _, phase)| *phase),
        Some(Tripped),
        "20 attempts a second are enough"
    );
}

#[test]
fn too_few_attempts_say_nothing_by_their_share() {
    let failing = |region: &str, _: &str, at: u64| if region == "eu-west" && at >= 15_000 { 60 } else { 0 };
    let mut world = World { rate: 10, ..World::new(failing) };
    world.intent.breaker.minimum_attempts = 1_000;
    assert_eq!(world.run(60_000).moves(), []);
}

#[test]
fn a_sink_that_fails_everywhere_trips_nothing_and_is_named() {
    let failing = |_: &str, sink: &str, at: u64| if sink == "audit" && at >= 15_000 { 100 } else { 0 };
    let world = World::new(failing).run(90_000);
    assert_eq!(world.moves(), []);
    let plan = world.last("eu-west");
    assert_eq!(plan.reason, BreakerReason::SinkFailsEverywhere);
    assert_eq!(plan.message, "sink audit fails from every region that sends to it: no region is at fault");
}

#[test]
fn a_sink_that_begins_to_fail_elsewhere_a_little_later_fails_everywhere_too() {
    let failing = |region: &str, sink: &str, at: u64| {
        let begins = if region == "eu-west" { 15_000 } else { 19_000 };
        if sink == "audit" && at >= begins { 100 } else { 0 }
    };
    assert_eq!(World::new(failing).run(60_000).moves(), []);
}

#[test]
fn a_sink_that_is_back_everywhere_but_in_one_region_trips_that_one() {
    let failing = |region: &str, sink: &str, at: u64| {
        let ends = if region == "eu-west" { u64::MAX } else { 40_000 };
        if sink == "audit" && (15_000..ends).contains(&at) { 100 } else { 0 }
    };
    let moves = World::new(failing).run(50_000);
    let (at, region, phase) = moves.moves()[0];
    assert_eq!((region, phase), ("eu-west", Tripped));
    assert!((40_000..=44_000).contains(&at), "at {at}");
}

#[test]
fn a_region_comes_back_step_by_step_when_its_deliveries_are_clean() {
    let world = World::new(outage(20_000, 15_000)).run(200_000);
    let moves = world.moves();
    assert_eq!(moves.iter().map(|(_, _, phase)| *phase).collect::<Vec<_>>(), [Tripped, Probing, Serving], "{moves:?}");
    let steps: Vec<_> = world
        .log
        .iter()
        .filter(|(_, plans)| plans["eu-west"].memory.phase == Probing && plans["eu-west"].from.is_some())
        .map(|(at, plans)| (*at, plans["eu-west"].memory.step))
        .collect();
    assert_eq!(steps.iter().map(|(_, step)| *step).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    for pair in steps.windows(2) {
        assert!((10_000..=12_000).contains(&(pair[1].0 - pair[0].0)), "{steps:?}");
    }
    let message = &world.at("eu-west", steps[1].0).message;
    assert_eq!(message, "comes back with 10% of its weight; 25% follow when that has gone well for 10 s");
    assert_eq!(world.last("eu-west").memory.trips, 1, "nothing has made up for it yet");
}

#[test]
fn a_relapse_trips_at_once_and_for_longer() {
    let world = World::new(|region: &str, sink: &str, at: u64| {
        let now = (15_000..35_000).contains(&at) || at >= 60_000;
        if region == "eu-west" && sink == "fulfilment" && now { 100 } else { 0 }
    });
    let world = world.run(70_000);
    let moves = world.moves();
    assert_eq!(moves.iter().map(|(_, _, phase)| *phase).collect::<Vec<_>>(), [Tripped, Probing, Tripped], "{moves:?}");
    assert!(moves[2].0 <= 60_000 + 5_500, "{moves:?}");
    assert_eq!(world.last("eu-west").memory.trips, 2);
}

#[test]
fn a_region_that_fails_in_part_while_it_comes_back_goes_one_step_down() {
    let world = World::new(|region: &str, sink: &str, at: u64| match at {
        15_000..35_000 if region == "eu-west" && sink == "fulfilment" => 100,
        75_000..80_000 if region == "eu-west" && sink == "fulfilment" => 70,
        _ => 0,
    });
    let world = world.run(200_000);
    let mut steps: Vec<u32> = Vec::new();
    for (_, plans) in &world.log {
        steps.extend(plans["eu-west"].from.map(|_| plans["eu-west"].memory.step));
    }
    assert!(steps.windows(2).any(|pair| pair[0] > 0 && pair[1] == pair[0] - 1), "{steps:?}");
    assert_eq!(world.last("eu-west").memory.phase, Serving);
    assert_eq!(world.moves().len(), 3, "{:?}", world.moves());
}

#[test]
fn a_region_that_refuses_while_another_does_not_is_tripped() {
    let mut world = World::new(|_, _, _| 0);
    world.seen = Box::new(|snapshot, at| {
        for (name, region) in &mut snapshot.regions {
            for shard in region.shards.values_mut() {
                let Observation::Reading { value, .. } = &mut shard.report else { continue };
                value.shard.accepted_total = at / 10;
                value.shard.refused_total = if name == "us-east" && at > 15_000 { at } else { 0 };
                if let Some(rates) = &mut value.rates {
                    rates.refused = if name == "us-east" && at > 15_000 { 1000.0 } else { 0.0 };
                }
            }
        }
    });
    // Nothing calls for a look of itself: somebody looks.
    world.intent.breaker.base_trip_time = std::time::Duration::from_mins(5);
    let world = world.run(90_000);
    let moves = world.moves();
    assert_eq!(moves.iter().map(|(_, region, phase)| (*region, *phase)).collect::<Vec<_>>(), [("us-east", Tripped)]);
    assert_eq!(world.last("us-east").reason, BreakerReason::Tripped(TripCause::Refusing));
}

#[test]
fn of_three_regions_one_at_most_is_tripped_by_what_was_inferred() {
    let failing =
        |region: &str, sink: &str, at: u64| if sink == "audit" && region != "c" && at >= 15_000 { 100 } else { 0 };
    let world = World::new(failing).with_regions(&["a", "b", "c"]).run(35_000);
    assert_eq!(world.moves().iter().map(|(_, region, _)| *region).collect::<Vec<_>>(), ["a"]);
    let spared = world.last("b");
    assert_eq!(spared.reason, BreakerReason::TooFewLeft);
    assert!(spared.message.contains("too few regions would be left"), "{}", spared.message);
}

#[test]
fn a_fleet_of_one_region_has_nowhere_to_send_events_to() {
    let failing = |_: &str, _: &str, at: u64| if at >= 15_000 { 100 } else { 0 };
    assert_eq!(World::new(failing).with_regions(&["eu-west"]).run(60_000).moves(), []);
}
