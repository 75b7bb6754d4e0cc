//! The closed loop, over many seeds: what the autoscaler must reach.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small numbers"
)]

mod faults;

use std::time::Duration;

use super::*;
use crate::fixtures;
use crate::fleet::{FleetIntent, ScalingReason, ShardRange};

/// One region that may have up to `max` shards.
fn intent(max: u32) -> FleetIntent {
    let mut intent = fixtures::intent();
    intent.regions.truncate(1);
    intent.regions[0].shards = ShardRange { min: 1, max };
    intent
}

fn of(fleet: Vec<f64>) -> Load {
    Load { fleet, ..Load::default() }
}

/// `calm` events per second, from second 120 on `high`.
fn step(calm: f64, high: f64, seconds: usize) -> Load {
    of((0..seconds).map(|second| if second < 120 { calm } else { high }).collect())
}

fn ups(timeline: &Timeline) -> Vec<&Change> {
    timeline.changes.iter().filter(|change| change.to > change.from).collect()
}

fn wanted_at(timeline: &Timeline, second: u64) -> u32 {
    let before = timeline.samples.iter().rfind(|sample| sample.second <= second);
    before.map_or(0, |sample| sample.wanted_shards)
}

/// The most changes of direction within any ten minutes.
fn reversals(timeline: &Timeline) -> usize {
    let changes: Vec<_> = timeline.changes.iter().map(|change| (change.second, change.to > change.from)).collect();
    let turns: Vec<u64> = changes.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0).collect();
    turns.iter().map(|from| turns.iter().filter(|at| (*from..from + 600).contains(*at)).count()).max().unwrap_or(0)
}

#[test]
fn a_step_is_answered_with_the_right_size_within_two_decisions() {
    let world = World { shard_capacity: 500.0, ..World::default() };
    for (calm, high) in [(100.0, 600.0), (100.0, 1_000.0), (300.0, 2_000.0), (1_000.0, 3_000.0), (50.0, 690.0)] {
        // The fleet has met a saturating load before: a day of which the operator remembers what a shard can do.
        let mut load: Vec<f64> = (0..1_500).map(|second| if second < 300 { high } else { calm }).collect();
        load.extend(vec![high; 1_500]);
        let timeline = simulate(&intent(16), &of(load), &world, 1, 10);
        let right = (high / (500.0 * 0.7)).ceil() as u32;
        let after: Vec<_> = ups(&timeline).into_iter().filter(|change| change.second >= 1_500).collect();
        let reached = after.iter().position(|change| change.to >= right).map(|at| at + 1);
        assert!(matches!(reached, Some(1..=2)), "{calm} to {high}: {right} shards are right: {after:#?}");
        // What waits asks for some more, for as long as it waits.
        let most = after.iter().map(|change| change.to).max().unwrap();
        assert!(most <= 2 * right, "{calm} to {high}: {most} shards, {right} are right: {after:?}");
        // A margin for noise is kept on the way down.
        let end = wanted_at(&timeline, 2_999);
        let margin = (high * 1.25 / (500.0 * 0.7)).ceil() as u32;
        assert!((right..=margin).contains(&end), "{calm} to {high}: {end} in the end: {:?}", timeline.changes);
    }
}

#[test]
fn a_fleet_that_knows_nothing_at_most_doubles_until_it_does() {
    let timeline = simulate(&intent(16), &step(100.0, 2_000.0, 1_200), &World::default(), 1, 10);
    let first = ups(&timeline)[0];
    assert!(first.to <= 2 * first.from, "{first:?}");
    // 2000 / 350, and a margin for noise.
    assert!((6..=8).contains(&wanted_at(&timeline, 1_199)), "{:?}", timeline.changes);
}

#[test]
fn noise_turns_the_size_around_at_most_once_in_ten_minutes_for_a_thousand_seeds() {
    let worst = std::sync::Mutex::new(Vec::new());
    let (intent, world) = (intent(16), World::default());
    std::thread::scope(|scope| {
        for part in 0..2u64 {
            let (worst, intent, world) = (&worst, &intent, &world);
            scope.spawn(move || {
                for seed in (0..1_000u64).filter(|seed| seed % 2 == part) {
                    // Different means, so that some are just at the edge of a size.
                    let middle = 600.0 + (seed % 100) as f64 * 10.0;
                    let load = shaped(Shape::Noise, middle * 0.5, middle * 1.5, 1_800, seed);
                    let timeline = simulate(intent, &load, world, seed, 600);
                    let reversals = reversals(&timeline);
                    if reversals > 1 {
                        worst.lock().unwrap().push((seed, reversals, timeline.changes));
                    }
                }
            });
        }
    });
    let worst = worst.into_inner().unwrap();
    let seeds: Vec<_> = worst.iter().map(|(seed, reversals, _)| (seed, reversals)).collect();
    assert!(worst.is_empty(), "{} seeds (seed, reversals): {seeds:?}; the first: {:?}", worst.len(), worst[0].2);
}

