//! How a drill goes: a region was taken out of service on purpose, and the others are watched until it is back. Pure.
//!
//! ```text
//! Tripped for a drill --> Running: what is refused elsewhere, how long events wait there, how busy they are
//!                            | the region is Serving again, or out for another reason, or gone
//!                            v
//!              Survived | Refused | Overloaded | Interrupted
//! ```
//!
//! May import `fleet`. The region's breaker does the taking out and the bringing back.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use signalbox_contract::BreakerPhase;

use crate::fleet::{
    BreakerPlan, DrillHistory, DrillMemory, DrillOutcome, FleetIntent, FleetSnapshot, Observation, RegionPlan,
    ShardRefusals, Standing, TrafficPlan, TripCause, approximate_count, round_to_two_digits,
};

/// For how long a region must be out for its traffic that was not taken over to say that there is no room for it.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a drill is judged by.
pub(super) struct Situation<'a> {
    pub(super) intent: &'a FleetIntent,
    pub(super) snapshot: &'a FleetSnapshot,
    /// The latest drill, as it stood.
    pub(super) remembered: Option<&'a DrillMemory>,
    pub(super) regions: &'a [RegionPlan],
    pub(super) traffic: &'a TrafficPlan,
    pub(super) now: Timestamp,
}

/// The latest drill as it stands now, and what to know of this look with the next one. Of several at once, one is watched.
pub(super) fn desired_drill(situation: &Situation<'_>) -> (Option<DrillMemory>, DrillHistory) {
    let running = situation.remembered.filter(|drill| drill.ended_at.is_none()).cloned();
    let Some(mut drill) = running.clone().or_else(|| begun(situation)) else {
        return (situation.remembered.cloned(), DrillHistory::default());
    };
    // What was refused before it began is not of it.
    let known = if running.is_some() { situation.snapshot.history.drill.clone() } else { DrillHistory::default() };
    let history = measure(&mut drill, &known, situation);
    let breaker = breaker(situation, &drill.region);
    let out = breaker.filter(|breaker| breaker.memory.phase != BreakerPhase::Serving);
    let elsewise = |breaker: &&BreakerPlan| breaker.memory.cause.filter(|cause| *cause != TripCause::Drill);
    match out {
        Some(breaker) if breaker.memory.phase == BreakerPhase::Tripped && elsewise(&breaker).is_some() => {
            let cause = elsewise(&breaker).map_or("", TripCause::as_str);
            finish(&mut drill, situation, &format!("; the region stays out of service: {cause}"));
        }
        Some(_) => drill.message = format!("region {} is out of service for a drill: {}", drill.region, told(&drill)),
        None => finish(&mut drill, situation, ""),
    }
    let over = drill.ended_at.is_some();
    (Some(drill), if over { DrillHistory::default() } else { history })
}

fn breaker<'a>(situation: &'a Situation<'_>, region: &str) -> Option<&'a BreakerPlan> {
    situation.regions.iter().find(|plan| plan.name == region)?.breaker.as_ref()
}

/// A drill that has begun with this look, or before anybody remembered it.
fn begun(situation: &Situation<'_>) -> Option<DrillMemory> {
    let (region, breaker) = situation.regions.iter().find_map(|region| {
        let breaker = region.breaker.as_ref()?;
        let drilled = breaker.memory.phase == BreakerPhase::Tripped && breaker.memory.cause == Some(TripCause::Drill);
        drilled.then_some((region, breaker))
    })?;
    Some(DrillMemory {
        region: region.name.clone(),
        started_at: breaker.memory.since,
        ended_at: None,
        refused: 0,
        worst_utilisation: None,
        longest_wait: 0,
        shifted: false,
        outcome: DrillOutcome::Running,
        message: String::new(),
    })
}

/// Takes this look into account.
fn measure(drill: &mut DrillMemory, known: &DrillHistory, situation: &Situation<'_>) -> DrillHistory {
    // Another process goes on from what is remembered, which is rounded.
    let refused = if known.shards.is_empty() { drill.refused } else { known.refused };
    let mut history = DrillHistory { refused, ..DrillHistory::default() };
    let others = situation.regions.iter().filter(|plan| plan.standing == Standing::Stays && plan.name != drill.region);
    for region in others {
        let Some(seen) = situation.snapshot.regions.get(&region.name) else { continue };
        let mut arrival = 0.0;
        for (ordinal, shard) in &seen.shards {
            let Observation::Reading { value: report, .. } = &shard.report else { continue };
            arrival += report.rates.as_ref().map_or(0.0, |rates| rates.accepted);
            let waited = report.shard.oldest_event_age_ms.unwrap_or(0).div_ceil(5_000) * 5;
            drill.longest_wait = drill.longest_wait.max(round_to_two_digits(waited));
            let key = (region.name.clone(), *ordinal);
            let (total, incarnation) = (report.shard.refused_total, report.shard.incarnation.clone());
            let before = match known.shards.get(&key) {
                Some(before) if before.incarnation == incarnation => before.total,
                // A new life began to count anew; of a shard that was not known, it cannot be told when it refused.
                Some(_) => 0,
                None => total,
            };
            history.refused = history.refused.saturating_add(total.saturating_sub(before));
            history.shards.insert(key, ShardRefusals { incarnation, total });
        }
        drill.worst_utilisation = drill.worst_utilisation.max(utilisation(region, arrival));
    }
    drill.refused = round_to_two_digits(history.refused);
    drill.shifted |= situation.traffic.regions.get(&drill.region).is_some_and(|traffic| traffic.share_permille == 0);
    history
}

