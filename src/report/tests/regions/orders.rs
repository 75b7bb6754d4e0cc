//! What people are told of orders, of drills, and of a route.

use super::*;

#[test]
fn an_order_is_shown_with_its_end_and_announced_when_it_begins_and_ends() {
    let mut stage = Stage::new();
    stage.told();
    let until = fixtures::now() + Duration::from_mins(10);
    let hold = RegionHold { phase: HeldPhase::Probing(25), until, purpose: HoldPurpose::Hold };
    let manual = &mut stage.situation.intent.manual;
    manual.holds.insert("us-east".to_owned(), hold);
    manual.scaling_paused_until = Some(until);
    let told = |stage: &mut Stage| {
        stage.told().into_iter().map(|(_, reason, note)| format!("{reason}: {note}")).collect::<Vec<_>>()
    };
    let begins = [
        "HoldBegins: region us-east: held Probing 25 until 2026-03-01T12:10:00Z (Hold)",
        "ScalingPaused: no region's size changes until 2026-03-01T12:10:00Z",
    ];
    assert_eq!(told(&mut stage), begins);
    let shown = serde_json::to_value(stage.status.manual.as_ref().unwrap()).unwrap();
    let expected = serde_json::json!({
        "holds": [{"region": "us-east", "purpose": "Hold", "phase": "Probing 25", "until": "2026-03-01T12:10:00Z"}],
        "scalingPausedUntil": "2026-03-01T12:10:00Z",
    });
    assert_eq!(shown, expected);
    assert_eq!(told(&mut stage), [""; 0]);
    stage.now = until;
    assert_eq!(
        told(&mut stage),
        ["HoldEnds: region us-east: held no longer (Hold)", "ScalingResumed: sizes follow their load again"]
    );
    let shown = serde_json::to_value(stage.status.manual.as_ref().unwrap()).unwrap();
    let over = serde_json::json!({"over": [
        {"annotation": "signalbox.dev/hold-us-east", "until": "2026-03-01T12:10:00Z"},
        {"annotation": "signalbox.dev/pause-scaling", "until": "2026-03-01T12:10:00Z"},
    ]});
    assert_eq!(shown, over, "the annotations are still there");
    assert_eq!(told(&mut stage), [""; 0]);
    stage.situation.intent.manual = ManualIntent::default();
    assert_eq!(told(&mut stage), [""; 0]);
    assert_eq!(stage.status.manual, None);
}

#[test]
fn an_order_that_is_over_when_it_is_written_is_told_once() {
    let mut stage = Stage::new();
    stage.told();
    let manual = &mut stage.situation.intent.manual;
    let hold = |until| RegionHold { phase: HeldPhase::Tripped, until, purpose: HoldPurpose::Drill };
    manual.holds.insert("us-east".to_owned(), hold(fixtures::now()));
    manual.scaling_paused_until = Some(fixtures::now());
    let late = |order: &str| {
        let why = "is not followed, because 2026-03-01T12:00:00Z is over; write a later time";
        (EventType::Warning, "OrderNotFollowed".to_owned(), format!("annotation signalbox.dev/{order} {why}"))
    };
    assert_eq!(stage.told(), [late("drill-us-east"), late("pause-scaling")]);
    assert_eq!(stage.told(), []);

    // Beside one that is followed, it may have been followed before.
    let manual = &mut stage.situation.intent.manual;
    *manual = ManualIntent::default();
    manual.holds.insert("us-east".to_owned(), hold(fixtures::now() + Duration::from_mins(2)));
    manual.further_holds.push(("us-east".to_owned(), hold(fixtures::now() + Duration::from_mins(1))));
    stage.told();
    stage.now = fixtures::now() + Duration::from_mins(1);
    assert_eq!(stage.told(), []);
    assert_eq!(stage.status.manual.as_ref().unwrap().over.len(), 1);
}

