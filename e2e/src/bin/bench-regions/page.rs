//! The figures on one page. Pure.

use std::fmt::Write as _;

use serde::Serialize;

/// What one injection came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Injection {
    /// What was measured, in seconds; nothing if it did not happen.
    pub(crate) seconds: Option<f64>,
    /// Events that were sent meanwhile.
    pub(crate) sent: u64,
    /// Of them, those that were not accepted at the second try either.
    pub(crate) refused: u64,
    /// Requests that failed, first tries included.
    pub(crate) failed_tries: u64,
}

/// All injections of one part. All events that were accepted arrived, or it would not be here.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) what: String,
    pub(crate) injections: Vec<Injection>,
}

/// A table with a row for each part.
pub(crate) fn page(all: &[Measured]) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, all);
    page
}

fn write_page(page: &mut String, all: &[Measured]) -> std::fmt::Result {
    writeln!(page, "\nRegions that fail\n")?;
    writeln!(
        page,
        "| what | injections | happened | p50 | p99 | longest | events sent | not accepted with one retry | failed first tries | lost |"
    )?;
    writeln!(page, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
    for Measured { what, injections } in all {
        let mut seconds: Vec<f64> = injections.iter().filter_map(|injection| injection.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let at = |share| quantile(&seconds, share).map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"));
        let sum = |of: fn(&Injection) -> u64| injections.iter().map(of).sum::<u64>();
        let (sent, refused) = (sum(|one| one.sent), sum(|one| one.refused));
        writeln!(
            page,
            "| {what} | {} | {} | {} | {} | {} | {sent} | {refused} ({}) | {} | 0 |",
            injections.len(),
            seconds.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            percent(refused, sent),
            sum(|one| one.failed_tries),
        )?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of events stay far below 2^52")]
fn percent(part: u64, whole: u64) -> String {
    format!("{:.3} %", part as f64 * 100.0 / whole.max(1) as f64)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = ((sorted.len() as f64 * share).ceil() as usize).max(1) - 1;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_has_no_time_and_is_not_counted() {
        let one = |seconds| Injection { seconds, sent: 1_000, refused: 1, failed_tries: 7 };
        let cut = Measured { what: "cut".to_owned(), injections: vec![one(Some(2.0)), one(Some(1.0))] };
        let blip = Measured { what: "blip".to_owned(), injections: vec![one(None)] };
        let page = page(&[cut, blip]);
        assert!(page.contains("| cut | 2 | 2 | 1.00 s | 2.00 s | 2.00 s | 2000 | 2 (0.100 %) | 14 | 0 |"), "{page}");
        assert!(page.contains("| blip | 1 | 0 | - | - | - |"), "{page}");
    }
}