/// What arrives as a part of what a region's shards can settle, in percent, to the next 5.
fn utilisation(region: &RegionPlan, arrival: f64) -> Option<u32> {
    let capacity = region.scaling.as_ref()?.memory.capacity?.per_second.checked_mul(region.ready.into())?;
    if capacity == 0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is bounded on both sides")]
    #[expect(clippy::cast_precision_loss, reason = "a capacity is far below 2^52")]
    let fives = (arrival.max(0.0) / capacity as f64 * 20.0).ceil().clamp(0.0, 200.0) as u32;
    Some(fives * 5)
}

/// The drill is over.
fn finish(drill: &mut DrillMemory, situation: &Situation<'_>, then: &str) {
    let now = crate::fleet::whole_second(situation.now);
    drill.ended_at = Some(now);
    let target = situation.intent.scaling.target_drain;
    let long = now.duration_since(drill.started_at).unsigned_abs() >= PATIENCE;
    let (outcome, why) = if drill.refused > 0 {
        (DrillOutcome::Refused, String::new())
    } else if drill.longest_wait > target.as_secs() {
        (DrillOutcome::Overloaded, format!("; autoscaling.targetDrainTime is {}s", target.as_secs()))
    } else if drill.shifted {
        (DrillOutcome::Survived, String::new())
    } else if long {
        (DrillOutcome::Overloaded, "; there was no room for all of its traffic: raise shards.max elsewhere".to_owned())
    } else {
        (DrillOutcome::Interrupted, "; it ended before all of its traffic was elsewhere: give it more time".to_owned())
    };
    drill.outcome = outcome;
    let at = |time: Timestamp| time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
    drill.message = format!(
        "region {} was out of service for a drill from {} to {} UTC: {}{why}{then}",
        drill.region,
        at(drill.started_at),
        at(now),
        told(drill)
    );
}

