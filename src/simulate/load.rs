//! What arrives: a shape with a seed, or what was recorded. Pure.

use std::collections::BTreeMap;

use clap::ValueEnum;

use super::random::Random;

/// A made-up load, between a low and a high rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Low, from a tenth of the time on high, from three fifths on low again.
    Step,
    /// From low to high in the first half, and back.
    Ramp,
    /// Around the middle of both, with noise of each second and waves of half a minute; hardly ever outside.
    Noise,
    /// One day, from low at night to high at noon, with some noise.
    Day,
    /// Low, with 30 seconds of high about every ten minutes.
    Spike,
}

/// What arrives in each second, by region or for the whole fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Events in each second, for the fleet.
    pub fleet: Vec<f64>,
    /// The same for a region alone: these do not follow the fleet's weights.
    pub regions: BTreeMap<String, Vec<f64>>,
}

impl Load {
    /// How long it lasts, in seconds.
    pub(super) fn seconds(&self) -> usize {
        self.regions.values().map(Vec::len).chain([self.fleet.len()]).max().unwrap_or(0)
    }
}

/// A load of that shape.
pub fn shaped(shape: Shape, low: f64, high: f64, seconds: u32, seed: u64) -> Load {
    let mut random = Random::new(seed);
    let length = f64::from(seconds.max(1));
    let (mut wave, mut spike_from) = (0.0, 0.0);
    let rates = (0..seconds).map(|second| {
        let at = f64::from(second);
        let part = at / length;
        let rate = match shape {
            Shape::Step => {
                if (0.1..0.6).contains(&part) {
                    high
                } else {
                    low
                }
            }
            Shape::Ramp => low + (high - low) * (1.0 - (2.0 * part - 1.0).abs()),
            Shape::Noise => {
                let deviation = (high - low) / 6.0 / std::f64::consts::SQRT_2;
                // Each second keeps so much of the wave that it lasts about half a minute.
                let keep = (-1.0_f64 / 30.0).exp();
                wave = wave * keep + random.normal() * (1.0 - keep * keep).sqrt();
                f64::midpoint(low, high) + deviation * (wave + random.normal())
            }
            Shape::Day => {
                let sun = f64::midpoint(1.0, -(part * std::f64::consts::TAU).cos());
                (low + (high - low) * sun) * (1.0 + 0.05 * random.normal())
            }
            Shape::Spike => {
                if at >= spike_from + 30.0 {
                    spike_from = at + 420.0 + 360.0 * random.fraction();
                }
                if at >= spike_from && at > 0.0 { high } else { low }
            }
        };
        rate.max(0.0)
    });
    Load { fleet: rates.collect(), regions: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_load_and_another_another() {
        for shape in [Shape::Noise, Shape::Day, Shape::Spike] {
            let of = |seed| shaped(shape, 100.0, 900.0, 3_600, seed);
            assert_eq!(of(7), of(7));
            assert_ne!(of(7), of(8), "{shape:?}");
        }
    }

    #[test]
    fn shapes_stay_between_low_and_high_but_for_noise() {
        for shape in [Shape::Step, Shape::Ramp, Shape::Spike] {
            let load = shaped(shape, 100.0, 900.0, 7_200, 1);
            assert!(load.fleet.iter().all(|rate| (100.0..=900.0).contains(rate)), "{shape:?}");
            assert!(load.fleet.iter().any(|rate| *rate > 890.0), "{shape:?}");
        }
        let noise = shaped(Shape::Noise, 100.0, 900.0, 7_200, 1).fleet;
        let outside = noise.iter().filter(|rate| !(100.0..=900.0).contains(*rate)).count();
        assert!(outside < 72, "{outside} of 7200 seconds");
    }
}