#[test]
fn a_sink_that_takes_no_more_stops_growth_within_three_steps() {
    for (limit, seed) in [(400.0, 1), (800.0, 2), (1_500.0, 3)] {
        let world = World { sink_limit: Some(limit), ..World::default() };
        let timeline = simulate(&intent(32), &step(200.0, 4_000.0, 1_200), &world, seed, 10);
        let useful = (limit / 500.0_f64).ceil() as u32;
        // Growth up to what the sink takes is of use; after that, three steps.
        let useless = ups(&timeline).iter().filter(|change| change.to > useful).count();
        assert!(useless <= 3, "{limit}/s: {:?}", timeline.changes);
        let last = timeline.samples.last().unwrap();
        let why = [ScalingReason::Ineffective.as_str(), ScalingReason::LimitedElsewhere.as_str()];
        assert!(why.contains(&last.reason), "{limit}/s: {}: {:?}", last.reason, timeline.changes);
    }
}

#[test]
fn half_an_hour_without_reports_takes_no_shard_away() {
    let mut load = vec![2_000.0; 600];
    load.extend(vec![10.0; 3_000]);
    let world = World { silence: Some((590, 590 + 1_800)), ..World::default() };
    let timeline = simulate(&intent(16), &of(load), &world, 1, 10);
    let before = wanted_at(&timeline, 600);
    assert!(before >= 6, "{:?}", timeline.changes);
    assert_eq!(wanted_at(&timeline, 2_390), before, "{:?}", timeline.changes);
    // The window begins anew when they come back.
    assert_eq!(wanted_at(&timeline, 2_390 + 290), before, "{:?}", timeline.changes);
    assert_eq!(wanted_at(&timeline, 3_599), 1, "{:?}", timeline.changes);
}

#[test]
fn lost_and_late_reports_change_little() {
    let world = World { report_loss: 0.3, report_delay: 4, ..World::default() };
    for seed in 0..20 {
        let load = shaped(Shape::Step, 200.0, 1_500.0, 3_600, seed);
        let timeline = simulate(&intent(16), &load, &world, seed, 10);
        assert!(wanted_at(&timeline, 2_000) >= 5, "seed {seed}: {:?}", timeline.changes);
        assert!(reversals(&timeline) <= 1, "seed {seed}: {:?}", timeline.changes);
        assert_eq!(wanted_at(&timeline, 3_599), 1, "seed {seed}: {:?}", timeline.changes);
    }
}

#[test]
fn the_same_seed_gives_the_same_timeline() {
    let load = shaped(Shape::Spike, 100.0, 2_000.0, 1_800, 7);
    let world = World { report_loss: 0.1, ..World::default() };
    let run = || simulate(&intent(8), &load, &world, 7, 10);
    assert_eq!(run(), run());
}

#[test]
fn a_load_that_stays_as_it_is_writes_nothing() {
    let half = |seconds| simulate(&intent(8), &step(100.0, 900.0, seconds), &World::default(), 1, 10);
    let (short, long) = (half(1_800), half(7_200));
    assert_eq!(short.writes, long.writes, "{:?}", long.changes);
}

#[test]
fn no_event_is_lost_when_shards_come_and_go() {
    for seed in 0..5 {
        let load = shaped(Shape::Spike, 100.0, 3_000.0, 3_600, seed);
        let intent = FleetIntent {
            scaling: crate::fleet::ScalingIntent { stabilization: Duration::from_mins(1), ..intent(8).scaling },
            ..intent(8)
        };
        let timeline = simulate(&intent, &load, &World::default(), seed, 1);
        let arrived: f64 = timeline.samples.iter().map(|sample| sample.arrival_per_second).sum();
        let settled: f64 = timeline.samples.iter().map(|sample| sample.settled_per_second).sum();
        let left = timeline.samples.last().unwrap().backlog_events as f64;
        assert!((arrived - settled - left).abs() < arrived * 0.001, "seed {seed}: {arrived} {settled} {left}");
    }
}