/// What was measured.
fn told(drill: &DrillMemory) -> String {
    let refused = match drill.refused {
        0 => "nothing was refused".to_owned(),
        refused => format!("{} requests were refused", approximate_count(refused)),
    };
    let busy = match drill.worst_utilisation {
        Some(percent) => format!("no other region got more than {percent} % of what it can settle"),
        None => "what the other regions can settle is not known yet".to_owned(),
    };
    format!("{refused}, no event waited longer than {}s elsewhere, {busy}", drill.longest_wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::fleet::{BreakerMemory, BreakerReason, FleetMemory, RegionTrafficPlan};

    /// A fleet of which eu-west is drilled, look by look.
    struct Drilled {
        intent: FleetIntent,
        snapshot: FleetSnapshot,
        remembered: Option<DrillMemory>,
        share: u32,
        now: Timestamp,
    }

    impl Drilled {
        fn new() -> Self {
            let (intent, snapshot) = (fixtures::intent(), fixtures::settled());
            Self { intent, snapshot, remembered: None, share: 0, now: fixtures::now() }
        }

        fn elsewhere(&mut self, change: impl Fn(&mut crate::fleet::Report)) {
            let shard = self.snapshot.regions.get_mut("us-east").unwrap().shards.get_mut(&0).unwrap();
            let Observation::Reading { value, .. } = &mut shard.report else { panic!("a reading") };
            change(value);
        }

        fn look(&mut self, seconds: u64, phase: BreakerPhase, cause: Option<TripCause>) -> DrillMemory {
            let at = fixtures::now() + Duration::from_secs(seconds);
            self.now = at;
            let mut plan = super::super::decide(&self.intent, &self.snapshot, &FleetMemory::default(), at);
            let memory = BreakerMemory { phase, cause, ..BreakerMemory::serving(fixtures::now()) };
            let breaker = BreakerPlan {
                memory,
                from: None,
                reachable: true,
                reason: cause.map_or(BreakerReason::Healthy, BreakerReason::Tripped),
                message: String::new(),
                recheck_after: None,
            };
            plan.regions[0].breaker = Some(breaker);
            let mut traffic = TrafficPlan::default();
            let share = RegionTrafficPlan { share_permille: self.share, ..RegionTrafficPlan::default() };
            traffic.regions.insert("eu-west".to_owned(), share);
            let (drill, history) = desired_drill(&Situation {
                intent: &self.intent,
                snapshot: &self.snapshot,
                remembered: self.remembered.as_ref(),
                regions: &plan.regions,
                traffic: &traffic,
                now: at,
            });
            self.snapshot.history.drill = history;
            self.remembered.clone_from(&drill);
            drill.unwrap()
        }

        fn out(&mut self, seconds: u64) -> DrillMemory {
            self.look(seconds, BreakerPhase::Tripped, Some(TripCause::Drill))
        }

        fn back(&mut self, seconds: u64) -> DrillMemory {
            self.look(seconds, BreakerPhase::Serving, None)
        }
    }

    #[test]
    fn a_drill_that_nobody_notices_is_survived() {
        let mut drilled = Drilled::new();
        assert_eq!(drilled.out(0).outcome, DrillOutcome::Running);
        drilled.elsewhere(|report| report.shard.oldest_event_age_ms = Some(3_200));
        assert_eq!(drilled.look(100, BreakerPhase::Probing, None).outcome, DrillOutcome::Running);
        let drill = drilled.back(600);
        assert_eq!((drill.outcome, drill.ended_at), (DrillOutcome::Survived, Some(drilled.now)));
        let message = "region eu-west was out of service for a drill from 2026-03-01 12:00:00 to 2026-03-01 12:10:00 UTC: \
                       nothing was refused, no event waited longer than 5s elsewhere, what the other regions can settle is \
                       not known yet";
        assert_eq!(drill.message, message);
        assert_eq!(drilled.back(700), drill, "what is over stays as it was");
    }

    #[test]
    fn what_was_refused_before_is_not_counted_and_what_is_refused_by_a_new_life_is() {
        let mut drilled = Drilled::new();
        drilled.elsewhere(|report| report.shard.refused_total = 1000);
        assert_eq!(drilled.out(0).refused, 0);
        drilled.elsewhere(|report| report.shard.refused_total = 1007);
        assert_eq!(drilled.out(1).refused, 7);
        drilled.elsewhere(|report| (report.shard.incarnation, report.shard.refused_total) = ("two".to_owned(), 4));
        assert_eq!(drilled.out(2).refused, 11);
        drilled.snapshot.history.drill = DrillHistory::default();
        drilled.elsewhere(|report| report.shard.refused_total = 6);
        assert_eq!(drilled.out(3).refused, 11, "another process goes on from what is remembered");
        drilled.elsewhere(|report| report.shard.refused_total = 7);
        let drill = drilled.back(600);
        assert_eq!((drill.outcome, drill.refused), (DrillOutcome::Refused, 12));
        assert!(drill.message.contains("12 requests were refused"), "{}", drill.message);
    }

    #[test]
    fn many_small_refusals_add_up_beyond_what_two_digits_show() {
        let mut drilled = Drilled::new();
        drilled.out(0);
        for look in 1..=300 {
            drilled.elsewhere(|report| report.shard.refused_total = look);
            drilled.out(look);
        }
        assert_eq!(drilled.remembered.unwrap().refused, 300);
    }

    #[test]
    fn events_that_wait_too_long_elsewhere_are_told() {
        let mut drilled = Drilled::new();
        drilled.out(0);
        drilled.elsewhere(|report| report.shard.oldest_event_age_ms = Some(61_000));
        drilled.out(60);
        drilled.elsewhere(|report| report.shard.oldest_event_age_ms = None);
        let drill = drilled.back(600);
        assert_eq!((drill.outcome, drill.longest_wait), (DrillOutcome::Overloaded, 65));
        assert!(drill.message.ends_with("; autoscaling.targetDrainTime is 60s"), "{}", drill.message);
    }

    #[test]
    fn traffic_that_found_no_room_is_told_unless_it_had_no_time() {
        for (seconds, outcome) in [(60, DrillOutcome::Interrupted), (600, DrillOutcome::Overloaded)] {
            let mut drilled = Drilled::new();
            drilled.share = 100;
            drilled.out(0);
            assert_eq!(drilled.back(seconds).outcome, outcome);
        }
    }

    #[test]
    fn a_region_that_stays_out_for_another_reason_ends_the_drill() {
        let mut drilled = Drilled::new();
        drilled.out(0);
        let drill = drilled.look(600, BreakerPhase::Tripped, Some(TripCause::SinkFailing));
        assert_eq!(drill.outcome, DrillOutcome::Survived);
        assert!(drill.message.ends_with("; the region stays out of service: SinkFailing"), "{}", drill.message);
    }

    #[test]
    fn a_further_drill_takes_the_place_of_the_one_before() {
        let mut drilled = Drilled::new();
        drilled.out(0);
        drilled.back(600);
        assert_eq!(drilled.out(700).outcome, DrillOutcome::Running);
    }

    #[test]
    fn how_busy_the_others_were_is_told_where_it_is_known() {
        let mut intent = fixtures::intent();
        intent.regions[1].shards = crate::fleet::ShardRange { min: 2, max: 3 };
        let mut plan = super::super::decide(&intent, &fixtures::settled(), &FleetMemory::default(), fixtures::now());
        let region = &mut plan.regions[1];
        let capacity = crate::fleet::Capacity { per_second: 100, samples: 8, seen_at: fixtures::now() };
        region.scaling.as_mut().unwrap().memory.capacity = Some(capacity);
        assert_eq!(utilisation(region, 121.0), Some(65));
        assert_eq!(utilisation(region, 0.0), Some(0));
        assert_eq!(utilisation(&plan.regions[0], 121.0), None);
    }
}
