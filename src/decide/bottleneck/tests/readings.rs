//! What one reading says, and what is told of several.

use std::time::Duration;

use signalbox_contract::{BreakerPhase, ShardReport, SinkReport};

use super::super::monitor;
use super::support::{Looker, REGION};
use crate::fixtures;
use crate::fleet::{FleetIntent, Known, Limit, Observation, Rates, SinkRates};

const SINK: &str = "audit";

fn intent() -> FleetIntent {
    let mut intent = fixtures::intent();
    intent.regions.truncate(1);
    intent
}

/// A shard of one life, with these events at sink `audit`.
fn shard(looker: &mut Looker, ordinal: u32, waiting: u64, change: impl FnOnce(&mut SinkReport, &mut Rates)) {
    let mut sink = SinkReport {
        name: SINK.to_owned(),
        backlog_events: waiting + 4,
        in_flight: 4,
        concurrency_limit: 64,
        window_events: waiting.min(8192),
        largest_lane_events: 1,
        ..SinkReport::default()
    };
    let at_sink = SinkRates { delivered: 100.0, attempt_time: Duration::from_millis(40), ..SinkRates::default() };
    let mut rates = Rates {
        over: Duration::from_secs(5),
        accepted: 100.0,
        settled: 100.0,
        cpu: Some(0.2),
        disk: 0.9,
        ..Rates::default()
    };
    rates.sinks.insert(SINK.to_owned(), at_sink);
    change(&mut sink, &mut rates);
    let report = ShardReport {
        incarnation: "one".to_owned(),
        uptime_ms: 600_000,
        backlog_events: sink.backlog_events,
        sinks: vec![sink],
        ..ShardReport::default()
    };
    looker.report(ordinal, &report);
    let shards = &mut looker.snapshot.regions.get_mut(REGION).unwrap().shards;
    let Observation::Reading { value, .. } = &mut shards.get_mut(&ordinal).unwrap().report else { panic!() };
    value.rates = Some(rates);
}

fn at_sink(rates: &mut Rates) -> &mut SinkRates {
    rates.sinks.get_mut(SINK).unwrap()
}

/// What is told when it stays like this for half a minute: the limit and its sentence.
fn told(looker: &mut Looker, mut reports: impl FnMut(&mut Looker)) -> (Known<Limit>, String) {
    let mut last = None;
    for _ in 0..10 {
        looker.now += Duration::from_secs(5);
        reports(looker);
        last = Some(looker.look().bottlenecks[0].clone());
    }
    let last = last.unwrap();
    (last.limit, last.message)
}

fn told_of_two(each: impl Fn(u32, &mut SinkReport, &mut Rates), waiting: [u64; 2]) -> (Known<Limit>, String) {
    let mut looker = Looker::new(intent(), 2);
    told(&mut looker, |looker| {
        for (ordinal, waiting) in (0..).zip(waiting) {
            shard(looker, ordinal, waiting, |sink, rates| each(ordinal, sink, rates));
        }
    })
}

fn audit(of: fn(String) -> Limit) -> Known<Limit> {
    Known::Is(of(SINK.to_owned()))
}

#[test]
fn a_sink_that_throttles_is_named_with_what_it_takes() {
    let (limit, message) = told_of_two(|_, _, rates| at_sink(rates).throttled = 1.0, [5_000, 5_000]);
    assert_eq!(limit, audit(Limit::Sink));
    let expected = "sink audit takes 200 events/s whatever the number of shards: it asks for less (429 or 503); raise what it takes";
    assert_eq!(message, expected);
}

#[test]
fn a_sink_that_fails_is_named_and_its_condition_too() {
    let (limit, message) = told_of_two(|_, sink, _| sink.phase = BreakerPhase::Tripped, [5_000, 5_000]);
    assert_eq!(limit, audit(Limit::Sink));
    assert_eq!(message, "sink audit fails, and more shards do not help; see the condition SinksHealthy");
}

