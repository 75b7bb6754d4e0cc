//! The search for the highest rate that a target takes within an objective. Pure: it says what to try next, and is
//! told what came of it.
//!
//! The rate is doubled until a trial fails, or halved until one does well; then the gap between the highest good and
//! the lowest bad rate is halved until it is small; then the good one is tried again, for once may be luck.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::report::Report;
use super::text::events;

/// The gap between good and bad at which the search is content, as a share.
const GAP: f64 = 0.05;

/// A rate below which there is nothing to find.
const LEAST: f64 = 1.0;

/// Good trials of the rate that is the answer.
const CONFIRMATIONS: u32 = 2;

/// Connections that are busy for so much of the time could be what limits.
const BUSY: f64 = 0.95;

/// The latency that is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Objective {
    /// Of `p50`, `p90`, `p99`, `p99.9` and `max`, which one.
    pub quantile: &'static str,
    /// Milliseconds that it may be.
    pub ms: f64,
}

impl Objective {
    /// The quantile that is to be kept below `limit`. The error says what to write.
    pub fn new(quantile: &str, limit: Duration) -> Result<Self, String> {
        let known = ["p50", "p90", "p99", "p99.9", "max"].into_iter().find(|known| *known == quantile);
        let quantile = known.or((quantile == "p999").then_some("p99.9"));
        let quantile = quantile.ok_or("an objective is of p50, p90, p99, p99.9 or max: write one such as p99=20ms")?;
        Ok(Self { quantile, ms: limit.as_secs_f64() * 1000.0 })
    }

    /// What it was in a run.
    pub(super) fn of(self, report: &Report) -> f64 {
        let latency = &report.latency_ms;
        match self.quantile {
            "p50" => latency.p50,
            "p90" => latency.p90,
            "p99" => latency.p99,
            "p99.9" => latency.p999,
            _ => latency.max,
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of at most {} ms", self.quantile, self.ms)
    }
}

/// What a trial shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Within the objective, and every event accepted.
    Good,
    /// Answers came too late.
    Latency,
    /// The same, while every connection waited for an answer nearly all the time: there may be too few.
    Connections,
    /// Events were refused or not answered.
    Errors,
    /// The generator could not keep its schedule: this says nothing about the target.
    Generator,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Latency => "too slow",
            Self::Connections => "too slow, all connections busy",
            Self::Errors => "errors",
            Self::Generator => "generator too slow",
        })
    }
}

/// One rate that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Events per second.
    pub rate: f64,
    /// What it shows.
    pub verdict: Verdict,
    /// What came of it.
    pub report: Report,
}

/// The end of a search, as `--json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// What was to be kept.
    pub objective: Objective,
    /// The highest rate that kept it. Nothing: none did.
    pub rate: Option<f64>,
    /// Good trials of that rate.
    pub confirmations: u32,
    /// The lowest rate that did not keep it.
    pub limit: Option<f64>,
    /// What that one failed by.
    #[serde(rename = "limitedBy")]
    pub limited_by: Option<Verdict>,
    /// The same in a sentence.
    pub answer: String,
    /// All trials, in order.
    pub trials: Vec<Trial>,
}

/// What a trial of `objective` shows.
pub(super) fn judge(objective: Objective, report: &Report) -> Verdict {
    let slow = report.ended_early || objective.of(report) > objective.ms;
    // A lag of a fifth of the objective is too much of it to blame the target for, unless it is little beside what
    // the target took.
    let lag = report.generator.lag_ms.p99;
    let own = lag > objective.ms / 5.0 && lag > objective.of(report) / 4.0;
    if report.not_accepted > 0 || !report.rejected.is_empty() || !report.errors.is_empty() {
        Verdict::Errors
    } else if !slow && report.latency_ms.samples > 0 {
        Verdict::Good
    } else if own {
        Verdict::Generator
    } else if report.generator.connections_busy > BUSY {
        Verdict::Connections
    } else {
        Verdict::Latency
    }
}

/// What is known so far.
#[derive(Clone, Debug)]
pub(super) struct Search {
    first: f64,
    /// The rates that did well, rising.
    good: Vec<f64>,
    /// How often the highest of them did.
    confirmations: u32,
    bad: Option<(f64, Verdict)>,
}

impl Search {
    /// Begins with this rate.
    pub(super) fn new(first: f64) -> Self {
        Self { first, good: Vec::new(), confirmations: 0, bad: None }
    }

    /// The next rate to try, until the answer is known.
    pub(super) fn next(&self) -> Option<f64> {
        match (self.good(), self.bad) {
            (None, None) => Some(self.first),
            (Some(good), None) => Some(good * 2.0),
            (None, Some((bad, _))) => Some(bad / 2.0).filter(|rate| *rate >= LEAST),
            (Some(good), Some((bad, _))) if bad / good > 1.0 + GAP => Some(f64::midpoint(good, bad)),
            (Some(good), Some(_)) => Some(good).filter(|_| self.confirmations < CONFIRMATIONS),
        }
    }

    /// What came of trying a rate.
    pub(super) fn tried(&mut self, rate: f64, verdict: Verdict) {
        if verdict != Verdict::Good {
            // Where it did well before, that was luck: back to below.
            self.good.retain(|good| *good < rate);
            self.confirmations = 1;
            self.bad = Some((rate, verdict));
        } else if self.good().is_some_and(|good| good >= rate) {
            self.confirmations += 1;
        } else {
            self.good.push(rate);
            self.confirmations = 1;
        }
    }

