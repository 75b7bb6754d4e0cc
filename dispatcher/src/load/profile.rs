//! How the rate of a run changes over its time, and when each event is meant to be sent. Pure.
//!
//! A profile is a row of spans, in each of which the rate goes in a straight line from one value to another. Event
//! `i` is meant to be sent when the area below that line is `i`.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What kind of profile is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Shape {
    /// One rate.
    #[default]
    Constant,
    /// In a straight line from one rate to another.
    Ramp,
    /// From one rate to another in equal steps.
    Step,
    /// One rate, and at even intervals another for a short time.
    Burst,
}

/// A profile as it is written on the command line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What kind.
    pub shape: Shape,
    /// The first rate, or the only one, in events per second.
    pub rate: f64,
    /// The last rate of a ramp or of steps.
    pub to_rate: Option<f64>,
    /// How many steps.
    pub steps: Option<u32>,
    /// How long each step takes.
    pub step_duration: Option<Duration>,
    /// The rate within a burst.
    pub burst_rate: Option<f64>,
    /// From the start of a burst to the start of the next. The first begins after one such time less its own length.
    pub burst_every: Option<Duration>,
    /// How long a burst takes.
    pub burst_duration: Option<Duration>,
    /// How many events. A constant rate takes this or `duration`.
    pub count: Option<u64>,
    /// How long.
    pub duration: Option<Duration>,
    /// How long to send at the first rate before figures are taken.
    pub warmup: Duration,
}

/// The rate between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    from: f64,
    to: f64,
    /// In seconds, since the start of the run.
    begins: f64,
    seconds: f64,
    /// Events meant to be sent before it.
    before: f64,
}

/// When everything is meant to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    spans: Vec<Span>,
    warmup: Duration,
    warm_events: u64,
    count: u64,
}

impl Wanted {
    /// Whether there is a schedule at all: without, events are sent as fast as they are answered.
    pub fn is_paced(&self) -> bool {
        self.rate > 0.0 || self.shape != Shape::Constant
    }

    /// The schedule, or a sentence that says what to write instead.
    pub fn profile(&self) -> Result<Profile, String> {
        let mut profile = Profile { spans: Vec::new(), warmup: self.warmup, warm_events: 0, count: 0 };
        if self.rate <= 0.0 {
            return Err("a profile other than constant begins with a rate: give --rate above 0".to_owned());
        }
        profile.push(self.rate, self.rate, self.warmup.as_secs_f64());
        profile.warm_events = whole(profile.area());
        match self.shape {
            Shape::Constant => match (self.count, self.duration) {
                (Some(count), None) => {
                    profile.push(self.rate, self.rate, as_float(count) / self.rate);
                    profile.count = profile.warm_events + count;
                    return Ok(profile);
                }
                (None, Some(duration)) => profile.push(self.rate, self.rate, duration.as_secs_f64()),
                _ => return Err("say how much to send: give either --count or --duration".to_owned()),
            },
            Shape::Ramp => {
                let (Some(to), Some(duration), None) = (self.to_rate, self.duration, self.count) else {
                    return Err("a ramp needs --rate, --to-rate and --duration, and takes no --count".to_owned());
                };
                profile.push(self.rate, to, duration.as_secs_f64());
            }
            Shape::Step => {
                let (Some(to), Some(steps @ 1..), Some(each), None, None) =
                    (self.to_rate, self.steps, self.step_duration, self.duration, self.count)
                else {
                    return Err("steps need --rate, --to-rate, --steps (1 or more) and --step-duration, and take \
                                neither --duration nor --count"
                        .to_owned());
                };
                for step in 0..steps {
                    let share = if steps == 1 { 0.0 } else { f64::from(step) / f64::from(steps - 1) };
                    let rate = self.rate + (to - self.rate) * share;
                    profile.push(rate, rate, each.as_secs_f64());
                }
            }
            Shape::Burst => self.bursts(&mut profile)?,
        }
        profile.count = whole(profile.area());
        Ok(profile)
    }

