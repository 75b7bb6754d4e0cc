//! How the figures are told: a table for people and documents, JSON for programs, a page with plots.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::figure::{Figure, Goal, number};
use crate::machine::Machine;

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Options {
    pub(crate) seconds: u64,
    pub(crate) runs: usize,
    pub(crate) connections: u64,
}

/// All that came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) machine: Machine,
    pub(crate) options: Options,
    pub(crate) figures: Vec<Figure>,
    pub(crate) failures: Vec<String>,
}

/// The result, on stdout.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// What goes on meanwhile, on stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn verdict(figure: &Figure) -> &'static str {
    match figure.reached() {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "",
    }
}

impl Outcome {
    fn conditions(&self) -> String {
        let Machine { processor, cores, memory_gib, kernel, filesystem, load_before } = &self.machine;
        let Options { seconds, runs, connections } = &self.options;
        format!(
            "{processor}, {cores} cores, {memory_gib:.0} GiB, Linux {kernel}, {filesystem}; load of others before: \
             {load_before:.2}. Median of {runs}, {seconds} s each, {connections} connections."
        )
    }

    /// A table in Markdown, which is readable as it is.
    pub(crate) fn table(&self) -> String {
        let header =
            ["scenario", "figure", "measured", "goal", "reached", "beside, in the same run"].map(str::to_owned);
        let row = |figure: &Figure| {
            [
                figure.scenario.to_owned(),
                figure.what.clone(),
                figure.value_text(),
                figure.goal_text(),
                verdict(figure).to_owned(),
                figure.beside_text(),
            ]
        };
        let rows: Vec<_> = std::iter::once(header).chain(self.figures.iter().map(row)).collect();
        let widths: Vec<usize> =
            (0..6).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(3)).collect();
        let mut text = self.conditions();
        text.push_str("\n\n");
        for (at, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if at == 0 {
                for width in &widths {
                    let _ = write!(text, "| {:-<width$} ", "");
                }
                text.push_str("|\n");
            }
        }
        for failure in &self.failures {
            let _ = writeln!(text, "\nNot measured: {failure}");
        }
        text.trim_end().to_owned()
    }

    /// A page that needs nothing else: a bar for each number, for its goal, and for what stands beside it.
    pub(crate) fn page(&self) -> String {
        let mut text = format!(
            "<!doctype html><meta charset=\"utf-8\"><title>Signalbox dispatcher: figures</title>\n<style>\
             body{{font:15px system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}}h3{{margin:1.4rem 0 .2rem}}\
             text{{font:12px system-ui}}.missed{{color:#b3261e}}</style>\n<h1>Figures of the dispatcher</h1><p>{}</p>\n",
            escape(&self.conditions())
        );
        for figure in &self.figures {
            let class = if figure.reached() == Some(false) { " class=\"missed\"" } else { "" };
            let _ = writeln!(
                text,
                "<h3{class}>{}: {} &mdash; {}{}</h3>",
                figure.scenario,
                escape(&figure.what),
                escape(&figure.value_text()),
                if class.is_empty() { "" } else { ", goal missed" }
            );
            text.push_str(&bars(figure));
        }
        for failure in &self.failures {
            let _ = writeln!(text, "<p class=\"missed\">Not measured: {}</p>", escape(failure));
        }
        text
    }
}

fn bars(figure: &Figure) -> String {
    let mut rows = vec![("measured".to_owned(), figure.value, "#3367d6")];
    match figure.goal {
        Some(Goal::AtMost(goal)) => rows.push(("goal: at most".to_owned(), goal, "#9aa0a6")),
        Some(Goal::AtLeast(goal)) => rows.push(("goal: at least".to_owned(), goal, "#9aa0a6")),
        None => {}
    }
    rows.extend(figure.beside.iter().map(|beside| (beside.what.clone(), beside.value, "#e8a33d")));
    let longest = rows.iter().map(|row| row.1).fold(f64::MIN_POSITIVE, f64::max);
    let mut text = format!("<svg width=\"860\" height=\"{}\" role=\"img\">", rows.len() * 22);
    for (at, (what, value, colour)) in rows.iter().enumerate() {
        let (y, width) = (at * 22, value / longest * 480.0);
        let _ = write!(
            text,
            "<text x=\"210\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"220\" y=\"{}\" width=\"{width:.1}\" \
             height=\"16\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{} {}</text>",
            y + 14,
            escape(what),
            y + 2,
            226.0 + width,
            y + 14,
            number(*value),
            escape(figure.unit)
        );
    }
    text.push_str("</svg>\n");
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Options, Outcome};
    use crate::figure::Figure;
    use crate::machine::Machine;
    use std::path::Path;

    #[test]
    fn a_missed_goal_shows_in_the_table_and_on_the_page() {
        let figure = Figure::new("ingest", "CPU <per> event", 30.0, "us").at_most(25.0).beside("bare server", 10.0);
        let outcome = Outcome {
            machine: Machine::read(Path::new("/")),
            options: Options { seconds: 1, runs: 3, connections: 4 },
            figures: vec![figure],
            failures: vec!["peer: no go".to_owned()],
        };
        let (table, page) = (outcome.table(), outcome.page());
        assert!(table.contains("| 30 us    | <= 25 | **no**  | bare server 10 (x 3.00) "), "{table}");
        assert!(table.contains("Median of 3") && table.contains("Not measured: peer"));
        assert!(page.contains("CPU &lt;per&gt; event") && page.contains("goal missed") && page.contains("<svg"));
    }
}
