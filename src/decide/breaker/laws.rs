//! The promises that hold for every fleet, whatever was seen of it and whatever a status says.

use proptest::prelude::*;
use signalbox_contract::{RegionSeen, SinkReport, TrafficReport};

use super::*;
use crate::fixtures::{self, now};
use crate::fleet::{
    BreakerIntent, DataPort, HeldPhase, HoldPurpose, ManualIntent, NotRead, Observation, Rates, RegionHold,
    RegionIntent, RegionSnapshot, Routing, ShardSnapshot, SinkRates,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A number as one that a shard could report, or one that cannot be.
fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..20_000u64, 1 => Just(u64::MAX), 1 => Just(0)]
}

fn any_phase() -> impl Strategy<Value = BreakerPhase> {
    proptest::sample::select(&[BreakerPhase::Serving, BreakerPhase::Tripped, BreakerPhase::Probing][..])
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (-1_000..1_000i64).prop_map(|seconds| now() + jiff::SignedDuration::from_secs(seconds)),
        1 => Just(Timestamp::MAX),
        1 => Just(Timestamp::MIN),
    ]
}

fn any_memory() -> impl Strategy<Value = BreakerMemory> {
    let cause = proptest::option::of(proptest::sample::select(
        &[
            TripCause::Unreachable,
            TripCause::NoShardReady,
            TripCause::SinkFailing,
            TripCause::Refusing,
            TripCause::Held,
            TripCause::Drill,
        ][..],
    ));
    let step = prop_oneof![9 => 0..6u32, 1 => Just(u32::MAX)];
    let trips = prop_oneof![9 => 0..20u32, 1 => Just(u32::MAX)];
    (any_phase(), any_time(), proptest::option::of(any_time()), step, trips, cause)
        .prop_map(|(phase, since, until, step, trips, cause)| BreakerMemory { phase, since, until, step, trips, cause })
}

fn any_hold() -> impl Strategy<Value = RegionHold> {
    let phase =
        prop_oneof![Just(HeldPhase::Serving), Just(HeldPhase::Tripped), (1..=100u32).prop_map(HeldPhase::Probing)];
    let purpose = proptest::sample::select(&[HoldPurpose::Hold, HoldPurpose::Drain, HoldPurpose::Drill][..]);
    (phase, any_time(), purpose).prop_map(|(phase, until, purpose)| RegionHold { phase, until, purpose })
}

fn any_sink(name: &'static str) -> impl Strategy<Value = (SinkReport, SinkRates)> {
    let rate = prop_oneof![3 => 0.0..500.0, 1 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(-1.0)];
    (any_count(), any_count(), any_count(), any_count(), any_count(), any_phase(), rate).prop_map(
        move |(backlog, delivered, failed, row, failing_ms, phase, rate)| {
            let report = SinkReport {
                name: name.to_owned(),
                backlog_events: backlog,
                delivered_total: delivered,
                failed_attempts_total: failed,
                consecutive_failures: row,
                failing_ms,
                phase,
                ..SinkReport::default()
            };
            (report, SinkRates { delivered: rate, ..SinkRates::default() })
        },
    )
}

fn any_report() -> impl Strategy<Value = Observation<crate::fleet::Report>> {
    let seen = (0..NAMES.len(), 0..3u32, 0..3u32, any_count()).prop_map(|(name, asked, answered, silent_ms)| {
        RegionSeen { name: NAMES[name].to_owned(), asked, answered, silent_ms }
    });
    let traffic = proptest::option::of(proptest::collection::vec(seen, 0..4));
    let said = (any_sink("fulfilment"), any_sink("audit"), any_count(), any_count(), traffic, 0..3u8, -20..20i64);
    let reading = said.prop_map(|(fulfilment, audit, accepted, refused, traffic, life, age)| {
        let Observation::Reading { mut value, .. } = fixtures::reading(0, Duration::ZERO) else { unreachable!() };
        value.shard.incarnation = life.to_string();
        (value.shard.accepted_total, value.shard.refused_total) = (accepted, refused);
        let mut rates = Rates::default();
        value.shard.sinks = Vec::new();
        for (report, of) in [fulfilment, audit] {
            rates.sinks.insert(report.name.clone(), of);
            value.shard.sinks.push(report);
        }
        value.rates = Some(rates);
        value.shard.traffic = traffic.map(|regions| TrafficReport { regions, ..TrafficReport::default() });
        if age > 15 {
            value.trouble = Some(NotRead { why: "no".to_owned(), since: now() });
        }
        Observation::Reading { value, taken_at: now() + jiff::SignedDuration::from_secs(age.min(2)) }
    });
    let unreachable = NotRead { why: "no".to_owned(), since: now() };
    prop_oneof![6 => reading, 2 => Just(Observation::Unreachable(unreachable)), 1 => Just(Observation::NotYet)]
}

fn any_shard() -> impl Strategy<Value = ShardSnapshot> {
    let port = prop_oneof![
        Just(DataPort::NotAsked),
        any_time().prop_map(DataPort::Silent),
        any_time().prop_map(DataPort::Answers)
    ];
    (any_report(), port, any::<bool>(), proptest::bool::weighted(0.9)).prop_map(|(report, data_port, ready, there)| {
        let mut shard = ShardSnapshot { report, data_port, ..fixtures::shard(1, 0) };
        if let Some(pod) = &mut shard.pod {
            pod.ready = ready;
        }
        shard.pod = shard.pod.filter(|_| there);
        shard
    })
}

/// A fleet, and a few looks at it.
#[derive(Clone, Debug)]
struct Life {
    intent: FleetIntent,
    memory: FleetMemory,
    looks: Vec<(u64, Vec<Vec<ShardSnapshot>>)>,
}

