//! Tables: one load, one size.

use super::*;
use crate::fixtures;
use crate::fleet::{Called, Hold, NotRead, Observation, Rates, ShardRange, SinkRates};

struct Situation {
    intent: FleetIntent,
    seen: RegionSnapshot,
    memory: RegionMemory,
    limit: Option<Limit>,
    outlook: Outlook<'static>,
    now: Timestamp,
}

/// `shards` shards that each are given and settle so much, of a region that may have 1 to 16 and knows that a shard can
/// settle 100 events a second.
fn steady(shards: u32, each: f64) -> Situation {
    let mut intent = fixtures::intent();
    intent.regions[0].shards = ShardRange { min: 1, max: 16 };
    let capacity = Some(Capacity { per_second: 100, samples: 8, seen_at: fixtures::now() });
    let memory = RegionMemory { wanted: Some(shards), capacity, ..RegionMemory::default() };
    let (seen, outlook, now) = (fixtures::region(1, shards), Outlook::default(), fixtures::now());
    let mut situation = Situation { intent, seen, memory, limit: None, outlook, now };
    situation.report(0, &rates(each));
    situation
}

fn rates(each: f64) -> Rates {
    Rates { over: Duration::from_secs(5), accepted: each, settled: each, ..Rates::default() }
}

impl Situation {
    fn report(&mut self, backlog: u64, rates: &Rates) {
        for shard in self.seen.shards.values_mut() {
            shard.report = fixtures::reading_with(backlog, rates.clone());
        }
    }

    fn decide(&self) -> ScalingDecision {
        let region = &self.intent.regions[0];
        desired_size(&self.intent, region, &self.seen, &self.memory, &self.outlook(), self.now)
    }

    fn outlook(&self) -> Outlook<'_> {
        Outlook { limit: self.limit.as_ref(), ..self.outlook }
    }

    fn size(&self) -> (u32, ScalingReason) {
        let decision = self.decide();
        (decision.to, decision.reason)
    }

    /// Takes over what was remembered, and lets time pass with fresh reports.
    fn after(&mut self, seconds: u64) {
        self.memory = self.decide().memory;
        self.now += Duration::from_secs(seconds);
        for shard in self.seen.shards.values_mut() {
            if let Observation::Reading { taken_at, .. } = &mut shard.report {
                *taken_at = self.now;
            }
        }
    }
}

#[test]
fn a_size_that_suits_stays_and_is_forgotten_nothing_of() {
    let situation = steady(2, 65.0);
    let decision = situation.decide();
    assert_eq!((decision.to, decision.reason, decision.bound), (2, ScalingReason::Suits, None));
    assert_eq!(decision.memory, situation.memory);
    assert_eq!(decision.message, "2 shards suit the load");
}

#[test]
fn more_that_arrives_asks_for_shards_by_utilization() {
    assert_eq!(steady(2, 90.0).size(), (3, ScalingReason::LoadHigher));
    let mut half = steady(2, 90.0);
    half.intent.scaling.target_utilization = 50;
    assert_eq!(half.size(), (4, ScalingReason::LoadHigher));
}

#[test]
fn a_backlog_asks_for_shards_by_the_time_that_it_may_take() {
    let mut situation = steady(2, 60.0);
    situation.report(6_000, &rates(60.0));
    // (120 + 12000 / 60) / 70
    assert_eq!(situation.size(), (5, ScalingReason::LoadHigher));
    situation.intent.scaling.target_drain = Duration::from_mins(10);
    assert_eq!(situation.size(), (2, ScalingReason::Suits));
}

#[test]
fn more_than_the_maximum_is_not_had_and_said() {
    let situation = steady(16, 95.0);
    let decision = situation.decide();
    assert_eq!((decision.to, decision.bound), (16, Some(Bound::Maximum)));
    assert_eq!(
        decision.message,
        "the load asks for more than 16 shards, which is shards.max; raise it, or take load away"
    );
    assert!(decision.numbers.needed > Some(16));
}

#[test]
fn a_capacity_that_is_hardly_known_at_most_doubles_the_size() {
    let mut situation = steady(2, 90.0);
    situation.report(60_000, &rates(90.0));
    situation.memory.capacity = None;
    let decision = situation.decide();
    assert_eq!((decision.to, decision.bound), (4, Some(Bound::Doubling)));
}

