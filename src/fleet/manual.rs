//! What people ask for by annotation: each an order with an expiry, which ends by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::BreakerPhase;

use super::breaker::BreakerMemory;
use super::intent::FleetIntent;

/// The longest that an order may still last. One that ends later is not followed: an order has an end.
pub const LONGEST_ORDER: Duration = Duration::from_hours(30 * 24);

/// What stands behind `signalbox.dev/` in the annotation that keeps sizes as they are.
pub const PAUSE_SCALING: &str = "pause-scaling";

/// What people ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManualIntent {
    /// Regions that are held in a phase, by name. Of several orders for one region, the one that ends last.
    pub holds: BTreeMap<String, RegionHold>,
    /// The others, each with its region: followed while that one is not, because it ends too late.
    pub further_holds: Vec<(String, RegionHold)>,
    /// Until when no region's size changes.
    pub scaling_paused_until: Option<Timestamp>,
    /// Annotations that cannot be followed, each in a sentence that says what to write instead.
    pub problems: Vec<String>,
}

/// A region that is held in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionHold {
    /// Where.
    pub phase: HeldPhase,
    /// Until when. After that the breaker goes on by itself: a region that was Tripped comes back by the ramp.
    pub until: Timestamp,
    /// What for.
    pub purpose: HoldPurpose,
}

/// The phase that a region is held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldPhase {
    /// Whatever speaks against it.
    Serving,
    /// It gets nothing.
    Tripped,
    /// It gets this percentage of its weight: 1 to 100.
    Probing(u32),
}

/// Why a region is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldPurpose {
    /// `signalbox.dev/hold-<region>`.
    Hold,
    /// `signalbox.dev/drain-<region>`: for maintenance.
    Drain,
    /// `signalbox.dev/drill-<region>`: to see how the fleet does without it.
    Drill,
}

impl HoldPurpose {
    /// What is meant by what stands behind `signalbox.dev/` in an annotation, and the region: `drain-eu-west` is a drain of
    /// `eu-west`. None: it is about no region.
    pub fn of_order(order: &str) -> Option<(Self, &str)> {
        [Self::Hold, Self::Drain, Self::Drill]
            .into_iter()
            .find_map(|purpose| Some((purpose, order.strip_prefix(purpose.verb())?.strip_prefix('-')?)))
    }

    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "Hold",
            Self::Drain => "Drain",
            Self::Drill => "Drill",
        }
    }

    /// What stands before the region in the annotation.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Drain => "drain",
            Self::Drill => "drill",
        }
    }
}

/// Whether an order that ends then is to be followed now.
fn is_in_force(until: Timestamp, now: Timestamp) -> bool {
    now < until && !is_too_long(until, now)
}

fn is_too_long(until: Timestamp, now: Timestamp) -> bool {
    until.duration_since(now) > jiff::SignedDuration::try_from(LONGEST_ORDER).unwrap_or(jiff::SignedDuration::MAX)
}

impl FleetIntent {
    /// The part of its weight that a region has where its breaker is, in percent.
    pub fn percent(&self, region: &str, breaker: &BreakerMemory, now: Timestamp) -> u32 {
        let held = self.manual.hold(region, now).map(|hold| hold.phase);
        let step = usize::try_from(breaker.step).unwrap_or(usize::MAX);
        match (breaker.phase, held) {
            (BreakerPhase::Serving, _) => 100,
            (BreakerPhase::Tripped, _) => 0,
            (BreakerPhase::Probing, Some(HeldPhase::Probing(percent))) => percent,
            (BreakerPhase::Probing, _) => self.breaker.ramp.get(step).copied().unwrap_or(100),
        }
    }
}

impl ManualIntent {
    /// How this region is held at this moment, if it is.
    pub fn hold(&self, region: &str, now: Timestamp) -> Option<&RegionHold> {
        let in_force = |hold: &&RegionHold| is_in_force(hold.until, now);
        let further = self.further_holds.iter().filter(|(name, _)| name == region).map(|(_, hold)| hold);
        self.holds.get(region).filter(in_force).or_else(|| further.filter(in_force).max_by_key(|hold| hold.until))
    }

