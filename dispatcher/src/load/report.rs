//! What came of a run, as it is told. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::environment::Environment;
use super::intervals::Interval;
use super::outcome::Outcome;
use super::profile::{Profile, Shape};
use super::request::Mode;

/// The result, as `--json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `source` of all events.
    pub source: String,
    /// Events sent at least once. Their ids are 0 to this, exclusive, unless the run was ended early.
    pub sent: u64,
    /// Events answered 2xx.
    pub accepted: u64,
    /// Events sent and never answered 2xx. Some may have been accepted all the same, when their answer was lost.
    pub not_accepted: u64,
    /// Answers other than 2xx, by status.
    pub rejected: BTreeMap<u16, u64>,
    /// Requests without an answer: `connect`, `timeout` or `broken`.
    pub errors: BTreeMap<&'static str, u64>,
    /// Requests sent again.
    pub retries: u64,
    /// From the first event's time to the last answer.
    pub elapsed_seconds: f64,
    /// Events per second asked for: of a profile, the highest. 0: as fast as possible.
    pub target_rate: f64,
    /// Accepted events per second after the warm-up.
    pub achieved_rate: f64,
    /// Of events accepted after the warm-up, from when they were meant to be sent to their answer.
    pub latency_ms: LatencyMs,
    /// The run was ended before everything was sent.
    pub ended_early: bool,
    /// What was asked for.
    pub parameters: Parameters,
    /// What the generator had to do with the figures.
    pub generator: Generator,
    /// Where.
    pub environment: Environment,
    /// The run as it went, after the warm-up.
    pub intervals: Vec<Interval>,
    /// Shares of the events, and the milliseconds within which they were accepted.
    pub latency_curve: Vec<(f64, f64)>,
}

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyMs {
    /// Half are below.
    pub p50: f64,
    /// 90 % are below.
    pub p90: f64,
    /// 99 % are below.
    pub p99: f64,
    /// 99.9 % are below.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// How many events these are of.
    pub samples: u64,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Where to.
    pub target: String,
    /// Kind of profile.
    pub profile: Shape,
    /// The profile in words.
    pub schedule: String,
    /// Seconds before figures were taken.
    pub warmup_seconds: f64,
    /// Keys; 0: none.
    pub keys: u64,
    /// Bytes of data of each event.
    pub size: usize,
    /// How an event was written.
    pub mode: Mode,
    /// Events of each request.
    pub batch: u64,
    /// Connections.
    pub connections: u64,
    /// Requests at once on each.
    pub streams: u64,
    /// 1.1 or 2.
    pub http: &'static str,
    /// Whether there was TLS.
    pub tls: bool,
}

/// What the generator had to do with the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// Processor time that it took.
    pub cpu_seconds: f64,
    /// Of that, for each event sent.
    pub cpu_micros_per_event: f64,
    /// How late events were sent although their connection was free.
    pub lag_ms: LatencyMs,
    /// Share of the time in which connections waited for answers. Near 1: more connections might achieve more.
    pub connections_busy: f64,
}

/// What a report is made of besides the outcome.
pub(super) struct Run<'a> {
    pub(super) source: String,
    pub(super) profile: Option<&'a Profile>,
    pub(super) warmup: Duration,
    pub(super) elapsed: Duration,
    pub(super) cpu: Duration,
    pub(super) ended_early: bool,
    pub(super) parameters: Parameters,
    pub(super) environment: Environment,
}

