//! How fast a shard's totals move: the mean over the last seconds of one life, by the shard's own clock. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use signalbox_contract::{ShardReport, SinkReport};

use crate::fleet::{Rates, SinkRates};

/// What rates are means of, in milliseconds, once there is that much.
const WINDOW_MS: u64 = 5_000;
/// Least time that says anything.
const LEAST_MS: u64 = 1_000;
/// Least time between two samples that are kept, so that there are never many.
const SPACING_MS: u64 = 500;

/// Samples of one life, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    incarnation: String,
    samples: VecDeque<Sample>,
}

/// The totals at one time: numbers alone, because there are many.
#[derive(Clone, Debug)]
struct Sample {
    uptime_ms: u64,
    shard: [u64; 8],
    sinks: Vec<[u64; 6]>,
}

impl Window {
    /// Takes one more report, and gives the rates up to it. `None` until there are two of one life that are far enough
    /// apart, and for a shard that does not tell how long it lives.
    pub(super) fn take(&mut self, shard: &ShardReport) -> Option<Rates> {
        if shard.uptime_ms == 0 {
            return None;
        }
        let latest = Sample::of(shard);
        let other_sinks = self.samples.back().is_some_and(|sample| sample.sinks.len() != latest.sinks.len());
        if self.incarnation != shard.incarnation || other_sinks {
            self.samples.clear();
            self.incarnation.clone_from(&shard.incarnation);
        }
        // The first is the youngest that is old enough.
        while self.samples.get(1).is_some_and(|second| latest.since(second) >= WINDOW_MS) {
            self.samples.pop_front();
        }
        let first = self.samples.front().filter(|first| latest.since(first) >= LEAST_MS);
        let rates = first.map(|first| rates(first, &latest, shard));
        if self.samples.back().is_none_or(|last| latest.since(last) >= SPACING_MS) {
            self.samples.push_back(latest);
        }
        rates
    }
}

impl Sample {
    fn of(shard: &ShardReport) -> Self {
        let usage = &shard.usage;
        Self {
            uptime_ms: shard.uptime_ms,
            shard: [
                shard.accepted_total,
                shard.settled_total,
                shard.refused_total,
                usage.receive_refused_total,
                usage.cpu_us_total,
                usage.disk_busy_us_total,
                usage.disk_wait_us_total,
                shard.traffic.as_ref().map_or(0, |traffic| traffic.taken_over_total),
            ],
            sinks: shard.sinks.iter().map(of_sink).collect(),
        }
    }

    fn since(&self, earlier: &Self) -> u64 {
        self.uptime_ms.saturating_sub(earlier.uptime_ms)
    }
}

fn of_sink(sink: &SinkReport) -> [u64; 6] {
    [
        sink.delivered_total,
        sink.failed_attempts_total,
        sink.throttled_total,
        sink.limited_us_total,
        sink.attempts_total,
        sink.attempt_us_total,
    ]
}

fn rates(first: &Sample, latest: &Sample, shard: &ShardReport) -> Rates {
    let over = Duration::from_millis(latest.since(first));
    let moves = moved(&first.shard, &latest.shard);
    let [accepted, settled, refused, receive_refused, cpu_us, disk_us, wait_us, taken_over] = moves;
    let sinks = shard.sinks.iter().zip(first.sinks.iter().zip(&latest.sinks)).map(|(sink, (first, latest))| {
        let [delivered, failed, throttled, limited_us, attempts, attempt_us] = moved(first, latest);
        let rates = SinkRates {
            delivered: per_second(delivered, over),
            failed: per_second(failed, over),
            throttled: per_second(throttled, over),
            limited: share(limited_us, over, 1.0),
            attempt_time: Duration::from_micros(attempt_us.checked_div(attempts).unwrap_or(0)),
        };
        (sink.name.clone(), rates)
    });
    let processors = shard.usage.cpu_limit_millis;
    Rates {
        over,
        accepted: per_second(accepted, over),
        taken_over: per_second(taken_over, over),
        settled: per_second(settled, over),
        refused: per_second(refused, over),
        receive_refused: per_second(receive_refused, over),
        cpu: (processors > 0).then(|| share(cpu_us, over, float(processors) / 1000.0)),
        disk: share(disk_us, over, 1.0),
        disk_wait: Duration::from_micros(wait_us.checked_div(accepted).unwrap_or(0)),
        sinks: sinks.collect(),
    }
}

