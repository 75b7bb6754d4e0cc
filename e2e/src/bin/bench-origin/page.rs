//! The figures on one page. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// What one of the two did in one kind of trouble.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) what: String,
    pub(crate) trouble: String,
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    pub(crate) arrived: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) p99_by_second: Vec<f64>,
    pub(crate) failed_by_second: Vec<u64>,
    /// When the status first said that something is wrong; never for who has none.
    pub(crate) warning: Option<Warning>,
}

/// What the status said first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Warning {
    pub(crate) after_seconds: f64,
    pub(crate) said: String,
}

impl Measured {
    /// Events that the producer was never answered 202 for, in percent.
    fn errors(&self) -> f64 {
        share(self.sent.saturating_sub(self.accepted), self.sent)
    }

    /// The first second in which a request failed.
    fn first_failure(&self) -> Option<usize> {
        self.failed_by_second.iter().position(|failed| *failed > 0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of events stay far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// Progress.
pub(crate) fn line(measured: &Measured) -> String {
    let Measured { p50_ms, p99_ms, max_ms, .. } = measured;
    format!("errors {:.2} %, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.0} ms", measured.errors())
}

/// A table, what was said first, and a plot with a row for each; of producers that have so much patience when a region is
/// lost.
pub(crate) fn page(all: &[Measured], patience: Duration) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, all, patience);
    page
}

fn write_page(page: &mut String, all: &[Measured], patience: Duration) -> std::fmt::Result {
    writeln!(page, "\nOne plain dispatcher, and a fleet in two regions: the same load, sink and faults\n")?;
    writeln!(page, "| trouble | who | sent | errors | p50 | p99 | longest | accepted and not arrived |")?;
    writeln!(page, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
    for measured in all {
        let Measured { what, trouble, sent, accepted, arrived, p50_ms, p99_ms, max_ms, .. } = measured;
        let missing = accepted.saturating_sub(*arrived);
        let errors = measured.errors();
        writeln!(
            page,
            "| {trouble} | {what} | {sent} | {errors:.2} % | {p50_ms:.1} ms | {p99_ms:.1} ms | {max_ms:.0} ms | {missing} |"
        )?;
    }
    writeln!(
        page,
        "\n  When a region is lost, producers wait {} s for an answer, and try again until their event is accepted.\n",
        patience.as_secs_f64()
    )?;
    for pair in all.chunks_exact(2) {
        if let [plain, fleet] = pair {
            let lower = 100.0 - fleet.p99_ms * 100.0 / plain.p99_ms.max(f64::MIN_POSITIVE);
            writeln!(
                page,
                "  {}: p99 {lower:.0} % lower, errors {:.2} % -> {:.2} %",
                plain.trouble,
                plain.errors(),
                fleet.errors()
            )?;
            match (&fleet.warning, plain.first_failure()) {
                (Some(warning), failed) => {
                    let failed = failed.map_or_else(|| "never".to_owned(), |second| format!("in second {second}"));
                    writeln!(page, "    told after {:.1} s: {}", warning.after_seconds, warning.said)?;
                    writeln!(page, "    the plain dispatcher turned somebody away first {failed}, and told nobody")?;
                }
                (None, _) => writeln!(page, "    the status had nothing to tell")?,
            }
        }
    }
    writeln!(
        page,
        "\n  p99 by second, ░ from 10 ms, ▒ from 100 ms, ▓ from 1 s, █ from 5 s or where requests failed\n"
    )?;
    for measured in all {
        writeln!(page, "  {:<6} {}  {}", measured.what, row(measured), measured.trouble)?;
    }
    Ok(())
}

fn row(measured: &Measured) -> String {
    let failed = measured.failed_by_second.iter().chain(std::iter::repeat(&0));
    let shade = |(p99, failed): (&f64, &u64)| match (*failed, *p99) {
        (1.., _) => '█',
        (0, p99) if p99 >= 5_000.0 => '█',
        (0, p99) if p99 >= 1_000.0 => '▓',
        (0, p99) if p99 >= 100.0 => '▒',
        (0, p99) if p99 >= 10.0 => '░',
        _ => '·',
    };
    measured.p99_by_second.iter().zip(failed).map(shade).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_are_compared_and_drawn() {
        let plain = Measured {
            what: "plain".to_owned(),
            trouble: "trouble".to_owned(),
            sent: 1_000,
            accepted: 975,
            arrived: 975,
            p99_ms: 1_000.0,
            p99_by_second: vec![1.0, 50.0, 500.0, 2_000.0, 1.0],
            failed_by_second: vec![0, 0, 0, 0, 25],
            ..Measured::default()
        };
        let warning = Some(Warning { after_seconds: 2.5, said: "bottleneck Sink".to_owned() });
        let fleet = Measured {
            what: "fleet".to_owned(),
            accepted: 1_000,
            arrived: 999,
            p99_ms: 50.0,
            warning,
            ..plain.clone()
        };
        let page = page(&[plain, fleet], Duration::from_millis(1_500));
        assert!(page.contains("| trouble | plain | 1000 | 2.50 % |") && page.contains("| 1 |"), "{page}");
        assert!(page.contains("p99 95 % lower, errors 2.50 % -> 0.00 %"), "{page}");
        assert!(page.contains("told after 2.5 s: bottleneck Sink") && page.contains("in second 4"), "{page}");
        assert!(page.contains("·░▒▓█") && page.contains("producers wait 1.5 s"), "{page}");
    }
}