#[test]
fn a_limit_of_attempts_that_binds_at_a_quick_sink_can_be_raised() {
    let (limit, message) = told_of_two(|_, _, rates| at_sink(rates).limited = 0.9, [5_000, 5_000]);
    assert_eq!(limit, audit(Limit::ConcurrencyLimit));
    let expected = "sink audit answers within 40ms and is sent 64 at once by each of 2 shards, which makes 200 events/s; \
                    raise maxConcurrency of sink audit";
    assert_eq!(message, expected);
}

#[test]
fn a_limit_of_attempts_that_was_cut_is_the_sinks() {
    let cut = |_, sink: &mut SinkReport, rates: &mut Rates| {
        sink.concurrency_limit = 20;
        at_sink(rates).limited = 0.9;
    };
    assert_eq!(told_of_two(cut, [5_000, 5_000]).0, audit(Limit::Sink));
}

#[test]
fn answers_that_take_far_longer_than_at_their_best_are_the_sinks() {
    let mut looker = Looker::new(intent(), 1);
    let calm = |looker: &mut Looker| {
        shard(looker, 0, 0, |_, rates| at_sink(rates).attempt_time = Duration::from_millis(5));
    };
    assert_eq!(told(&mut looker, calm).0, Known::Is(Limit::Nothing));
    let (limit, message) = told(&mut looker, |looker| shard(looker, 0, 5_000, |_, rates| at_sink(rates).limited = 1.0));
    assert_eq!(limit, audit(Limit::Sink));
    let expected = "sink audit takes 100 events/s whatever the number of shards: its answers take 40ms, and 5ms at its \
                    best; make it quicker";
    assert_eq!(message, expected);
}

#[test]
fn a_hot_key_is_told_where_it_is_and_not_as_skew() {
    let hot = |ordinal, sink: &mut SinkReport, _: &mut Rates| {
        if ordinal == 1 {
            (sink.blocked_events, sink.largest_lane_events) = (4_800, 4_700);
        }
    };
    let (limit, message) = told_of_two(hot, [0, 5_000]);
    assert_eq!(limit, audit(Limit::HotKey));
    assert!(message.starts_with("one key has 95 % of the events that wait for sink audit"), "{message}");
    assert!(message.ends_with("set ordering: None"), "{message}");
}

#[test]
fn skew_names_the_shard() {
    let (limit, message) = told_of_two(|_, _, rates| at_sink(rates).limited = 0.8, [0, 5_000]);
    assert_eq!(limit, Known::Is(Limit::Skew));
    let expected =
        "shard orders-eu-west-1 has 100 % of the events that wait, and the others keep up; more shards do not help";
    assert_eq!(message, expected);
}

#[test]
fn busy_processors_are_told_before_what_they_make_slow() {
    let busy = |_, _: &mut SinkReport, rates: &mut Rates| {
        rates.cpu = Some(0.97);
        at_sink(rates).limited = 1.0;
    };
    let (limit, message) = told_of_two(busy, [5_000, 5_000]);
    assert_eq!(limit, Known::Is(Limit::Cpu));
    assert!(message.starts_with("its shards use 95 % of the processors"), "{message}");
    assert_eq!(told_of_two(|_, _, rates| rates.cpu = Some(0.97), [0, 0]).0, Known::Is(Limit::Cpu));
}

#[test]
fn what_is_refused_as_it_comes_is_ingest_or_what_is_behind_it() {
    let refuses = |cpu, disk, wait| {
        move |_, _: &mut SinkReport, rates: &mut Rates| {
            (rates.receive_refused, rates.cpu, rates.disk) = (3.0, Some(cpu), disk);
            rates.disk_wait = Duration::from_millis(wait);
        }
    };
    assert_eq!(told_of_two(refuses(0.3, 0.3, 2), [0, 0]).0, Known::Is(Limit::Ingest));
    assert_eq!(told_of_two(refuses(0.3, 0.95, 2), [0, 0]).0, Known::Is(Limit::Ingest), "it writes in groups");
    assert_eq!(told_of_two(refuses(0.3, 0.95, 700), [0, 0]).0, Known::Is(Limit::Disk));
    assert_eq!(told_of_two(refuses(0.9, 0.95, 700), [0, 0]).0, Known::Is(Limit::Cpu));
}