    fn bursts(&self, profile: &mut Profile) -> Result<(), String> {
        let (Some(high), Some(every), Some(burst), Some(duration), None) =
            (self.burst_rate, self.burst_every, self.burst_duration, self.duration, self.count)
        else {
            return Err("bursts need --rate, --burst-rate, --burst-every, --burst-duration and --duration, and take \
                        no --count"
                .to_owned());
        };
        if burst.is_zero() || burst >= every {
            return Err("--burst-duration must be above 0 and below --burst-every".to_owned());
        }
        let (mut left, calm, burst) =
            (duration.as_secs_f64(), every.saturating_sub(burst).as_secs_f64(), burst.as_secs_f64());
        while left > 0.0 {
            profile.push(self.rate, self.rate, calm.min(left));
            left -= calm;
            if left > 0.0 {
                profile.push(high, high, burst.min(left));
                left -= burst;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Wanted {
    /// The profile in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, to) = (self.rate, self.to_rate.unwrap_or_default());
        match self.shape {
            Shape::Constant if rate > 0.0 => write!(f, "{rate}/s")?,
            Shape::Constant => f.write_str("as fast as answered")?,
            Shape::Ramp => write!(f, "ramp from {rate}/s to {to}/s")?,
            Shape::Step => {
                let (steps, each) = (self.steps.unwrap_or_default(), self.step_duration.unwrap_or_default());
                write!(f, "{steps} steps of {each:?} from {rate}/s to {to}/s")?;
            }
            Shape::Burst => {
                let (high, every) = (self.burst_rate.unwrap_or_default(), self.burst_every.unwrap_or_default());
                let burst = self.burst_duration.unwrap_or_default();
                write!(f, "{rate}/s, and {high}/s for {burst:?} every {every:?}")?;
            }
        }
        match (self.duration, self.count) {
            (Some(duration), _) => write!(f, ", for {duration:?}")?,
            (None, Some(count)) => write!(f, ", {count} events")?,
            _ => {}
        }
        if self.warmup.is_zero() { Ok(()) } else { write!(f, ", after a warm-up of {:?}", self.warmup) }
    }
}

impl Profile {
    fn push(&mut self, from: f64, to: f64, seconds: f64) {
        if seconds > 0.0 {
            self.spans.push(Span { from, to, begins: self.seconds(), seconds, before: self.area() });
        }
    }

    fn seconds(&self) -> f64 {
        self.spans.last().map_or(0.0, |span| span.begins + span.seconds)
    }

    fn area(&self) -> f64 {
        self.spans.last().map_or(0.0, |span| span.before + f64::midpoint(span.from, span.to) * span.seconds)
    }

    /// Events to send, those of the warm-up included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Events of the warm-up: the first ones.
    pub fn warm_events(&self) -> u64 {
        self.warm_events
    }

    /// How long all of it takes, if the target keeps up.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds())
    }

    /// When event `index` is meant to be sent, since the start.
    pub fn intended(&self, index: u64) -> Duration {
        let index = as_float(index);
        let at = self.spans.partition_point(|span| span.before <= index).saturating_sub(1);
        let Some(span) = self.spans.get(at) else { return Duration::ZERO };
        let (events, slope) = (index - span.before, (span.to - span.from) / span.seconds);
        // from·x + slope/2·x² = events, in the form that is exact when the slope is nothing.
        let root = (span.from * span.from + 2.0 * slope * events).max(0.0).sqrt();
        let within = if events > 0.0 { 2.0 * events / (span.from + root) } else { 0.0 };
        Duration::from_secs_f64(span.begins + within.min(span.seconds))
    }

    /// Events meant to be sent before `second`.
    pub fn events_before(&self, second: f64) -> f64 {
        let at = self.spans.partition_point(|span| span.begins <= second).saturating_sub(1);
        let Some(span) = self.spans.get(at) else { return 0.0 };
        let x = (second - span.begins).clamp(0.0, span.seconds);
        span.before + span.from * x + (span.to - span.from) / span.seconds * x * x / 2.0
    }

    /// The highest rate at any time.
    pub fn highest_rate(&self) -> f64 {
        self.spans.iter().map(|span| span.from.max(span.to)).fold(0.0, f64::max)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
fn whole(events: f64) -> u64 {
    events.round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "an index stays far below 2^52")]
fn as_float(index: u64) -> f64 {
    index as f64
}

#[cfg(test)]
mod tests {
    use super::{Shape, Wanted};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn constant() -> Wanted {
        Wanted { rate: 100.0, duration: Some(SECOND * 10), ..Wanted::default() }
    }

    fn ramp() -> Wanted {
        Wanted { shape: Shape::Ramp, to_rate: Some(300.0), ..constant() }
    }

    fn step() -> Wanted {
        let (steps, step_duration) = (Some(3), Some(SECOND * 2));
        Wanted { shape: Shape::Step, to_rate: Some(300.0), steps, step_duration, duration: None, ..constant() }
    }

    fn burst() -> Wanted {
        let (burst_every, burst_duration) = (Some(SECOND * 4), Some(SECOND));
        Wanted { shape: Shape::Burst, burst_rate: Some(1000.0), burst_every, burst_duration, ..constant() }
    }

    #[test]
    fn each_shape_makes_the_events_that_it_should_when_it_should() {
        // Index and milliseconds. Bursts of 1 s begin at 3 s and 7 s.
        for (name, wanted, count, times) in [
            ("constant", constant(), 1000, vec![(0, 0), (1, 10), (500, 5000), (999, 9990)]),
            ("few", Wanted { count: Some(7), duration: None, ..constant() }, 7, vec![(6, 60)]),
            // 100 t + 10 t²
            ("ramp", ramp(), 2000, vec![(0, 0), (110, 1000), (750, 5000), (1710, 9000)]),
            ("falling", Wanted { rate: 300.0, to_rate: Some(100.0), ..ramp() }, 2000, vec![(290, 1000), (1250, 5000)]),
            ("step", step(), 1200, vec![(199, 1990), (200, 2000), (201, 2005), (600, 4000), (1199, 5997)]),
            ("one step", Wanted { steps: Some(1), ..step() }, 200, vec![(100, 1000)]),
            ("burst", burst(), 2800, vec![(299, 2990), (300, 3000), (310, 3010), (1300, 4000), (1400, 5000)]),
            ("warm", Wanted { warmup: SECOND, ..ramp() }, 2100, vec![(100, 1000), (210, 2000)]),
        ] {
            let profile = wanted.profile().unwrap();
            assert_eq!(profile.count(), count, "{name}");
            for (index, ms) in times {
                let is = profile.intended(index).as_secs_f64();
                assert!((is * 1000.0 - f64::from(ms)).abs() < 1.0, "{name}: event {index} at {is} s, not {ms} ms");
            }
        }
    }

    #[test]
    fn time_never_goes_back_and_agrees_with_the_area() {
        for wanted in [constant(), ramp(), step(), burst(), Wanted { warmup: Duration::from_millis(250), ..burst() }] {
            let profile = wanted.profile().unwrap();
            let mut last = Duration::ZERO;
            for index in 0..profile.count() {
                let at = profile.intended(index);
                assert!(at >= last && at <= profile.duration(), "{wanted:?}: {index}");
                let area = profile.events_before(at.as_secs_f64());
                assert!((area - super::as_float(index)).abs() < 0.01, "{wanted:?}: {index} but {area}");
                last = at;
            }
        }
    }

    #[test]
    fn what_is_lacking_is_named() {
        for (wanted, word) in [
            (Wanted { duration: None, ..constant() }, "--count or --duration"),
            (Wanted { to_rate: None, ..ramp() }, "--to-rate"),
            (Wanted { count: Some(1), ..ramp() }, "no --count"),
            (Wanted { steps: Some(0), ..step() }, "--steps (1 or more)"),
            (Wanted { duration: Some(SECOND), ..step() }, "neither --duration"),
            (Wanted { burst_rate: None, ..burst() }, "--burst-rate"),
            (Wanted { burst_duration: Some(SECOND * 4), ..burst() }, "below --burst-every"),
            (Wanted { rate: 0.0, ..ramp() }, "--rate above 0"),
        ] {
            assert!(wanted.profile().unwrap_err().contains(word), "{wanted:?}");
        }
    }
}
