//! How long events took from when they were meant to be sent until they arrived. Pure.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Kept to three digits, from a microsecond to an hour: a backlog may be old.
const HIGHEST_US: u64 = 3_600_000_000;

/// Latencies of everything that has arrived. Takes memory when the first does.
#[derive(Debug, Default)]
pub(super) struct Latency(Option<Histogram<u64>>);

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencyMs {
    /// Events that these are of.
    pub samples: u64,
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
}

impl Latency {
    /// An event took so many microseconds. Less than nothing, which clocks that differ make, counts as nothing.
    pub(super) fn record(&mut self, us: i64) {
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(1, HIGHEST_US, 3).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(us).unwrap_or(0));
        }
    }

    /// All there is: so many events took up to so many microseconds, exact to three digits. Who asks twice knows of the
    /// time between.
    pub(super) fn counts(&self) -> Vec<[u64; 2]> {
        let recorded = self.0.iter().flat_map(Histogram::iter_recorded);
        recorded.map(|value| [value.value_iterated_to(), value.count_at_value()]).collect()
    }

    /// What there is, if anything.
    pub(super) fn summary(&self) -> Option<LatencyMs> {
        let histogram = self.0.as_ref()?;
        let ms = |us: u64| f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1000.0;
        let quantile = |q| ms(histogram.value_at_quantile(q));
        Some(LatencyMs {
            samples: histogram.len(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: ms(histogram.max()),
        })
    }
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
