//! What people are told of a region that goes and comes back: the lines that `kubectl get -w` shows,
//! conditions, events, decisions.

mod orders;

use kube::runtime::events::EventType;

use super::*;
use crate::fleet::{
    BreakerMemory, BreakerPlan, BreakerReason, DrillMemory, DrillOutcome, FleetPlan, HeldPhase, HoldPurpose,
    ManualIntent, RegionHold, RegionTrafficPlan, Shift, TripCause,
};

/// A fleet whose breakers and shares are as a test says.
struct Stage {
    situation: Situation,
    status: EventDispatcherStatus,
    phases: Vec<(&'static str, BreakerPlan)>,
    shares: Vec<(&'static str, u32)>,
    shift: Option<Shift>,
    drill: Option<DrillMemory>,
    now: Timestamp,
}

fn serving() -> BreakerPlan {
    BreakerPlan {
        memory: BreakerMemory::serving(fixtures::now()),
        from: None,
        reachable: true,
        reason: BreakerReason::Healthy,
        message: String::new(),
        recheck_after: None,
    }
}

fn tripped(cause: TripCause) -> BreakerPlan {
    let until = fixtures::now() + Duration::from_secs(30);
    let memory = BreakerMemory {
        phase: BreakerPhase::Tripped,
        until: Some(until),
        trips: 1,
        cause: Some(cause),
        ..serving().memory
    };
    let reason = BreakerReason::Tripped(cause);
    BreakerPlan {
        memory,
        from: Some(serving().memory),
        reason,
        message: "sink audit: 60 of 60 attempts failed".to_owned(),
        ..serving()
    }
}

fn probing(step: u32) -> BreakerPlan {
    let memory =
        BreakerMemory { phase: BreakerPhase::Probing, step, until: None, ..tripped(TripCause::SinkFailing).memory };
    BreakerPlan { memory, reason: BreakerReason::Ramping, message: "its deliveries are clean".to_owned(), ..serving() }
}

impl Stage {
    fn new() -> Self {
        Self {
            situation: settled(),
            status: EventDispatcherStatus::default(),
            phases: vec![("eu-west", serving()), ("us-east", serving())],
            shares: vec![("eu-west", 500), ("us-east", 500)],
            shift: None,
            drill: None,
            now: fixtures::now(),
        }
    }

    fn plan(&self) -> FleetPlan {
        let Situation { intent, snapshot, .. } = &self.situation;
        let mut plan = decide(intent, snapshot, &FleetMemory::of(Some(&self.status)), self.now);
        for region in &mut plan.regions {
            let told = self.phases.iter().find(|(name, _)| *name == region.name);
            let Some((_, breaker)) = told else { continue };
            region.reason = match breaker.memory.phase {
                BreakerPhase::Serving => RegionReason::Serving,
                BreakerPhase::Tripped => RegionReason::Tripped,
                BreakerPhase::Probing => RegionReason::Probing,
            };
            region.message.clone_from(&breaker.message);
            region.breaker = Some(breaker.clone());
        }
        let share = |share_permille| RegionTrafficPlan { share_permille, ..RegionTrafficPlan::default() };
        plan.traffic.regions =
            self.shares.iter().map(|(name, permille)| ((*name).to_owned(), share(*permille))).collect();
        plan.traffic.shift.clone_from(&self.shift);
        plan.drill.clone_from(&self.drill);
        plan
    }

    /// Tells, and gives back the events of it.
    fn told(&mut self) -> Vec<(EventType, String, String)> {
        let plan = self.plan();
        let Situation { intent, snapshot, failures, changed_sets } = &self.situation;
        let stage = Applied { failures: failures.clone(), changed_sets: changed_sets.clone(), route_left: false };
        let applied = render(intent, &plan, &fixtures::keyring()).applied(stage);
        let told = Told::Acted { intent, snapshot, plan: &plan, applied: &applied };
        let old = std::mem::take(&mut self.status);
        self.status = status::status(&told, &old, Some(3), self.now);
        let events = events::events(&fixtures::dispatcher(), &old, &self.status).into_iter();
        events.map(|event| (event.type_, event.reason, event.note.unwrap())).collect()
    }

    /// What `kubectl get` shows of it.
    fn line(&self) -> String {
        let summary = self.status.summary.clone().unwrap();
        let ready = condition(&self.status, "Ready");
        [
            &ready.status,
            &summary.regions,
            &summary.shards,
            &summary.backlog,
            &summary.breakers,
            &summary.traffic,
            &ready.reason,
        ]
        .map(String::as_str)
        .join(" | ")
    }
}

fn shift(done: bool, message: &str) -> Shift {
    Shift { done, message: message.to_owned() }
}

#[test]
fn the_lines_of_a_failover_tell_it_by_themselves() {
    let mut stage = Stage::new();
    stage.told();
    let mut lines = vec![stage.line()];
    let moments = [
        (
            tripped(TripCause::SinkFailing),
            300,
            Some(shift(false, "shifting 40 of 50 %, waiting for 1 shard in eu-west")),
        ),
        (tripped(TripCause::SinkFailing), 0, Some(shift(true, "us-east gets nothing"))),
        (probing(0), 25, Some(shift(true, "us-east gets 5 % of its weight"))),
        (serving(), 500, None),
    ];
    for (breaker, share, shift) in moments {
        stage.phases[1].1 = breaker;
        stage.shares = vec![("eu-west", 1000 - share), ("us-east", share)];
        stage.shift = shift;
        stage.told();
        lines.push(stage.line());
    }
    assert_eq!(
        lines,
        [
            "True | 2/2 | 4/4 | 0 | 0 tripped | eu-west 50%, us-east 50% | AllRegionsServing",
            "True | 2/2 | 4/4 | 0 | 1 tripped | eu-west 70%, us-east 30% | RegionTripped",
            "True | 2/2 | 4/4 | 0 | 1 tripped | eu-west 100%, us-east 0% | RegionTripped",
            "True | 2/2 | 4/4 | 0 | 1 probing | eu-west 97.5%, us-east 2.5% | RegionProbing",
            "True | 2/2 | 4/4 | 0 | 0 tripped | eu-west 50%, us-east 50% | AllRegionsServing",
        ]
    );
}

#[test]
fn each_step_of_a_region_is_announced_once_and_is_a_decision() {
    let mut stage = Stage::new();
    stage.told();
    let mut announced = Vec::new();
    for breaker in [tripped(TripCause::SinkFailing), probing(0), probing(1), serving()] {
        stage.phases[1].1 = breaker;
        announced.extend(stage.told());
        stage.phases[1].1.from = None;
        assert_eq!(stage.told(), []);
    }
    let told: Vec<_> = announced.iter().map(|(_, reason, note)| format!("{reason}: {note}")).collect();
    assert_eq!(
        told,
        [
            "RegionTripped: region us-east: SinkFailing: sink audit: 60 of 60 attempts failed",
            "RegionProbing: region us-east: its deliveries are clean",
            "RegionProbing: region us-east: its deliveries are clean",
            "RegionServing: region us-east: serves again",
        ]
    );
    assert_eq!((announced[0].0, announced[1].0), (EventType::Warning, EventType::Normal));
    let decision = &stage.status.decisions[0];
    assert_eq!((decision.what.as_str(), decision.from, decision.to), ("weightPercent", 100, 0));
    assert_eq!(
        (decision.reason.as_str(), decision.numbers.as_str()),
        ("SinkFailing", "sink audit: 60 of 60 attempts failed")
    );
}

#[test]
fn what_a_breaker_must_know_is_in_the_status_and_comes_back_from_it() {
    let mut stage = Stage::new();
    for breaker in [tripped(TripCause::Unreachable), probing(3), serving()] {
        stage.phases[1].1 = breaker;
        stage.shares = vec![("eu-west", 975), ("us-east", 25)];
        stage.told();
        let memory = FleetMemory::of(Some(&stage.status));
        assert_eq!(
            (&memory.breakers, &memory.traffic.shares),
            (&stage.plan().memory().breakers, &stage.plan().memory().traffic.shares)
        );
        let stored: EventDispatcherStatus =
            serde_json::from_value(serde_json::to_value(&stage.status).unwrap()).unwrap();
        assert_eq!(stored, stage.status);
    }
}

#[test]
fn a_traffic_table_is_remembered_and_its_version_never_falls() {
    let (mut stage, plan) = (Stage::new(), |version, digest| {
        let mut plan = Stage::new().plan();
        let table = signalbox_contract::TrafficTable { version, ..Default::default() };
        (plan.traffic.table, plan.traffic.digest) = (Some(table), digest);
        plan
    });
    let applied = Applied { failures: Vec::new(), changed_sets: BTreeSet::new(), route_left: false };
    let intent = fixtures::intent();
    stage.status.traffic = traffic::status(None, &intent, &plan(7, u64::MAX), &applied);
    let memory = FleetMemory::of(Some(&stage.status)).traffic;
    assert_eq!((memory.version, memory.digest), (7, u64::MAX));
    let without = FleetPlan { traffic: crate::fleet::TrafficPlan::default(), ..plan(0, 0) };
    let later = traffic::status(stage.status.traffic.as_ref(), &intent, &without, &applied).unwrap();
    assert_eq!((later.version, later.digest.as_str()), (7, ""));
}

#[test]
fn a_region_out_by_evidence_is_unhealthy_and_one_that_somebody_holds_is_not() {
    let mut stage = Stage::new();
    stage.told();
    assert_eq!(verdict(&stage.status, "RegionsHealthy"), ("True", "NoRegionFails"));
    assert_eq!(verdict(&stage.status, "TrafficShifted"), ("False", "ByWeight"));
    stage.phases[0].1 = probing(0);
    stage.phases[1].1 = tripped(TripCause::Unreachable);
    stage.shift = Some(shift(false, "shifting 40 of 60 %"));
    stage.told();
    assert_eq!(verdict(&stage.status, "RegionsHealthy"), ("False", "Unreachable"));
    assert!(condition(&stage.status, "RegionsHealthy").message.starts_with("region us-east: "));
    assert_eq!(verdict(&stage.status, "TrafficShifted"), ("True", "Shifting"));
    assert_eq!(stage.status.summary.clone().unwrap().breakers, "1 tripped, 1 probing");
    stage.phases[0].1 = serving();
    stage.phases[1].1 = tripped(TripCause::Drained);
    stage.shift = Some(shift(true, "us-east gets nothing"));
    let told = stage.told().into_iter().find(|(_, reason, _)| reason == "RegionTripped").unwrap();
    assert_eq!(told.0, EventType::Normal, "{told:?}");
    assert_eq!(verdict(&stage.status, "RegionsHealthy"), ("True", "NoRegionFails"));
    assert_eq!(verdict(&stage.status, "TrafficShifted"), ("True", "Shifted"));
}

#[test]
fn what_trips_nothing_is_named_all_the_same() {
    let of = |reason: BreakerReason| {
        let mut stage = Stage::new();
        stage.phases[0].1 = BreakerPlan { reason, message: "sink audit fails everywhere".to_owned(), ..serving() };
        stage.told();
        let condition = condition(&stage.status, "RegionsHealthy").clone();
        assert_eq!(condition.message, "region eu-west: sink audit fails everywhere");
        (condition.status, condition.reason)
    };
    let expected = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(of(BreakerReason::SinkFailsEverywhere), expected("True", "SinkFailsEverywhere"));
    assert_eq!(of(BreakerReason::TooFewLeft), expected("False", "TooFewLeft"));
    assert_eq!(of(BreakerReason::Unknown), expected("Unknown", "Unknown"));
}

#[test]
fn a_tripped_region_whose_shards_are_gone_is_told_with_what_to_look_at() {
    let mut stage = Stage::new();
    stage.situation.snapshot.regions.remove("us-east");
    stage.phases[1].1 = tripped(TripCause::NoShardReady);
    stage.told();
    assert_eq!(verdict(&stage.status, "Ready"), ("False", "RegionTripped"));
    let message = "region us-east: sink audit: 60 of 60 attempts failed";
    assert_eq!(condition(&stage.status, "Ready").message, message);
}

#[test]
fn a_fleet_of_one_region_says_nothing_of_what_it_does_not_have() {
    let mut stage = Stage::new();
    stage.situation.intent.regions.truncate(1);
    stage.situation.snapshot.regions.remove("us-east");
    stage.phases.truncate(1);
    stage.shares = vec![("eu-west", 1000)];
    stage.told();
    let status = &stage.status;
    assert_eq!(
        (&status.traffic, &status.manual, &status.drill, &status.regions[0].breaker),
        (&None, &None, &None, &None)
    );
    assert!(
        status
            .conditions
            .iter()
            .all(|condition| !["RegionsHealthy", "TrafficShifted"].contains(&condition.type_.as_str()))
    );
    assert_eq!(status.summary.as_ref().unwrap().traffic, "");
}

#[test]
fn of_many_regions_those_that_are_out_are_named_and_the_others_summed_up() {
    let mut stage = Stage::new();
    let (region, seen) =
        (stage.situation.intent.regions[0].clone(), stage.situation.snapshot.regions["eu-west"].clone());
    let names = ["a", "b", "c", "d", "e"];
    stage.situation.intent.regions =
        names.map(|name| crate::fleet::RegionIntent { name: name.to_owned(), ..region.clone() }).into();
    stage.situation.snapshot.regions = names.map(|name| (name.to_owned(), seen.clone())).into();
    stage.phases = names.map(|name| (name, serving())).into();
    stage.shares = names.map(|name| (name, 200)).into();
    stage.told();
    assert_eq!(stage.status.summary.as_ref().unwrap().traffic, "by weight");
    stage.phases[2].1 = tripped(TripCause::Refusing);
    stage.shares = vec![("a", 250), ("b", 250), ("c", 0), ("d", 250), ("e", 250)];
    stage.told();
    assert_eq!(stage.status.summary.as_ref().unwrap().traffic, "c 0%, 4 others 100%");
}

#[test]
fn a_shift_that_begins_is_done_and_is_over_is_announced() {
    let mut stage = Stage::new();
    stage.told();
    let mut announced = Vec::new();
    let moments = [
        Some(shift(false, "shifting 10 of 50 %")),
        Some(shift(false, "shifting 40 of 50 %")),
        Some(shift(true, "50 % shifted")),
        None,
    ];
    for shift in moments {
        stage.shift = shift;
        announced.extend(stage.told().into_iter().map(|(_, reason, note)| format!("{reason}: {note}")));
    }
    let expected = [
        "Shifting: shifting 10 of 50 %",
        "Shifted: 50 % shifted",
        "ByWeight: traffic is as the weights of the spec say again",
    ];
    assert_eq!(announced, expected);
}

#[test]
fn a_region_that_is_spared_because_too_few_are_left_is_warned_of_once() {
    let mut stage = Stage::new();
    stage.told();
    let spared = BreakerReason::TooFewLeft;
    stage.phases[1].1 = BreakerPlan { reason: spared, message: "it would be Tripped".to_owned(), ..serving() };
    let warned = (EventType::Warning, "TooFewLeft".to_owned(), "region us-east: it would be Tripped".to_owned());
    assert_eq!(stage.told(), [warned]);
    assert_eq!(stage.told(), []);
}

#[test]
fn a_status_with_half_of_32_regions_out_is_still_small() {
    let mut stage = Stage::new();
    let (region, seen) =
        (stage.situation.intent.regions[0].clone(), stage.situation.snapshot.regions["eu-west"].clone());
    let names: [&'static str; 32] = std::array::from_fn(|number| &*format!("region-{number:02}").leak());
    stage.situation.intent.regions =
        names.map(|name| crate::fleet::RegionIntent { name: name.to_owned(), ..region.clone() }).into();
    stage.situation.snapshot.regions = names.map(|name| (name.to_owned(), seen.clone())).into();
    let sentence = "x".repeat(200);
    stage.phases = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let out = BreakerPlan { message: sentence.clone(), ..tripped(TripCause::SinkFailing) };
            (*name, if number % 2 == 0 { out } else { serving() })
        })
        .collect();
    stage.told();
    let size = serde_json::to_string(&stage.status).unwrap().len();
    assert!(size <= 28 << 10, "{size} bytes");
}