#[test]
fn a_log_that_writes_all_the_time_limits_nothing_while_nothing_waits() {
    let (limit, message) = told_of_two(|_, _, rates| rates.disk = 1.0, [3, 3]);
    assert_eq!((limit, message), (Known::Is(Limit::Nothing), String::new()));
    assert_eq!(told_of_two(|_, _, rates| rates.disk = 1.0, [5_000, 5_000]).0, Known::Is(Limit::Disk));
}

#[test]
fn what_no_sign_explains_is_not_known() {
    assert_eq!(told_of_two(|_, _, rates| rates.disk = 0.1, [5_000, 5_000]).0, Known::NotYet);
}

#[test]
fn nothing_is_only_told_when_every_shard_is_known() {
    let mut looker = Looker::new(intent(), 2);
    let one = |looker: &mut Looker| shard(looker, 0, 0, |_, _| {});
    assert_eq!(told(&mut looker, one).0, Known::NotYet);
    let throttled = |looker: &mut Looker| shard(looker, 0, 5_000, |_, rates| at_sink(rates).throttled = 1.0);
    assert_eq!(told(&mut looker, throttled).0, audit(Limit::Sink), "what is seen of one is seen");
}

#[test]
fn absurd_rates_are_not_known() {
    for absurd in [f64::NAN, -1.0, f64::INFINITY] {
        let told = told_of_two(|_, _, rates| rates.receive_refused = absurd, [0, 0]).0;
        assert_eq!(told, Known::NotYet, "{absurd}");
    }
}

#[test]
fn one_odd_look_in_four_tells_nothing_else() {
    let mut looker = Looker::new(intent(), 1);
    let mut looks = 0;
    let (mut changes, mut before) = (0, Known::NotYet);
    for _ in 0..200 {
        looker.now += Duration::from_secs(5);
        looks += 1;
        shard(&mut looker, 0, if looks % 4 == 0 { 5_000 } else { 0 }, |_, rates| at_sink(rates).throttled = 1.0);
        let limit = looker.look().bottlenecks[0].limit.clone();
        changes += u32::from(limit != before);
        before = limit;
    }
    assert_eq!((changes, before), (1, Known::Is(Limit::Nothing)));
}

#[test]
fn numbers_that_move_do_not_move_the_sentence_at_every_look() {
    let mut looker = Looker::new(intent(), 1);
    let mut sentences = Vec::new();
    for second in (0..600).step_by(5) {
        looker.now += Duration::from_secs(5);
        shard(&mut looker, 0, 5_000, |_, rates| {
            at_sink(rates).throttled = 1.0;
            at_sink(rates).delivered = 100.0 + f64::from(second);
        });
        sentences.push(looker.look().bottlenecks[0].message.clone());
    }
    sentences.dedup();
    assert!((2..=4).contains(&sentences.len()), "{sentences:?}");
}

#[test]
fn a_fleet_that_is_idle_is_not_looked_at_again_soon() {
    let mut looker = Looker::new(intent(), 1);
    for look in 0..6 {
        looker.now += Duration::from_secs(5);
        shard(&mut looker, 0, 0, |sink, rates| {
            (sink.backlog_events, sink.in_flight) = (0, 0);
            rates.accepted = 0.0;
        });
        let recheck = looker.look().recheck_after;
        assert_eq!(recheck.is_none(), look >= 3, "look {look}: {recheck:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_begins_anew_and_nothing_grows_without_bound() {
    let mut looker = Looker::new(intent(), 1);
    for second in 0..5_000_u32 {
        looker.now += Duration::from_secs(1);
        if second == 2_500 {
            looker.now = fixtures::now() - jiff::SignedDuration::from_hours(1);
        }
        shard(&mut looker, 0, u64::from(second), |_, _| {});
        looker.look();
        let history = &looker.snapshot.history.regions[REGION];
        assert!(history.points.len() <= 30 && history.looks.len() <= 12 && history.quickest.len() <= 2, "{history:?}");
        assert!(history.points.iter().all(|point| point.at <= looker.now));
    }
    let gone = FleetIntent { regions: Vec::new(), ..intent() };
    assert!(monitor(&gone, &looker.snapshot, looker.now).history.regions.is_empty(), "a region that left is forgotten");
}