#[test]
fn a_backlog_of_which_nothing_is_settled_asks_for_nothing() {
    let mut situation = steady(2, 0.0);
    situation.report(60_000, &rates(0.0));
    situation.memory.capacity = None;
    assert_eq!(situation.size(), (2, ScalingReason::CapacityUnknown));
}

#[test]
fn a_spike_does_not_wait_for_its_first_deliveries() {
    let mut situation = steady(2, 0.0);
    let arriving = Rates { accepted: 500.0, ..rates(0.0) };
    situation.memory.capacity = None;
    situation.report(60_000, &arriving);
    assert_eq!(situation.size(), (4, ScalingReason::LoadHigher));
    situation.report(5_000, &arriving);
    assert_eq!(situation.size(), (2, ScalingReason::Suits), "100 a second would settle that in time");
}

#[test]
fn the_backlog_of_a_sink_that_is_sent_nothing_asks_for_nothing() {
    let mut situation = steady(2, 60.0);
    situation.report(60_000, &rates(60.0));
    for shard in situation.seen.shards.values_mut() {
        let Observation::Reading { value, .. } = &mut shard.report else { panic!() };
        value.shard.sinks[0].phase = signalbox_contract::BreakerPhase::Tripped;
        value.shard.sinks[1].backlog_events = 0;
    }
    assert_eq!(situation.size(), (2, ScalingReason::Suits));
}

#[test]
fn fewer_shards_are_wanted_only_when_they_have_been_enough_for_the_window() {
    let mut situation = steady(6, 10.0);
    assert_eq!(situation.size(), (6, ScalingReason::Stabilizing));
    for _ in 0..29 {
        situation.after(10);
        assert_eq!(situation.size(), (6, ScalingReason::Stabilizing), "{}", situation.now);
    }
    // A tenth of the window is what times are rounded to.
    (0..5).for_each(|_| situation.after(10));
    assert_eq!(situation.memory.wanted, Some(2), "{:?}", situation.memory);
}

#[test]
fn the_largest_size_of_the_window_is_kept() {
    let mut situation = steady(6, 10.0);
    situation.after(100);
    situation.report(0, &rates(40.0));
    situation.after(1);
    situation.after(60);
    situation.report(0, &rates(10.0));
    situation.after(1);
    (0..40).for_each(|_| situation.after(5));
    // 240 a second with a margin asked for 5, less than the window ago.
    assert!(situation.size().0 >= 5, "{:?}", situation.memory);
    (0..60).for_each(|_| situation.after(5));
    assert_eq!(situation.size().0, 2, "{:?}", situation.memory);
}

#[test]
fn a_window_survives_a_restart_and_begins_anew_when_it_is_forgotten() {
    let mut situation = steady(6, 10.0);
    (0..31).for_each(|_| situation.after(10));
    situation.memory.window = Vec::new();
    assert_eq!(situation.size(), (6, ScalingReason::Stabilizing));
}

#[test]
fn what_a_restarted_operator_finds_is_kept_until_it_knows_better() {
    let mut situation = steady(6, 10.0);
    situation.memory = RegionMemory::default();
    let silent = NotRead { why: "no".to_owned(), since: fixtures::now() };
    for shard in situation.seen.shards.values_mut() {
        shard.report = Observation::Unreachable(silent.clone());
    }
    assert_eq!(situation.size(), (6, ScalingReason::ReportsMissing));
    situation.now += Duration::from_mins(30);
    assert_eq!(situation.size(), (6, ScalingReason::ReportsMissing));
    assert!(situation.decide().message.ends_with("; Pod orders-eu-west-0 does not report"));
}

#[test]
fn capacity_is_learned_from_shards_that_are_at_their_limit_only() {
    let busy = Rates { cpu: Some(0.95), ..rates(80.0) };
    let mut situation = steady(2, 80.0);
    situation.memory.capacity = None;
    situation.report(10_000, &busy);
    assert_eq!(situation.decide().numbers.capacity, Some(80));
    // Half a second of work is no backlog, and a sink that is slow is no limit of the shard.
    situation.report(40, &Rates { cpu: Some(0.1), ..rates(80.0) });
    assert_eq!(situation.decide().numbers.capacity, None);
    situation.report(10_000, &busy);
    situation.limit = Some(Limit::Sink("audit".to_owned()));
    assert_eq!(situation.decide().numbers.capacity, None);
}

