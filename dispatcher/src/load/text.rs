//! A report as text, for people. Pure.

use std::fmt;

use super::profile::Shape;
use super::report::{LatencyMs, Report};
use super::search::{Found, Trial};

/// Most marks of a sparkline: a longer run is drawn with fewer.
const MARKS: usize = 60;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = &self.parameters;
        writeln!(f, "target     {}", wanted.target)?;
        writeln!(f, "schedule   {}", wanted.schedule)?;
        let how = if wanted.batch > 1 { format!("in batches of {}", wanted.batch) } else { "one a request".to_owned() };
        let tls = if wanted.tls { " with TLS" } else { "" };
        writeln!(
            f,
            "events     {} bytes, {} keys, {how}; {} connections, HTTP/{}{tls}",
            wanted.size, wanted.keys, wanted.connections, wanted.http
        )?;
        writeln!(f, "source     {}\n", self.source)?;
        writeln!(f, "sent       {} in {:.1} s", self.sent, self.elapsed_seconds)?;
        let asked = match (wanted.profile, self.target_rate) {
            (Shape::Constant, rate) if rate > 0.0 => format!(" of {} asked for", events(rate)),
            _ => String::new(),
        };
        writeln!(f, "accepted   {} ({}/s{asked})", self.accepted, events(self.achieved_rate))?;
        writeln!(f, "lacking    {}", self.not_accepted)?;
        for (status, count) in &self.rejected {
            writeln!(f, "answered {status}  {count}")?;
        }
        for (kind, count) in &self.errors {
            writeln!(f, "{kind} errors  {count}")?;
        }
        writeln!(f, "retries    {}", self.retries)?;
        if self.ended_early {
            writeln!(f, "the run was ended early")?;
        }
        writeln!(f, "\n{:<11}{:>9}{:>9}{:>9}{:>9}{:>9}", "ms", "p50", "p90", "p99", "p99.9", "max")?;
        row(f, "latency", &self.latency_ms)?;
        if self.target_rate > 0.0 {
            row(f, "own lag", &self.generator.lag_ms)?;
        }
        if self.intervals.len() > 1 {
            let line = |value: fn(&super::intervals::Interval) -> f64| {
                let values: Vec<f64> = self.intervals.iter().map(value).collect();
                let (least, most) = values.iter().fold((f64::MAX, 0.0_f64), |(l, m), &v| (l.min(v), m.max(v)));
                (sparkline(&values), least, most)
            };
            let (marks, least, most) = line(|interval| interval.accepted);
            writeln!(f, "\naccepted/s {marks}  {} to {}", events(least), events(most))?;
            let (marks, least, most) = line(|interval| interval.p99_ms);
            writeln!(f, "p99 ms     {marks}  {least:.2} to {most:.2}")?;
            if self.intervals.iter().any(|interval| interval.failed > 0) {
                #[expect(clippy::cast_precision_loss, reason = "a picture")]
                let (marks, least, most) = line(|interval| interval.failed as f64);
                writeln!(f, "failed     {marks}  {least:.0} to {most:.0}")?;
            }
        }
        let generator = &self.generator;
        write!(
            f,
            "\ngenerator  {:.1} us of CPU per event; connections busy {:.0} % of the time",
            generator.cpu_micros_per_event,
            generator.connections_busy * 100.0
        )?;
        if self.environment.debug_build {
            write!(f, "\nnote       this is a debug build: figures say little")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, latency: &LatencyMs) -> fmt::Result {
    let LatencyMs { p50, p90, p99, p999, max, .. } = latency;
    writeln!(f, "{name:<11}{p50:>9.2}{p90:>9.2}{p99:>9.2}{p999:>9.2}{max:>9.2}")
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.report.latency_ms;
        write!(
            f,
            "{:>9}/s {:>9}/s {:>9.2} {:>9.2} {:>9.2} {:>8}  {}",
            events(self.rate),
            events(self.report.achieved_rate),
            latency.p50,
            latency.p99,
            latency.max,
            self.report.not_accepted,
            self.verdict
        )
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>11} {:>11} {:>9} {:>9} {:>9} {:>8}",
            "offered", "accepted", "p50 ms", "p99 ms", "max ms", "lacking"
        )?;
        for trial in &self.trials {
            writeln!(f, "{trial}")?;
        }
        write!(f, "\n{}", self.answer)
    }
}

/// A rate as people read it.
pub(super) fn events(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// Bars from nothing to the highest value. Of several values that share a mark, the worst that may be: the highest.
fn sparkline(values: &[f64]) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        let at = BARS.iter().zip(1_u8..).find(|(_, step)| value <= most * f64::from(*step) / 8.0);
        at.map_or('█', |(bar, _)| *bar)
    };
    values.chunks(values.len().div_ceil(MARKS).max(1)).map(|of| bar(of.iter().copied().fold(0.0, f64::max))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::imagined;
    use super::sparkline;

    #[test]
    fn a_sparkline_is_short_and_keeps_the_peaks() {
        assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0]), "▁▁▄█");
        assert_eq!(sparkline(&[0.0, 0.0]), "▁▁");
        let mut long = vec![1.0; 600];
        long[333] = 100.0;
        let line = sparkline(&long);
        assert_eq!((line.chars().count(), line.matches('█').count()), (60, 1));
    }

    #[test]
    fn the_text_says_what_was_refused() {
        let text = imagined(1000).to_string();
        for words in ["answered 429  20", "accepted   980 (98/s)", "lacking    20", "failed", "p99.9"] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }
}
