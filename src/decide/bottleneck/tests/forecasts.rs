//! Backlogs that run into something, and backlogs that do not.

use std::time::Duration;

use signalbox_contract::ShardReport;

use super::super::forecast::MOST_POINTS;
use super::super::steady::MOST_LOOKS;
use super::support::{Dice, Looker, REGION};
use crate::fixtures;
use crate::fleet::{FleetIntent, Known, Saturates, Saturation};

/// One shard of one region that may hold a million events, and whose backlog may take as long as it likes.
fn intent() -> FleetIntent {
    let mut intent = fixtures::intent();
    intent.regions.truncate(1);
    intent.queue.limit_events = Some(1_000_000);
    intent.scaling.target_drain = Duration::from_hours(1000);
    intent
}

/// A shard that holds so many events after so many seconds, of which it settles so many a second.
fn report(second: i32, backlog: f64, settled: f64) -> ShardReport {
    let seconds = f64::from(second);
    let backlog = backlog.max(0.0) as u64;
    ShardReport {
        incarnation: "one".to_owned(),
        uptime_ms: 60_000 + (seconds * 1000.0) as u64,
        backlog_events: backlog,
        backlog_bytes: backlog * 100,
        accepted_total: (seconds * settled) as u64,
        settled_total: (seconds * settled) as u64,
        ..ShardReport::default()
    }
}

/// What is foretold, looked at every five seconds of these backlogs: when each new thing was.
fn foretold(
    intent: &FleetIntent,
    seconds: i32,
    mut backlog: impl FnMut(i32) -> f64,
) -> Vec<(i32, Known<Option<Saturation>>)> {
    let mut looker = Looker::new(intent.clone(), 1);
    let mut told: Vec<(i32, Known<Option<Saturation>>)> = Vec::new();
    for second in (0..seconds).step_by(10) {
        looker.now = fixtures::now() + Duration::from_secs(u64::try_from(second).unwrap());
        looker.report(0, &report(second, backlog(second), 1000.0));
        let forecast = looker.look().bottlenecks[0].forecast.clone();
        if told.last().is_none_or(|(_, last)| *last != forecast) {
            told.push((second, forecast));
        }
        let history = &looker.snapshot.history.regions[REGION];
        assert!(history.points.len() <= MOST_POINTS && history.looks.len() <= MOST_LOOKS);
    }
    told
}

fn saturations(told: &[(i32, Known<Option<Saturation>>)]) -> Vec<(i32, Saturation)> {
    told.iter().filter_map(|(at, known)| Some((*at, known.is()?.clone()?))).collect()
}

#[test]
fn a_linear_ramp_is_foretold_ten_minutes_ahead_and_its_time_is_told_a_few_times_only() {
    for seed in 1..=20 {
        let mut dice = Dice::new(seed);
        // Full after 20 to 60 minutes.
        let full = dice.between(1200.0, 3600.0);
        let noise = dice.between(0.0, 0.05);
        let told = foretold(&intent(), full as i32 - 60, |second| {
            1e6 * (f64::from(second) / full + dice.between(-noise, noise) * (f64::from(second) / full).min(0.2))
        });
        let told = saturations(&told);
        let (first, foreseen) = told.first().unwrap_or_else(|| panic!("seed {seed}: nothing in {full} s"));
        let ahead = full - f64::from(*first);
        assert!(ahead >= 600.0, "seed {seed}: {ahead} s ahead of {full}");
        assert_eq!(foreseen.into, Saturates::BacklogLimit);
        assert!(told.len() <= 8, "seed {seed}: {told:?}");
        // When ten minutes are left, it is told to three minutes.
        let (_, late) = told.iter().rev().find(|(at, _)| f64::from(*at) <= full - 600.0).unwrap();
        let off = late.at.duration_since(fixtures::now()).as_secs_f64() - full;
        assert!(off.abs() <= 200.0, "seed {seed}: off by {off} s");
        assert!(told.iter().all(|(_, told)| told.at.as_second() % 60 == 0));
    }
}

#[test]
fn a_limit_that_is_reached_is_told_at_once_and_once() {
    let told = foretold(&intent(), 300, |second| if second < 100 { 500.0 } else { 1e6 });
    let told = saturations(&told);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!((100..=125).contains(&told[0].0) && told[0].1.percent >= 99, "{told:?}");
}