fn any_life() -> impl Strategy<Value = Life> {
    let regions = proptest::collection::vec(proptest::collection::vec(any_shard(), 0..3), NAMES.len());
    let looks = proptest::collection::vec((0..15_000u64, regions), 1..6);
    let weights = proptest::array::uniform4(prop_oneof![1 => Just(0u32), 4 => 1..100u32]);
    let memories = proptest::array::uniform4(proptest::option::of(any_memory()));
    let holds = proptest::array::uniform4(proptest::option::weighted(0.2, any_hold()));
    let spec = (1..=NAMES.len(), 1..20u64, 1..=100u32, 1..60u64);
    (looks, weights, memories, holds, spec).prop_map(|(looks, weights, memories, holds, spec)| {
        let (count, window, failure_ratio, minimum_attempts) = spec;
        let mut intent = fixtures::intent();
        let like = intent.regions[0].clone();
        let region = |at: usize| RegionIntent { name: NAMES[at].to_owned(), weight: weights[at], ..like.clone() };
        intent.regions = (0..count).map(region).collect();
        let window = Duration::from_secs(window);
        intent.breaker = BreakerIntent { failure_ratio, window, minimum_attempts, ..BreakerIntent::default() };
        let named = |at: usize| NAMES[at].to_owned();
        let holds = (0..4).filter_map(|at| Some((named(at), holds[at]?))).collect();
        intent.manual = ManualIntent { holds, ..ManualIntent::default() };
        let breakers = (0..4).filter_map(|at| Some((named(at), memories[at]?))).collect();
        let routing = [(named(0), Routing::default())].into();
        Life { intent, memory: FleetMemory { routing, breakers, ..FleetMemory::default() }, looks }
    })
}

fn snapshot(regions: &[Vec<ShardSnapshot>]) -> FleetSnapshot {
    let regions = NAMES.iter().zip(regions).map(|(name, shards)| {
        let shards = (0..).zip(shards.iter().cloned()).collect();
        ((*name).to_owned(), RegionSnapshot { shards, ..fixtures::region(1, 3) })
    });
    FleetSnapshot { regions: regions.collect(), ..FleetSnapshot::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_promised_holds_at_every_look(life in any_life()) {
        let Life { intent, mut memory, looks } = life;
        let (mut history, mut time) = (BTreeMap::new(), now());
        for (after, regions) in looks {
            time += Duration::from_millis(after);
            let mut seen = snapshot(&regions);
            seen.history.breakers = std::mem::take(&mut history);
            let decided = desired_phases(&intent, &seen, &memory, time);

            let weighted: Vec<_> = intent.regions.iter().filter(|region| region.weight > 0).collect();
            let phase = |name: &str| decided.plans[name].memory.phase;
            let left = weighted.iter().filter(|region| phase(&region.name) != BreakerPhase::Tripped).count();
            prop_assert!(weighted.is_empty() || left > 0, "all are Tripped: {:#?}", decided.plans);

            let before = |name: &str| remembered(&intent, name, &memory, time);
            let inferred = |memory: &BreakerMemory| {
                memory.phase == BreakerPhase::Tripped && memory.cause.is_some_and(TripCause::is_inferred)
            };
            let now_away = weighted.iter().filter(|region| inferred(&decided.plans[&region.name].memory)).count();
            let then_away = weighted.iter().filter(|region| inferred(&before(&region.name))).count();
            prop_assert!(now_away <= then_away.max(weighted.len() / 2), "{now_away}: {:#?}", decided.plans);

            for (name, plan) in &decided.plans {
                let (before, after) = (before(name), plan.memory);
                prop_assert!(!plan.message.is_empty());
                prop_assert_eq!(plan.from.is_some(), (before.phase, before.step) != (after.phase, after.step));
                prop_assert!(plan.from.is_some() || before.since == after.since, "{} has moved: {:?}", name, plan);
                prop_assert!(after.cause.is_some() == (after.phase != BreakerPhase::Serving));
                // A status that says less of it is taken for none, and the region for Serving.
                prop_assert!(after.phase != BreakerPhase::Tripped || after.until.is_some(), "{name}: {after:?}");
                let held = intent.manual.hold(name, time).is_some() || intent.region(name).unwrap().weight == 0;
                if before.phase == BreakerPhase::Tripped && after.phase != BreakerPhase::Tripped && !held && left > 1 {
                    // Before its time is over, nobody comes back by himself.
                    prop_assert!(before.until.is_none_or(|until| until <= time), "{name} flaps: {before:?} {plan:?}");
                    prop_assert!(plan.reachable);
                }
                if before.phase != BreakerPhase::Tripped && after.phase == BreakerPhase::Tripped && !held {
                    let lasts = since(time, after.until.unwrap());
                    prop_assert!(lasts >= intent.breaker.base_trip_time / 2, "{name}: {lasts:?}");
                }
            }

            let told: BTreeMap<_, _> = decided.plans.iter().map(|(name, plan)| (name.clone(), plan.memory)).collect();
            memory.breakers.extend(told.clone());
            seen.history.breakers = decided.history;
            let again = desired_phases(&intent, &seen, &memory, time);
            let then: BTreeMap<_, _> = again.plans.iter().map(|(name, plan)| (name.clone(), plan.memory)).collect();
            prop_assert_eq!(then, told, "it decides otherwise when it looks twice");
            let bounded = |history: &BreakerHistory| history.looks.len() <= 31 && history.since.len() <= 7;
            prop_assert!(again.history.values().all(bounded));
            history = again.history;
        }
    }
}