#[test]
fn noise_moves_no_capacity_and_a_change_does() {
    let of = |each: f64| {
        let mut situation = steady(2, each);
        situation.memory.capacity =
            Some(Capacity { per_second: 100, samples: 8, seen_at: fixtures::now() - Duration::from_mins(1) });
        situation.report(10_000, &Rates { cpu: Some(0.95), ..rates(each) });
        situation.decide().numbers.capacity.unwrap()
    };
    assert_eq!((of(92.0), of(109.0)), (100, 100));
    assert_eq!((of(50.0), of(200.0)), (75, 150));
}

#[test]
fn growth_that_brought_nothing_is_not_repeated_until_its_time_is_over() {
    let mut situation = steady(2, 50.0);
    situation.intent.regions[0].shards.max = 64;
    situation.report(60_000, &rates(50.0));
    let first = situation.decide();
    assert!(first.to > 2 && first.memory.trial.is_some());
    situation.after(0);
    // The shards that were added share what the sink takes.
    situation.seen = fixtures::region(1, first.to);
    situation.report(60_000, &rates(100.0 / f64::from(first.to)));
    situation.after(60);
    let judged = situation.decide();
    assert_eq!((judged.to, judged.reason), (first.to, ScalingReason::Ineffective));
    let until = judged.memory.hold.unwrap().until;
    assert_eq!(until, situation.now + Duration::from_mins(15));
    situation.after(15 * 60);
    assert_eq!(situation.size(), (first.to + 1, ScalingReason::LoadHigher));
    situation.memory.hold = Some(Hold { until: situation.now, times: 3 });
    assert_eq!(trial::held(situation.memory.hold, situation.now).until, situation.now + Duration::from_hours(2));
}

#[test]
fn what_shards_cannot_help_is_named_and_adds_none() {
    let mut situation = steady(2, 60.0);
    situation.report(60_000, &rates(60.0));
    situation.limit = Some(Limit::Sink("audit".to_owned()));
    let decision = situation.decide();
    assert_eq!((decision.to, decision.reason), (2, ScalingReason::LimitedElsewhere));
    assert_eq!(decision.message, "2 shards; more would not help: what limits the region is the rate of sink audit");
}

#[test]
fn attempts_that_are_limited_do_not_lower_what_is_known_well() {
    let mut situation = steady(2, 40.0);
    let sinks = [("audit".to_owned(), SinkRates { delivered: 40.0, limited: 0.9, ..SinkRates::default() })].into();
    situation.report(10_000, &Rates { sinks, ..rates(40.0) });
    situation.now += Duration::from_secs(10);
    assert_eq!(situation.decide().numbers.capacity, Some(100));
}

#[test]
fn a_range_that_was_changed_is_kept_to_at_once() {
    let mut situation = steady(6, 65.0);
    situation.intent.regions[0].shards = ShardRange { min: 1, max: 4 };
    assert_eq!(situation.decide().to, 4);
    situation.intent.regions[0].shards = ShardRange { min: 8, max: 16 };
    assert_eq!(situation.size(), (8, ScalingReason::SpecRange));
}

#[test]
fn somebody_elses_size_is_taken_as_it_is() {
    let mut situation = steady(5, 65.0);
    situation.intent.scaling.mode = ScalingMode::External;
    assert_eq!(situation.size(), (5, ScalingReason::External));
    situation.seen.rollout = None;
    assert_eq!(situation.size(), (1, ScalingReason::External));
    situation.intent.scaling.mode = ScalingMode::Fixed;
    assert_eq!(situation.size(), (1, ScalingReason::Fixed));
}

#[test]
fn a_window_without_length_lets_go_at_once() {
    let mut situation = steady(6, 10.0);
    situation.intent.scaling.stabilization = Duration::ZERO;
    assert_eq!(situation.size(), (2, ScalingReason::LoadLower));
}