impl Report {
    /// The whole run.
    #[expect(clippy::cast_precision_loss, reason = "for people, to three digits")]
    pub(super) fn new(outcome: &Outcome, run: Run<'_>) -> Self {
        let elapsed = run.elapsed.as_secs_f64();
        let measured = run.elapsed.saturating_sub(run.warmup);
        let waiting = elapsed * (run.parameters.connections * run.parameters.streams) as f64;
        let achieved = outcome.latency.len() as f64 / measured.as_secs_f64();
        Self {
            source: run.source,
            sent: outcome.sent,
            accepted: outcome.accepted,
            not_accepted: outcome.sent - outcome.accepted,
            rejected: outcome.rejected.clone(),
            errors: outcome.errors.clone(),
            retries: outcome.retries,
            elapsed_seconds: elapsed,
            target_rate: run.profile.map_or(0.0, Profile::highest_rate),
            achieved_rate: if achieved.is_finite() { achieved } else { 0.0 },
            latency_ms: LatencyMs::of(&outcome.latency),
            ended_early: run.ended_early,
            generator: Generator {
                cpu_seconds: run.cpu.as_secs_f64(),
                cpu_micros_per_event: run.cpu.as_secs_f64() * 1e6 / (outcome.sent.max(1)) as f64,
                lag_ms: LatencyMs::of(&outcome.lag),
                connections_busy: (outcome.busy.as_secs_f64() / waiting.max(f64::EPSILON)).min(1.0),
            },
            parameters: run.parameters,
            environment: run.environment,
            intervals: outcome.intervals.all(run.profile, run.warmup, measured),
            latency_curve: curve(&outcome.latency),
        }
    }
}

impl LatencyMs {
    #[expect(clippy::cast_precision_loss, reason = "for people, to three digits")]
    fn of(histogram: &Histogram<u64>) -> Self {
        let quantile = |q| histogram.value_at_quantile(q) as f64 / 1000.0;
        Self {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: histogram.max() as f64 / 1000.0,
            samples: histogram.len(),
        }
    }
}

/// The histogram as a curve that is finer towards its end: each nine takes as many points.
#[expect(clippy::cast_precision_loss, reason = "for people, to three digits")]
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let samples = histogram.len() as f64;
    let mut curve = Vec::new();
    for step in 0..=60_u32 {
        let beyond = 10_f64.powf(-f64::from(step) / 10.0);
        // Beyond the last sample there is nothing to tell.
        if beyond * samples < 1.0 {
            break;
        }
        curve.push((1.0 - beyond, histogram.value_at_quantile(1.0 - beyond) as f64 / 1000.0));
    }
    curve
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Environment, Outcome, Parameters, Report, Run};
    use std::time::{Duration, Instant};

    /// A report of an imagined run: what is asked for in 10 s, and some of it fails.
    pub(in super::super) fn imagined(events: u32) -> Report {
        let start = Instant::now();
        let mut outcome = Outcome::new(start, None).unwrap();
        for index in 0..events {
            let intended = start + Duration::from_secs(10).mul_f64(f64::from(index) / f64::from(events));
            outcome.sends(1, intended, Some(Duration::from_micros(50)));
            let now = intended + Duration::from_micros(u64::from(1000 + index % 97 * 30));
            if index % 50 == 49 {
                outcome.refused(429, now);
            } else {
                outcome.accepts(1, intended, now);
            }
        }
        outcome.busy = Duration::from_secs(4);
        let run = Run {
            source: "/s".to_owned(),
            profile: None,
            warmup: Duration::ZERO,
            elapsed: Duration::from_secs(10),
            cpu: Duration::from_millis(100),
            ended_early: false,
            parameters: Parameters {
                target: "http://target/?a=<b>&c".to_owned(),
                connections: 4,
                streams: 1,
                ..Parameters::default()
            },
            environment: Environment::here(true),
        };
        Report::new(&outcome, run)
    }

    #[test]
    fn counts_rates_and_shares_add_up() {
        let report = imagined(1000);
        assert_eq!((report.sent, report.accepted, report.not_accepted, report.rejected[&429]), (1000, 980, 20, 20));
        assert!((report.achieved_rate - 98.0).abs() < 0.1 && (report.generator.connections_busy - 0.1).abs() < 0.001);
        assert!((report.generator.cpu_micros_per_event - 100.0).abs() < 0.1);
        assert_eq!((report.intervals.len(), report.latency_ms.samples), (10, 980));
        assert!(report.latency_curve.is_sorted() && report.latency_curve.len() > 20);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rejected"], serde_json::json!({"429": 20}));
    }

    #[test]
    fn a_run_in_which_nothing_was_accepted_has_figures_too() {
        let report = imagined(0);
        assert!(report.latency_curve.is_empty() && report.achieved_rate.abs() < f64::EPSILON);
        assert!(!report.to_string().contains("NaN"));
    }
}