fn moved<const N: usize>(first: &[u64; N], latest: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|total| latest[total].saturating_sub(first[total]))
}

fn per_second(count: u64, over: Duration) -> f64 {
    float(count) / over.as_secs_f64()
}

/// Of the time, which `times` do at once. Spans are measured at slightly different moments than the whole, so a share may
/// come out above one, and is cut there.
fn share(micros: u64, over: Duration, times: f64) -> f64 {
    (float(micros) / 1e6 / over.as_secs_f64() / times).min(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "reports with numbers above 2^53 are not taken")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_contract::{TrafficReport, Usage};

    /// A shard that has taken 1000 events a second and delivered half of them, each in 4 ms, with half a processor.
    fn steady(uptime_ms: u64) -> ShardReport {
        ShardReport {
            incarnation: "one".to_owned(),
            uptime_ms,
            accepted_total: uptime_ms,
            settled_total: uptime_ms / 2,
            usage: Usage {
                cpu_us_total: uptime_ms * 500,
                cpu_limit_millis: 2000,
                disk_busy_us_total: uptime_ms * 100,
                ..Usage::default()
            },
            sinks: vec![SinkReport {
                name: "audit".to_owned(),
                delivered_total: uptime_ms / 2,
                attempts_total: uptime_ms / 2,
                attempt_us_total: uptime_ms / 2 * 4000,
                limited_us_total: uptime_ms * 1200,
                ..SinkReport::default()
            }],
            ..ShardReport::default()
        }
    }

    fn after(uptimes: impl IntoIterator<Item = u64>) -> Option<Rates> {
        let mut window = Window::default();
        uptimes.into_iter().map(|uptime_ms| window.take(&steady(uptime_ms))).last().flatten()
    }

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value}, not {expected}");
    }

    #[test]
    fn one_report_or_two_close_together_say_nothing() {
        assert_eq!(after([7000]), None);
        assert_eq!(after([7000, 7900]), None);
    }

    #[test]
    fn rates_are_means_over_about_five_seconds_however_many_reports_there_are() {
        for gap in [100, 300, 500, 900, 1000] {
            let rates = after((0..100).map(|n| 1000 + n * gap)).unwrap();
            assert!((5000..=6000).contains(&rates.over.as_millis()), "{:?}, one in {gap} ms", rates.over);
            close(rates.accepted, 1000.0);
        }
    }

    #[test]
    fn each_figure_is_what_it_says() {
        let rates = after([2000, 4000]).unwrap();
        assert_eq!(rates.over, Duration::from_secs(2));
        close(rates.settled, 500.0);
        close(rates.cpu.unwrap(), 0.25);
        close(rates.disk, 0.1);
        let sink = rates.sinks["audit"];
        close(sink.delivered, 500.0);
        close(sink.limited, 1.0);
        assert_eq!(sink.attempt_time, Duration::from_millis(4));
    }

    #[test]
    fn what_other_regions_handed_over_is_told_from_what_comes_anew() {
        let mut window = Window::default();
        let mut taking = |uptime_ms| {
            let mut shard = steady(uptime_ms);
            shard.traffic = Some(TrafficReport { taken_over_total: uptime_ms / 4, ..TrafficReport::default() });
            window.take(&shard)
        };
        taking(1000);
        let rates = taking(3000).unwrap();
        close(rates.accepted, 1000.0);
        close(rates.taken_over, 250.0);
    }

    #[test]
    fn a_restart_is_no_rate() {
        let mut window = Window::default();
        window.take(&steady(60_000));
        let restarted = |uptime_ms| ShardReport { incarnation: "two".to_owned(), ..steady(uptime_ms) };
        assert_eq!(window.take(&restarted(1500)), None);
        close(window.take(&restarted(2500)).unwrap().accepted, 1000.0);
    }

    #[test]
    fn what_a_shard_does_not_know_of_its_processors_is_not_known() {
        let mut window = Window::default();
        let unknown = |uptime_ms| {
            let mut shard = steady(uptime_ms);
            shard.usage.cpu_limit_millis = 0;
            shard
        };
        window.take(&unknown(1000));
        assert_eq!(window.take(&unknown(3000)).unwrap().cpu, None);
    }

    #[test]
    fn few_samples_are_kept() {
        let mut window = Window::default();
        for n in 0..1000 {
            window.take(&steady(1000 + n * 10));
        }
        assert!(window.samples.len() <= 12, "{}", window.samples.len());
    }
}
