//! Whether a fleet has to be looked at again because of what a shard says. Pure.
//!
//! A backlog that has doubled, and a state that has switched, matter at once; what people are told, and how much comes in,
//! a little later: a status is not worth more than one write in two seconds. A routing table that was taken, and slots that
//! wait no more, matter at once too: the next change may wait for them.

use std::time::Duration;

use signalbox_contract::{BreakerPhase, RoutingReport};

use crate::fleet::{DataPort, Observation, Report, approximate_age, approximate_count};

/// Least time between two looks because of what people are told.
const UNHURRIED: Duration = Duration::from_secs(2);
/// Least time between two looks because a state has switched: at its limit, a shard goes back and forth.
const SWITCHED: Duration = Duration::from_millis(250);
/// A backlog below this many events is no spike.
const SPIKE_EVENTS: u64 = 16;
/// For how long another region must have been silent to a shard, in milliseconds, to be news.
const SILENT_MS: u64 = 1000;
/// Events a second below which it does not matter how many there are.
const TRICKLE: f64 = 10.0;

/// What the fleet was looked at for last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attention {
    at: Option<Duration>,
    /// Whether there is a report, and what it says that is one or the other.
    state: Vec<bool>,
    /// Where it is with its routing table.
    routing: Option<Stage>,
    backlog_events: u64,
    accepted: f64,
    brief: Vec<String>,
}

impl Attention {
    /// Whether the fleet has to be looked at again for this, `at` by our monotonic clock.
    pub(super) fn matters(&mut self, observation: &Observation<Report>, port: DataPort, at: Duration) -> bool {
        let mut now = Self::of(observation, at);
        now.state.extend([matches!(port, DataPort::Silent(_)), matches!(port, DataPort::Answers(_))]);
        let since = self.at.map_or(Duration::MAX, |before| at.saturating_sub(before));
        let spike = now.backlog_events >= SPIKE_EVENTS && now.backlog_events / 2 >= self.backlog_events;
        let switched = now.state != self.state && since >= SWITCHED;
        let news = (now.brief != self.brief || flows_otherwise(self.accepted, now.accepted)) && since >= UNHURRIED;
        // Each step is taken once for each table: it needs no pause.
        let step = now.routing != self.routing;
        let matters = spike || switched || news || step;
        if matters {
            *self = now;
        }
        matters
    }

    fn of(observation: &Observation<Report>, at: Duration) -> Self {
        let at = Some(at);
        match observation {
            Observation::NotYet => Self::default(),
            Observation::Unreachable(not_read) => {
                Self { at, state: vec![false], brief: vec![not_read.why.clone()], ..Self::default() }
            }
            Observation::Reading { value, .. } => {
                let shard = &value.shard;
                let tripped = shard.sinks.iter().map(|sink| sink.phase != BreakerPhase::Serving);
                let regions = shard.traffic.iter().flat_map(|traffic| &traffic.regions);
                let cut_off = regions.map(|seen| seen.asked > 0 && seen.answered == 0 && seen.silent_ms >= SILENT_MS);
                Self {
                    at,
                    state: [true, shard.accepting, value.trouble.is_some()]
                        .into_iter()
                        .chain(tripped)
                        .chain(cut_off)
                        .collect(),
                    routing: shard.routing.as_ref().map(Stage::of),
                    backlog_events: shard.backlog_events,
                    accepted: value.rates.as_ref().map_or(0.0, |rates| rates.accepted),
                    brief: brief(value),
                }
            }
        }
    }
}

/// Where a shard is with its routing table, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    log: u64,
    epoch: u64,
    highest_epoch: u64,
    claims: bool,
    at_risk: bool,
    empty: bool,
}

impl Stage {
    fn of(routing: &RoutingReport) -> Self {
        let RoutingReport { log, epoch, highest_epoch, claiming, at_risk, empty, .. } = *routing;
        Self { log, epoch, highest_epoch, claims: claiming > 0, at_risk: at_risk > 0, empty }
    }
}

fn flows_otherwise(then: f64, now: f64) -> bool {
    let (less, more) = (then.min(now).max(TRICKLE), then.max(now));
    more > less * 1.5
}