    fn all_holds(&self) -> impl Iterator<Item = (&String, &RegionHold)> {
        self.holds.iter().chain(self.further_holds.iter().map(|(region, hold)| (region, hold)))
    }

    /// Until when sizes do not change, if that is so at this moment.
    pub fn pause(&self, now: Timestamp) -> Option<Timestamp> {
        self.scaling_paused_until.filter(|until| is_in_force(*until, now))
    }

    /// When the next of them ends.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.all_holds().map(|(_, hold)| hold.until).chain(self.scaling_paused_until);
        ends.filter(|until| is_in_force(*until, now)).min()
    }

    /// Every order that could be read, by what stands behind `signalbox.dev/` in its annotation, and its end.
    fn orders(&self) -> impl Iterator<Item = (String, Timestamp)> {
        let holds = self.all_holds().map(|(region, hold)| (format!("{}-{region}", hold.purpose.verb()), hold.until));
        holds.chain(self.scaling_paused_until.map(|until| (PAUSE_SCALING.to_owned(), until)))
    }

    /// Orders whose end has come, by what stands behind `signalbox.dev/` in their annotations, each with its end: they were
    /// followed until then, or were written too late for that.
    pub fn over(&self, now: Timestamp) -> impl Iterator<Item = (String, Timestamp)> {
        self.orders().filter(move |(_, until)| *until <= now)
    }

    /// What is not followed at this moment, each in a sentence that says what to write instead.
    pub fn problems(&self, now: Timestamp) -> Vec<String> {
        let too_long = self.orders().filter(|(_, until)| is_too_long(*until, now)).map(|(order, until)| {
            format!(
                "annotation signalbox.dev/{order} is not followed, because {until} is more than 30 days away; write a time \
                 within 30 days, and a later one when it has come nearer"
            )
        });
        self.problems.iter().cloned().chain(too_long).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn held_until(until: &str) -> ManualIntent {
        let hold = RegionHold { phase: HeldPhase::Tripped, until: at(until), purpose: HoldPurpose::Drain };
        ManualIntent { holds: [("eu".to_owned(), hold)].into(), ..ManualIntent::default() }
    }

    #[test]
    fn an_order_ends_by_itself() {
        let manual = held_until("2026-03-01T13:00:00Z");
        assert!(manual.hold("eu", at("2026-03-01T12:59:59Z")).is_some());
        assert!(manual.hold("eu", at("2026-03-01T13:00:00Z")).is_none());
        assert_eq!(manual.next_end(at("2026-03-01T12:00:00Z")), Some(at("2026-03-01T13:00:00Z")));
        assert_eq!(manual.next_end(at("2026-03-01T13:00:00Z")), None);
        assert!(manual.problems(at("2026-03-05T00:00:00Z")).is_empty(), "what is over is no problem");
        assert_eq!(manual.over(at("2026-03-01T12:59:59Z")).count(), 0);
        let over: Vec<_> = manual.over(at("2026-03-01T13:00:00Z")).collect();
        assert_eq!(over, [("drain-eu".to_owned(), at("2026-03-01T13:00:00Z"))]);
    }

    #[test]
    fn an_order_without_an_end_in_sight_is_not_followed_and_that_is_told() {
        let manual = held_until("2026-04-01T12:00:00Z");
        let (early, late) = (at("2026-03-02T11:59:59Z"), at("2026-03-02T12:00:00Z"));
        assert!(manual.hold("eu", early).is_none() && manual.next_end(early).is_none());
        let problem = "annotation signalbox.dev/drain-eu is not followed, because 2026-04-01T12:00:00Z is more than 30 days \
                       away; write a time within 30 days, and a later one when it has come nearer";
        assert_eq!(manual.problems(early), [problem]);
        assert!(manual.hold("eu", late).is_some() && manual.problems(late).is_empty());
    }
}
