//! Eight limits, each put on a region that was well until then, with five seeds of sizes, rates and noise: which limit
//! is told a minute later, and which in the minute after that.

use std::time::Duration;

use super::support::{Dice, Looker};
use super::world::{Region, World};
use crate::fixtures;
use crate::fleet::{FleetIntent, Known, Limit};

const SINK: &str = "fulfilment";

fn limits() -> [Limit; 8] {
    let sink = || SINK.to_owned();
    [
        Limit::Cpu,
        Limit::Disk,
        Limit::Sink(sink()),
        Limit::ConcurrencyLimit(sink()),
        Limit::HotKey(sink()),
        Limit::Skew,
        Limit::Ingest,
        Limit::Nothing,
    ]
}

fn intent(concurrency: f64) -> FleetIntent {
    let mut intent = fixtures::intent();
    intent.regions.truncate(1);
    intent.sinks.truncate(1);
    intent.sinks[0].max_concurrency = concurrency as u32;
    intent
}

/// A region that is well: nothing is used for more than a quarter, but for moments.
fn well(dice: &mut Dice, shards: u32) -> World {
    let load = dice.between(50.0, 2000.0) * f64::from(shards);
    let each = load / f64::from(shards);
    let attempt = dice.between(0.003, 0.15);
    let ample = |dice: &mut Dice| each * dice.between(4.0, 8.0);
    let cpu = ample(dice);
    World {
        load,
        first_share: 1.0 / f64::from(shards),
        hot_share: 0.0,
        receive: ample(dice),
        disk: ample(dice),
        // Often busy all the time, and no limit: it writes in groups.
        sync: dice.between(0.0005, 0.005),
        processors: dice.between(0.5, 4.0).ceil(),
        cost: [0.4 / cpu, 0.6 / cpu],
        concurrency: (ample(dice) * attempt).ceil().clamp(4.0, 1000.0),
        attempt,
        sink: load * dice.between(3.0, 6.0),
        throttles: dice.fraction() < 0.5,
    }
}

/// Puts a limit on it.
fn inject(world: &mut World, limit: &Limit, shards: u32, dice: &mut Dice) {
    let each = world.load / f64::from(shards);
    let less = dice.between(0.3, 0.8);
    match limit {
        Limit::Cpu => {
            let cost = world.processors / (each * less);
            let first = dice.between(0.3, 0.6);
            world.cost = [cost * first, cost * (1.0 - first)];
        }
        Limit::Disk => world.disk = each * less,
        Limit::Sink(_) => world.sink = world.load * less,
        // The sink stays as quick as it is, and more comes in than the limit lets through.
        Limit::ConcurrencyLimit(_) => {
            world.load *= world.concurrency / world.attempt / each / less;
            let more = world.concurrency / world.attempt / each;
            world.cost = world.cost.map(|cost| cost / more / 3.0);
            (world.receive, world.disk) = (world.receive * more * 2.0, world.disk * more * 2.0);
            world.sink = world.load * 4.0;
        }
        Limit::HotKey(_) => {
            // One key alone is more than one attempt after the other can take.
            world.hot_share = dice.between(0.4, 0.95);
            world.attempt = (1.0 / (world.load * world.hot_share * less)).min(0.5);
            world.concurrency = (world.load * world.attempt * 3.0).ceil().max(4.0);
            (world.receive, world.disk) = (world.load * 3.0, world.load * 3.0);
            world.cost = world.cost.map(|cost| cost / f64::from(shards));
        }
        Limit::Skew => {
            world.first_share = dice.between(0.75, 0.95);
            let first = world.load * world.first_share;
            (world.receive, world.disk) = (first * 3.0, first * 3.0);
            world.sink = world.load * 4.0;
            if dice.fraction() < 0.5 {
                world.cost = [0.4, 0.6].map(|part| part * world.processors / (first * less.max(0.5)));
                world.concurrency = (first * world.attempt * 3.0).ceil().max(4.0);
            } else {
                world.concurrency = (first * world.attempt * less.max(0.5)).floor().max(1.0);
                world.cost = [0.4, 0.6].map(|part| part * world.processors / (first * 3.0));
            }
        }
        Limit::Ingest => world.receive = each * less,
        Limit::Nothing => {}
    }
}

/// What is told, second by second, of two minutes from when the limit is there, or of three before.
fn told(limit: &Limit, seed: u64) -> (Vec<Known<Limit>>, Vec<Known<Limit>>) {
    let mut dice = Dice::new(seed);
    let least = if *limit == Limit::Skew { 2.0 } else { 1.0 };
    let shards = dice.between(least, 6.99).floor() as u32;
    let mut limited = well(&mut dice, shards);
    let healthy = limited.clone();
    inject(&mut limited, limit, shards, &mut dice);
    // What the spec says, it says from the start.
    let healthy =
        World { concurrency: limited.concurrency.max(healthy.concurrency.min(limited.concurrency)), ..healthy };
    // Before, the load is one that even this carries.
    let each = (0.5 * healthy.concurrency / healthy.attempt * f64::from(shards)).min(healthy.load);
    let healthy = World { load: each, ..healthy };
    let mut looker = Looker::new(intent(limited.concurrency), shards);
    let mut region = Region::new(healthy, shards, SINK, seed);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut next_look = 0.0;
    let mut latest = Known::NotYet;
    for second in 0..300_i32 {
        if second == 180 {
            region.world = limited.clone();
        }
        region.second();
        looker.now += Duration::from_secs(1);
        for ordinal in 0..shards {
            // One in twenty is lost.
            if dice.fraction() > 0.05 {
                looker.report(ordinal, &region.report(ordinal));
            }
        }
        if f64::from(second) >= next_look {
            let monitored = looker.look();
            let soon = monitored.recheck_after.unwrap_or(Duration::from_mins(5)).as_secs_f64();
            // Something else makes it look, too.
            next_look = f64::from(second) + soon.min(dice.between(2.0, 12.0));
            latest = monitored.bottlenecks[0].limit.clone();
        }
        if second < 180 { before.push(latest.clone()) } else { after.push(latest.clone()) }
    }
    (before, after)
}

#[test]
fn a_limit_is_told_within_a_minute_and_stays_told() {
    let (mut right, mut stays, mut calm, mut all) = (0, 0, 0, 0);
    let mut wrong = Vec::new();
    for limit in limits() {
        for seed in 1..=5 {
            let (before, after) = told(&limit, seed);
            let expected = Known::Is(limit.clone());
            all += 1;
            if after[59] == expected {
                right += 1;
            } else {
                wrong.push(format!("{limit:?} with seed {seed}: {:?}", after[59]));
            }
            stays += u32::from(after[59..].iter().all(|told| *told == expected));
            calm += u32::from(before[30..].iter().all(|told| *told == Known::Is(Limit::Nothing)));
        }
    }
    println!("right after a minute: {right} of {all}; for the minute after: {stays}; nothing told before: {calm}");
    assert!(right * 100 >= all * 95, "{wrong:#?}");
    assert!(stays * 100 >= all * 95 && calm * 100 >= all * 95, "stays {stays}, calm {calm} of {all}");
}

#[test]
fn many_more_seeds_tell_the_same() {
    let mut wrong = Vec::new();
    for limit in limits() {
        for seed in 100..140 {
            let (_, after) = told(&limit, seed);
            if after[59] != Known::Is(limit.clone()) {
                wrong.push(format!("{limit:?} with seed {seed}: {:?}", after[59]));
            }
        }
    }
    println!("wrong of 320: {}", wrong.len());
    assert!(wrong.len() <= 16, "{wrong:#?}");
}