/// What of a report people are told: when this stays the same, there is nothing to tell.
fn brief(Report { shard, trouble, .. }: &Report) -> Vec<String> {
    let age = shard.oldest_event_age_ms.map(Duration::from_millis).map(approximate_age);
    let sinks = shard.sinks.iter().map(|sink| {
        let tripped = sink.phase != BreakerPhase::Serving;
        let failing = sink.last_failure.as_ref().filter(|_| sink.consecutive_failures > 0 || tripped);
        let [backlog, letters] = [sink.backlog_events, sink.dead_letters].map(approximate_count);
        format!("{backlog} {letters} {tripped} {:?}", failing.map(|failure| &failure.message))
    });
    let trouble = trouble.as_ref().map(|not_read| not_read.why.clone());
    let all = [approximate_count(shard.backlog_events), age.unwrap_or_default()];
    all.into_iter().chain(sinks).chain(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::fleet::{NotRead, Rates};
    use signalbox_contract::{RegionSeen, TrafficReport};

    impl Attention {
        fn matters_heard(&mut self, observation: &Observation<Report>, at: Duration) -> bool {
            self.matters(observation, DataPort::NotAsked, at)
        }
    }

    fn reading(backlog: u64, change: impl FnOnce(&mut Report)) -> Observation<Report> {
        let mut value = fixtures::reading(backlog, Duration::ZERO).value().unwrap().clone();
        change(&mut value);
        Observation::Reading { value, taken_at: fixtures::now() }
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// How often a fleet is looked at for these backlogs, one each 100 ms.
    fn looks(backlogs: impl IntoIterator<Item = u64>) -> usize {
        let mut attention = Attention::default();
        let looks =
            (0..).zip(backlogs).filter(|(n, backlog)| attention.matters_heard(&reading(*backlog, |_| {}), at(n * 100)));
        looks.count()
    }

    #[test]
    fn moving_counters_alone_are_nothing_to_tell() {
        let mut attention = Attention::default();
        assert!(attention.matters_heard(&reading(0, |_| {}), at(0)));
        let later = reading(0, |report| report.shard.accepted_total += 5000);
        assert!(!attention.matters_heard(&later, at(60_000)));
    }

    #[test]
    fn a_spike_matters_at_once_and_each_time_it_doubles() {
        let mut attention = Attention::default();
        attention.matters_heard(&reading(0, |_| {}), at(0));
        let seen =
            [20, 30, 39, 40, 79, 80, 1000].map(|events| attention.matters_heard(&reading(events, |_| {}), at(1)));
        assert_eq!(seen, [true, false, false, true, false, true, true]);
    }

    #[test]
    fn a_backlog_that_comes_and_goes_is_looked_at_every_two_seconds() {
        assert!(looks((0..100).map(|n| n % 2)) <= 6);
        assert!(looks((0..100).map(|n| n % 2 * 1000)) <= 12);
        assert!(looks((0..100).map(|n| 1_000_000 + n * 10_000)) <= 6);
    }

    #[test]
    fn a_switch_matters_at_once_but_not_all_the_time() {
        let mut attention = Attention::default();
        attention.matters_heard(&reading(0, |_| {}), at(0));
        let full = reading(0, |report| report.shard.accepting = false);
        assert!(attention.matters_heard(&full, at(300)));
        assert!(!attention.matters_heard(&reading(0, |_| {}), at(400)));
        assert!(attention.matters_heard(&reading(0, |_| {}), at(600)));
        let silent = NotRead { why: "no".to_owned(), since: fixtures::now() };
        assert!(attention.matters_heard(&Observation::Unreachable(silent), at(900)));
    }

    #[test]
    fn each_step_of_routing_matters_at_once_and_the_count_of_slots_does_not() {
        let mut attention = Attention::default();
        attention.matters_heard(&reading(0, |_| {}), at(0));
        let mut says = |epoch, claiming, empty| {
            let routing = RoutingReport { epoch, claiming, empty, ..RoutingReport::default() };
            attention.matters_heard(&reading(0, |report| report.shard.routing = Some(routing)), at(1))
        };
        let seen = [says(1, 9, false), says(1, 8, false), says(1, 0, false), says(1, 0, false), says(2, 0, true)];
        assert_eq!(seen, [true, false, true, false, true]);
    }

    #[test]
    fn more_traffic_matters_though_all_of_it_is_delivered() {
        let flowing = |accepted| reading(0, |report| report.rates = Some(Rates { accepted, ..Rates::default() }));
        let mut attention = Attention::default();
        attention.matters_heard(&flowing(1000.0), at(0));
        assert!(!attention.matters_heard(&flowing(1400.0), at(3000)));
        assert!(!attention.matters_heard(&flowing(1600.0), at(1000)));
        assert!(attention.matters_heard(&flowing(1600.0), at(3000)));
    }

    #[test]
    fn trouble_with_reports_is_told() {
        let mut attention = Attention::default();
        attention.matters_heard(&reading(0, |_| {}), at(0));
        let trouble = NotRead { why: "no".to_owned(), since: fixtures::now() };
        assert!(attention.matters_heard(&reading(0, |report| report.trouble = Some(trouble)), at(3000)));
    }

    #[test]
    fn reports_that_are_missing_and_what_ports_say_then_matter_at_once() {
        let mut attention = Attention::default();
        attention.matters_heard(&reading(0, |_| {}), at(0));
        let missing = reading(0, |report| {
            report.trouble = Some(NotRead { why: "no".to_owned(), since: fixtures::now() });
        });
        assert!(attention.matters(&missing, DataPort::NotAsked, at(2000)));
        assert!(!attention.matters(&missing, DataPort::NotAsked, at(2300)));
        assert!(attention.matters(&missing, DataPort::Silent(fixtures::now()), at(2600)));
        assert!(attention.matters(&missing, DataPort::Answers(fixtures::now()), at(2900)));
        assert!(!attention.matters(&missing, DataPort::Answers(fixtures::now() + at(500)), at(3200)));
    }

    #[test]
    fn another_region_that_a_shard_cannot_reach_matters_at_once_and_for_how_long_does_not() {
        let sees = |silent_ms| {
            reading(0, |report| {
                let seen = RegionSeen { name: "us-east".to_owned(), asked: 2, answered: 0, silent_ms };
                report.shard.traffic = Some(TrafficReport { regions: vec![seen], ..TrafficReport::default() });
            })
        };
        let mut attention = Attention::default();
        attention.matters_heard(&sees(0), at(0));
        assert!(!attention.matters_heard(&sees(500), at(500)));
        assert!(attention.matters_heard(&sees(1000), at(1000)));
        assert!(!attention.matters_heard(&sees(2000), at(2000)));
    }
}