    fn good(&self) -> Option<f64> {
        self.good.last().copied()
    }

    /// The answer. `cut_short`: there was no time for more.
    pub(super) fn found(&self, objective: Objective, trials: Vec<Trial>, cut_short: bool) -> Found {
        let limit = self.bad.map(|(rate, _)| rate);
        let limited_by = self.bad.map(|(_, verdict)| verdict);
        let mut answer = match self.good() {
            Some(rate) => {
                let times = if self.confirmations == 1 { "once" } else { "twice" };
                format!("{}/s with {objective} and no errors, seen {times}.", events(rate))
            }
            None => format!("no rate that was tried keeps {objective} without errors."),
        };
        if let Some((rate, verdict)) = self.bad {
            let why = match verdict {
                Verdict::Good | Verdict::Latency => "the target answers too late",
                Verdict::Connections => {
                    "answers come too late while all connections are busy: more --connections may achieve more"
                }
                Verdict::Errors => "events are refused or not answered",
                Verdict::Generator => {
                    "the generator itself could not keep its schedule, so the target may well take more: give the \
                     generator a machine of its own"
                }
            };
            answer = format!("{answer} At {}/s {why}.", events(rate));
        }
        if cut_short {
            answer.push_str(" The search ran out of time: give it a longer --within for a better answer.");
        }
        Found { objective, rate: self.good(), confirmations: self.confirmations, limit, limited_by, answer, trials }
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an objective: write one such as p99=20ms");
        let (quantile, limit) = text.split_once('=').ok_or_else(wrong)?;
        let split = limit.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, unit) = limit.split_at(split);
        let scale = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            _ => return Err(wrong()),
        };
        let seconds = number.parse::<f64>().map_err(|_| wrong())?;
        Self::new(quantile, Duration::try_from_secs_f64(seconds * scale).map_err(|_| wrong())?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::imagined;
    use super::{Objective, Search, Verdict, judge};

    /// Searches against a target that takes up to `capacity`, and returns the answer and how many trials it took.
    fn against(first: f64, mut verdict: impl FnMut(f64) -> Verdict) -> (Option<f64>, u32, String) {
        let mut search = Search::new(first);
        let mut trials = 0;
        while let Some(rate) = search.next() {
            search.tried(rate, verdict(rate));
            trials += 1;
            assert!(trials < 50, "the search does not end");
        }
        (search.good(), trials, search.found("p99=20ms".parse().unwrap(), Vec::new(), false).answer)
    }

    #[test]
    fn the_highest_good_rate_is_found_from_above_and_from_below() {
        for capacity in [5.0, 90.0, 1000.0, 12_345.0, 1e6] {
            for first in [1.0, 500.0, 100_000.0] {
                let verdict = |rate| if rate <= capacity { Verdict::Good } else { Verdict::Latency };
                let (found, trials, _) = against(first, verdict);
                let found = found.unwrap();
                assert!(found <= capacity && found >= capacity / 1.06, "{capacity} from {first}: {found}");
                assert!(trials < 30, "{capacity} from {first}: {trials} trials");
            }
        }
    }

    #[test]
    fn a_target_that_never_does_well_ends_the_search() {
        let (found, trials, answer) = against(1000.0, |_| Verdict::Errors);
        assert_eq!((found, trials), (None, 10));
        assert!(answer.contains("no rate") && answer.contains("refused or not answered"), "{answer}");
    }

    #[test]
    fn luck_is_not_believed() {
        let mut tries = 0;
        let (found, _, _) = against(100.0, |rate| {
            tries += 1;
            // 150/s does well once.
            if rate <= 120.0 || (rate - 150.0).abs() < 1.0 && tries < 5 { Verdict::Good } else { Verdict::Latency }
        });
        assert!(found.unwrap() <= 120.0, "{found:?}");
    }

    #[test]
    fn the_generator_does_not_blame_the_target_for_its_own_lag() {
        let objective: Objective = "p99=2ms".parse().unwrap();
        let mut report = imagined(1000);
        assert_eq!(judge(objective, &report), Verdict::Errors);
        report.rejected.clear();
        report.not_accepted = 0;
        assert_eq!(judge(objective, &report), Verdict::Latency);
        assert_eq!(judge("p99=5ms".parse().unwrap(), &report), Verdict::Good);
        report.generator.connections_busy = 0.99;
        assert_eq!(judge(objective, &report), Verdict::Connections);
        report.generator.lag_ms.p99 = 0.5;
        assert_eq!(judge(objective, &report), Verdict::Connections, "most of the time was the target's");
        report.generator.lag_ms.p99 = 2.0;
        assert_eq!(judge(objective, &report), Verdict::Generator);
        report.latency_ms.p99 = 1.9;
        assert_eq!(judge(objective, &report), Verdict::Good, "late or not, it has kept the objective");
    }

    #[test]
    fn an_objective_is_read_or_refused_with_an_example() {
        let objective: Objective = "p99.9=1.5s".parse().unwrap();
        assert_eq!((objective.quantile, objective.ms), ("p99.9", 1500.0));
        assert_eq!("p999=500us".parse::<Objective>().unwrap().to_string(), "p99.9 of at most 0.5 ms");
        for text in ["p99", "p99=20", "p98=20ms", "p99=xms", "p99=-1ms"] {
            assert!(text.parse::<Objective>().unwrap_err().contains("such as p99=20ms"), "{text}");
        }
    }
}