#[test]
fn an_order_that_cannot_be_followed_is_in_ready_and_in_an_event_and_stops_nothing() {
    let mut stage = Stage::new();
    stage.told();
    stage.situation.intent.manual.problems = vec!["annotation x: no".to_owned(), "annotation y: no".to_owned()];
    let told = stage.told();
    let warned = |problem: &str| (EventType::Warning, "OrderNotFollowed".to_owned(), problem.to_owned());
    assert_eq!(told, [warned("annotation x: no"), warned("annotation y: no")]);
    assert_eq!(verdict(&stage.status, "Ready"), ("True", "AllRegionsServing"));
    let message = &condition(&stage.status, "Ready").message;
    assert!(message.ends_with("; annotation x: no (1 more)"), "{message}");
    assert_eq!(stage.told(), []);
}

#[test]
fn a_drill_is_remembered_and_its_outcome_is_a_condition_and_an_event() {
    let mut stage = Stage::new();
    stage.told();
    assert!(stage.status.conditions.iter().all(|condition| condition.type_ != "SurvivesRegionLoss"));
    let running = DrillMemory {
        region: "us-east".to_owned(),
        started_at: fixtures::now(),
        ended_at: None,
        refused: 0,
        worst_utilisation: Some(65),
        longest_wait: 5,
        shifted: true,
        outcome: DrillOutcome::Running,
        message: "region us-east is out".to_owned(),
    };
    let ended = |outcome| DrillMemory {
        ended_at: Some(fixtures::now()),
        outcome,
        message: "it was out".to_owned(),
        ..running.clone()
    };
    let cases = [
        (running.clone(), "Unknown", EventType::Normal, "DrillRunning"),
        (ended(DrillOutcome::Survived), "True", EventType::Normal, "DrillSurvived"),
        (ended(DrillOutcome::Refused), "False", EventType::Warning, "DrillRefused"),
    ];
    for (drill, verdict_, type_, reason) in cases {
        stage.drill = Some(drill.clone());
        assert_eq!(stage.told(), [(type_, reason.to_owned(), drill.message.clone())]);
        assert_eq!(verdict(&stage.status, "SurvivesRegionLoss"), (verdict_, drill.outcome.as_str()));
        assert_eq!(FleetMemory::of(Some(&stage.status)).drill, Some(drill));
        assert_eq!(stage.told(), []);
    }
}

#[test]
fn a_route_is_remembered_until_it_is_deleted() {
    let intent = FleetIntent::parse(&fixtures::behind_a_gateway(), &fixtures::shard_defaults()).unwrap();
    let of = |intent: &FleetIntent, route_left| {
        let applied = Applied { failures: Vec::new(), changed_sets: BTreeSet::new(), route_left };
        let mut status = EventDispatcherStatus::default();
        status.traffic = traffic::status(None, intent, &Stage::new().plan(), &applied);
        (status.traffic.clone().unwrap().http_route, FleetMemory::of(Some(&status)).route)
    };
    assert_eq!(of(&intent, false), (Some("orders".to_owned()), true));
    assert_eq!(of(&fixtures::intent(), true), (Some("orders".to_owned()), true));
    assert_eq!(of(&fixtures::intent(), false), (None, false));
}

#[test]
fn a_region_that_nobody_reaches_when_its_drain_ends_stays_tripped_whoever_reads_the_status() {
    let mut situation = settled();
    let until = fixtures::now() + Duration::from_mins(10);
    let hold = RegionHold { phase: HeldPhase::Tripped, until, purpose: HoldPurpose::Drain };
    situation.intent.manual.holds.insert("us-east".to_owned(), hold);
    let mut status = status_of(&situation);
    for shard in situation.snapshot.regions.get_mut("us-east").unwrap().shards.values_mut() {
        shard.pod.as_mut().unwrap().ready = false;
    }
    for minutes in [11, 12, 13] {
        status = told(&situation, &status, fixtures::now() + Duration::from_mins(minutes));
        let breaker = status.regions[1].breaker.as_ref().unwrap();
        assert_eq!((breaker.phase.as_str(), breaker.cause.as_deref()), ("Tripped", Some("Drained")), "{minutes} min");
        assert_eq!(breaker.until.as_ref().unwrap().0, until);
    }
}
