//! The figures on one page. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::spikes::quantile;

/// The times of one who scales, in seconds, in the order of the spikes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) what: String,
    pub(crate) seconds: Vec<f64>,
}

/// Width of the plot, in characters.
const WIDTH: usize = 60;

/// The table, and below it a plot with a row for each: where its times are between 0 and the longest of all.
pub(crate) fn page(all: &[Measured]) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, all);
    page
}

fn write_page(page: &mut String, all: &[Measured]) -> std::fmt::Result {
    writeln!(page, "\nFrom a spike of the backlog to more replicas, at the API server\n")?;
    writeln!(page, "| who scales | spikes | p50 | p90 | p99 | longest |\n| --- | --- | --- | --- | --- | --- |")?;
    let mut longest = f64::MIN_POSITIVE;
    for Measured { what, seconds } in all {
        let mut sorted = seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share| quantile(&sorted, share).map_or_else(|_| "-".to_owned(), |seconds| format!("{seconds:.2} s"));
        writeln!(page, "| {what} | {} | {} | {} | {} | {} |", sorted.len(), at(0.5), at(0.9), at(0.99), at(1.0))?;
        longest = sorted.last().copied().unwrap_or(0.0).max(longest);
    }
    writeln!(page)?;
    for Measured { what, seconds } in all {
        writeln!(page, "  {what:<26} {}", row(seconds, longest))?;
    }
    writeln!(page, "  {:<26} 0 s{:>width$}", "", format!("{longest:.1} s"), width = WIDTH - 3)
}

/// One character for each part of the time: the darker, the more spikes were answered in it.
fn row(seconds: &[f64], longest: f64) -> String {
    let mut counts = [0_usize; WIDTH];
    for time in seconds {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let at = (time / longest * WIDTH as f64) as usize;
        counts[at.min(WIDTH - 1)] += 1;
    }
    let most = counts.iter().max().copied().unwrap_or(1).max(1);
    let shade = |count: usize| match (count, count * 4 / most) {
        (0, _) => '·',
        (_, 0) => '░',
        (_, 1) => '▒',
        (_, 2 | 3) => '▓',
        (_, _) => '█',
    };
    counts.into_iter().map(shade).collect()
}

#[cfg(test)]
mod tests {
    use super::{Measured, WIDTH, page, row};

    #[test]
    fn quantiles_and_a_row_for_each() {
        let fast = Measured { what: "fast".to_owned(), seconds: vec![0.1, 0.2, 0.3, 0.4] };
        let slow = Measured { what: "slow".to_owned(), seconds: vec![10.0] };
        let page = page(&[fast, slow]);
        assert!(page.contains("| fast | 4 | 0.20 s | 0.40 s | 0.40 s | 0.40 s |"), "{page}");
        assert!(page.contains("| slow | 1 | 10.00 s |"), "{page}");
        assert!(page.contains("0 s") && page.contains("10.0 s"), "{page}");
    }

    #[test]
    fn a_row_shows_where_the_times_are() {
        let row: Vec<char> = row(&[0.0, 0.0, 0.0, 0.0, 10.0], 10.0).chars().collect();
        assert_eq!((row.len(), row[0], row[1], row[WIDTH - 1]), (WIDTH, '█', '·', '▒'));
    }
}
