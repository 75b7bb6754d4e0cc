//! The figures on one page. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use signalbox_e2e::LoadResult;

use crate::looks::Judged;

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
    /// Of a relapse, what the region had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) relapse: Option<Relapse>,
    /// Of a region that is lost, what became of those that stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<Judged>,
}

impl Injection {
    /// What was measured, and what producers noticed of it.
    pub(crate) fn of(seconds: Option<f64>, sent: &LoadResult) -> Self {
        let failed_tries = sent.rejected.values().chain(sent.errors.values()).sum();
        Self { seconds, sent: sent.sent, refused: sent.sent - sent.accepted, failed_tries, relapse: None, loss: None }
    }
}

/// What a region had that failed again while it came back.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Relapse {
    /// The part of its share that it was to have, in percent.
    pub(crate) percent: u32,
    /// That as a share of everything, in percent.
    pub(crate) share: f64,
    /// Events that arrived at its sink while it was to have that, before the relapse.
    pub(crate) had: u64,
    /// Events that arrived at all sinks meanwhile.
    pub(crate) of: u64,
    /// Attempts at its sink that failed, from the relapse until it was Tripped again.
    pub(crate) failed: u64,
    /// Events of this share in the shortest time that the step takes.
    pub(crate) traffic: f64,
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
            "| {what} | {} | {} | {} | {} | {} | {sent} | {refused} ({:.3} %) | {} | 0 |",
            injections.len(),
            seconds.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            share(refused, sent),
            sum(|one| one.failed_tries),
        )?;
    }
    write_relapses(page, all)?;
    write_losses(page, all)
}

/// A row for each step of the ramp.
fn write_relapses(page: &mut String, all: &[Measured]) -> std::fmt::Result {
    let mut steps: BTreeMap<u32, Vec<&Relapse>> = BTreeMap::new();
    for relapse in all.iter().flat_map(|part| &part.injections).filter_map(|injection| injection.relapse.as_ref()) {
        steps.entry(relapse.percent).or_default().push(relapse);
    }
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nA region that fails again at a step of its ramp\n")?;
    writeln!(
        page,
        "| step | relapses | share of the step | share that it had | most in one relapse | failed attempts, most | one step's traffic |"
    )?;
    writeln!(page, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for (percent, relapses) in steps {
        let (had, of) = relapses.iter().fold((0, 0), |(had, of), one| (had + one.had, of + one.of));
        let most = relapses.iter().map(|one| share(one.had, one.of)).fold(0.0, f64::max);
        let failed = relapses.iter().map(|one| one.failed).max().unwrap_or(0);
        let (allowed, traffic) = relapses.first().map_or((0.0, 0.0), |one| (one.share, one.traffic));
        writeln!(
            page,
            "| {percent} % | {} | {allowed:.1} % | {:.1} % ({had} of {of}) | {most:.1} % | {failed} | {traffic:.0} |",
            relapses.len(),
            share(had, of),
        )?;
    }
    Ok(())
}

/// What the regions that stay had to bear, at worst.
fn write_losses(page: &mut String, all: &[Measured]) -> std::fmt::Result {
    let losses: Vec<&Judged> =
        all.iter().flat_map(|part| &part.injections).filter_map(|injection| injection.loss.as_ref()).collect();
    if losses.is_empty() {
        return Ok(());
    }
    let most = |of: fn(&Judged) -> f64| losses.iter().map(|loss| of(loss)).fold(0.0, f64::max);
    writeln!(page, "\nRegions that stay when one of three is lost, at worst\n")?;
    writeln!(page, "| p99 before | p99 after | arrival, of what is ready | for so long above that |")?;
    writeln!(page, "| --- | --- | --- | --- |")?;
    writeln!(
        page,
        "| {:.0} ms | {:.0} ms | {:.0} % | {:.0} s |",
        most(|loss| loss.before_ms),
        most(|loss| loss.worst_ms),
        most(|loss| loss.busiest) * 100.0,
        most(|loss| loss.above_seconds),
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts of events stay far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
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
        let one = |seconds| Injection { seconds, sent: 1_000, refused: 1, failed_tries: 7, relapse: None, loss: None };
        let cut = Measured { what: "cut".to_owned(), injections: vec![one(Some(2.0)), one(Some(1.0))] };
        let blip = Measured { what: "blip".to_owned(), injections: vec![one(None)] };
        let page = page(&[cut, blip]);
        assert!(page.contains("| cut | 2 | 2 | 1.00 s | 2.00 s | 2.00 s | 2000 | 2 (0.100 %) | 14 | 0 |"), "{page}");
        assert!(page.contains("| blip | 1 | 0 | - | - | - |"), "{page}");
    }

    #[test]
    fn relapses_are_told_by_step() {
        let one = |percent, had, failed| Injection {
            seconds: Some(4.0),
            sent: 1_000,
            refused: 0,
            failed_tries: 0,
            relapse: Some(Relapse { percent, share: 9.1, had, of: 300, failed, traffic: 45.5 }),
            loss: None,
        };
        let relapses =
            Measured { what: "again".to_owned(), injections: vec![one(10, 27, 5), one(50, 90, 9), one(10, 24, 7)] };
        let page = page(&[relapses]);
        assert!(page.contains("| 10 % | 2 | 9.1 % | 8.5 % (51 of 600) | 9.0 % | 7 | 46 |"), "{page}");
        assert!(page.contains("| 50 % | 1 |"), "{page}");
    }

    #[test]
    fn of_regions_that_stay_the_worst_is_told() {
        let one = |before_ms, busiest| {
            let judged = Judged {
                normal: Some(9.0),
                before_ms,
                worst_ms: 5_000.0,
                busiest,
                above_seconds: busiest * 4.0,
                course: vec![],
            };
            let (seconds, loss) = (judged.normal, Some(judged));
            Injection { seconds, sent: 1_000, refused: 0, failed_tries: 0, relapse: None, loss }
        };
        let page = page(&[Measured { what: "lost".to_owned(), injections: vec![one(200.0, 0.9), one(150.0, 1.25)] }]);
        assert!(page.contains("| 200 ms | 5000 ms | 125 % | 5 s |"), "{page}");
        assert!(page.contains("| lost | 2 | 2 | 9.00 s |"), "{page}");
    }
}