#[test]
fn the_drain_target_is_foretold_too() {
    let mut intent = intent();
    intent.scaling.target_drain = Duration::from_mins(5);
    // A thousand a second are settled: 300,000 are five minutes, after 50 minutes.
    let told = saturations(&foretold(&intent, 2000, |second| 100.0 * f64::from(second)));
    let (at, first) = told.first().unwrap();
    assert_eq!(first.into, Saturates::DrainTarget);
    assert!(*at < 2400, "{at}");
    let off = told.last().unwrap().1.at.duration_since(fixtures::now()).as_secs_f64() - 3000.0;
    assert!(off.abs() <= 400.0, "off by {off} s");
}

/// Backlogs that come to nothing: how they are after so many seconds of two hours, in millionths of the limit.
fn harmless(kind: u64, dice: &mut Dice) -> impl FnMut(i32) -> f64 {
    let size = dice.between(0.01, 0.6) * 1e6;
    let period = dice.between(300.0, 7200.0);
    let (mut walk, mut dice) = (size, Dice::new(dice.fraction().to_bits()));
    move |second| {
        let at = f64::from(second);
        match kind {
            // Noise around a level.
            0 => size * dice.between(0.5, 1.5),
            // Batches that come at once and are delivered.
            1 => size * (1.0 - (at % period) / (period * 0.5)).max(0.0),
            // A walk that is drawn back.
            2 => {
                walk += dice.between(-0.03, 0.03) * size - (walk - size) * 0.01;
                walk
            }
            // A daily curve: a small backlog that follows the hours.
            3 => size * 0.3 * (1.0 + (at / 14_400.0 * std::f64::consts::TAU).sin()) * dice.between(0.9, 1.1),
            // Nearly nothing, with spikes.
            _ => {
                if dice.fraction() < 0.01 {
                    size
                } else {
                    100.0 * dice.fraction()
                }
            }
        }
    }
}

#[test]
fn false_alarms_are_rare() {
    let (mut alarms, mut minutes, mut runs) = ([0; 5], 0, 0);
    for kind in 0..5_u64 {
        for seed in 0..8 {
            let mut dice = Dice::new(seed * 31 + kind);
            let told = foretold(&intent(), 2 * 3600, harmless(kind, &mut dice));
            alarms[usize::try_from(kind).unwrap()] += saturations(&told)
                .iter()
                .zip(std::iter::once(None).chain(saturations(&told).iter().map(Some)))
                .filter(|((at, _), before)| before.is_none_or(|(earlier, _)| at - earlier > 900))
                .count();
            minutes += 120;
            runs += 1;
        }
    }
    println!(
        "false alarms in {runs} runs of two hours ({minutes} minutes): noise {}, batches {}, walks {}, daily curves {}, \
         spikes {}",
        alarms[0], alarms[1], alarms[2], alarms[3], alarms[4]
    );
    assert_eq!([alarms[0], alarms[1], alarms[3], alarms[4]], [0; 4]);
    // A walk does go up for ten minutes now and then: whoever sees only that cannot know that it will turn.
    assert!(alarms[2] <= 8, "{alarms:?}");
}

#[test]
fn after_a_restart_nothing_is_said_until_it_is_known() {
    let mut looker = Looker::new(intent(), 1);
    let mut told = Vec::new();
    for second in (0..2400).step_by(5) {
        if second == 1200 {
            looker.restart();
        }
        looker.now = fixtures::now() + Duration::from_secs(u64::try_from(second).unwrap());
        looker.report(0, &report(second, 300.0 * f64::from(second), 1000.0));
        told.push(looker.look().bottlenecks[0].clone());
    }
    assert!(matches!(told[239].forecast, Known::Is(Some(_))), "{:?}", told[239]);
    assert_eq!((&told[240].forecast, &told[240].limit), (&Known::NotYet, &Known::NotYet), "what was said stands");
    assert!(told[240..].iter().all(|told| !matches!(told.forecast, Known::Is(None) | Known::Unknown)));
    assert!(matches!(told[479].forecast, Known::Is(Some(_))), "{:?}", told[479]);
}

#[test]
fn silence_is_not_known_and_no_zero() {
    let mut looker = Looker::new(intent(), 1);
    for second in (0..1500).step_by(5) {
        looker.now = fixtures::now() + Duration::from_secs(u64::try_from(second).unwrap());
        if second < 600 {
            looker.report(0, &report(second, 10.0, 1000.0));
        }
        let told = looker.look().bottlenecks[0].clone();
        match second {
            300..600 => assert_eq!(told.forecast, Known::Is(None)),
            700.. => {
                assert_eq!((told.forecast, told.limit, told.message), (Known::Unknown, Known::Unknown, String::new()))
            }
            _ => {}
        }
    }
}