#[test]
fn a_window_never_remembers_more_than_it_may() {
    let mut window: Vec<Called> = Vec::new();
    let span = Duration::from_hours(1);
    for (minute, shards) in (0..40_u32).rev().enumerate() {
        let now = fixtures::now() + Duration::from_secs(60 * minute as u64);
        let (size, next) = window::stabilized(&window, 40, shards.max(1), span, now);
        assert_eq!(size, 40);
        window = next;
        assert!(window.len() <= crate::fleet::WINDOW_ENTRIES && window.is_sorted_by(|a, b| a.shards > b.shards));
    }
}

/// A region that is about to get so much, while another one is not Serving.
fn ahead(shards: u32, each: f64, expected: u64) -> Situation {
    let mut situation = steady(shards, each);
    situation.outlook = Outlook { episode: true, expected: Some(expected), ..Outlook::default() };
    situation
}

#[test]
fn what_is_about_to_come_asks_for_shards_before_it_is_there() {
    // 300 at 70 of 100.
    assert_eq!(ahead(2, 65.0, 300).size(), (5, ScalingReason::ShiftAhead));
    // What is there already is the load.
    assert_eq!(ahead(5, 60.0, 299).size(), (5, ScalingReason::Suits));
    assert_eq!(ahead(2, 90.0, 150).size(), (3, ScalingReason::LoadHigher));
    // Traffic waits for room within 85 %: a utilisation beyond that would let both wait for each other.
    let mut busy = ahead(2, 65.0, 300);
    busy.intent.scaling.target_utilization = 100;
    assert_eq!(busy.size(), (4, ScalingReason::ShiftAhead));
}

#[test]
fn what_is_about_to_come_is_bound_by_the_range_and_by_what_is_known() {
    let most = ahead(2, 65.0, 3_000).decide();
    assert_eq!((most.to, most.bound), (16, Some(Bound::Maximum)));
    assert_eq!(most.message, "16 shards, for traffic that is shifted here from other regions, which is shards.max");
    let mut hardly_known = ahead(2, 65.0, 3_000);
    hardly_known.memory.capacity.as_mut().unwrap().samples = 1;
    let doubled = hardly_known.decide();
    assert_eq!((doubled.to, doubled.bound), (4, Some(Bound::Doubling)));
    // Those that were added must be there first.
    hardly_known.memory = doubled.memory;
    assert_eq!(hardly_known.decide().to, 4);
    let mut unknown = ahead(2, 65.0, 3_000);
    unknown.memory.capacity = None;
    assert_eq!(unknown.size(), (2, ScalingReason::Suits));
    let mut elsewhere = ahead(2, 65.0, 3_000);
    elsewhere.limit = Some(Limit::Sink("audit".to_owned()));
    assert_eq!(elsewhere.size().0, 2);
}

#[test]
fn a_growth_in_an_episode_is_not_judged_and_an_earlier_one_no_more() {
    let mut situation = steady(2, 90.0);
    situation.after(1);
    assert!(situation.memory.trial.is_some());
    situation.outlook = Outlook { episode: true, expected: Some(600), ..Outlook::default() };
    let decision = situation.decide();
    assert_eq!((decision.to, decision.memory.trial), (9, None));
    // What was of no use under another load may be of use now.
    situation.memory.hold = Some(Hold { until: situation.now + Duration::from_mins(15), times: 1 });
    assert_eq!(situation.size(), (9, ScalingReason::ShiftAhead));
}

#[test]
fn a_region_that_is_tripped_neither_grows_nor_shrinks_and_one_that_comes_back_may_grow() {
    for (each, shards) in [(0.0, 4), (95.0, 4)] {
        let mut situation = steady(shards, each);
        situation.outlook = Outlook { episode: true, phase: BreakerPhase::Tripped, ..Outlook::default() };
        situation.intent.scaling.stabilization = Duration::ZERO;
        assert_eq!(situation.size(), (shards, ScalingReason::Standby));
    }
    let mut back = steady(4, 95.0);
    back.outlook = Outlook { episode: true, phase: BreakerPhase::Probing, ..Outlook::default() };
    assert_eq!(back.size(), (6, ScalingReason::LoadHigher));
}
