//! A run or a search as a page. Pure.

use std::fmt::Write as _;

use super::html::{card, escape, page, table};
use super::intervals::Interval;
use super::plot::{Across, Plot, Series, Style, number};
use super::report::Report;
use super::search::{Found, Verdict};
use super::text::events;

/// The page of one run.
pub(super) fn of_run(report: &Report) -> String {
    let mut body = String::from("<h1>Load test</h1>\n");
    let _ = writeln!(
        body,
        r#"<p class="soft">{}, to <code>{}</code>, {}</p>"#,
        escape(&report.parameters.schedule),
        escape(&report.parameters.target),
        escape(&report.environment.date)
    );
    figures(&mut body, report);
    page("Load test", &body)
}

/// The page of a search: all trials, and the figures of the one that is the answer.
pub(super) fn of_search(found: &Found) -> String {
    let mut body = String::from("<h1>Highest rate</h1>\n");
    let last = found.trials.last().map(|trial| &trial.report);
    if let Some(report) = last {
        let _ = writeln!(
            body,
            r#"<p class="soft">{}, at <code>{}</code>, {}</p>"#,
            escape(&found.objective.to_string()),
            escape(&report.parameters.target),
            escape(&report.environment.date)
        );
    }
    let _ = writeln!(body, "<p>{}</p>", escape(&found.answer));
    let points = |good: bool| {
        let of = found.trials.iter().filter(|trial| (trial.verdict == Verdict::Good) == good);
        of.map(|trial| (trial.rate, found.objective.of(&trial.report))).collect::<Vec<_>>()
    };
    let highest = found.trials.iter().map(|trial| trial.rate).fold(0.0, f64::max);
    let plot = Plot {
        title: "Latency by rate",
        x: "offered, events per second",
        y: "ms",
        across: Across::Number,
        series: vec![
            series("objective", "b", Style::Dashed, vec![(0.0, found.objective.ms), (highest, found.objective.ms)]),
            series("good", "ok", Style::Points, points(true)),
            series("not good", "no", Style::Points, points(false)),
        ],
    };
    body.push_str(&plot.render());
    body.push_str(
        "<h2>Trials</h2>\n<table class=\"trials\"><thead><tr><th>offered /s</th><th>accepted /s</th><th>p50 ms</th>\
         <th>p99 ms</th><th>max ms</th><th>lacking</th><th>verdict</th></tr></thead><tbody>\n",
    );
    for trial in &found.trials {
        let latency = &trial.report.latency_ms;
        let class = if trial.verdict == Verdict::Good { "good" } else { "bad" };
        let _ = writeln!(
            body,
            "<tr class=\"{class}\"><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td>\
             <td>{}</td></tr>",
            events(trial.rate),
            events(trial.report.achieved_rate),
            latency.p50,
            latency.p99,
            latency.max,
            trial.report.not_accepted,
            trial.verdict
        );
    }
    body.push_str("</tbody></table>\n");
    let answer =
        found.trials.iter().rev().find(|trial| trial.verdict == Verdict::Good && Some(trial.rate) == found.rate);
    if let Some(trial) = answer {
        let _ = writeln!(body, "<h2>At {}/s</h2>", events(trial.rate));
        figures(&mut body, &trial.report);
    } else if let Some(report) = last {
        let _ = writeln!(body, "<h2>The last trial</h2>");
        figures(&mut body, report);
    }
    page("Highest rate", &body)
}

fn figures(body: &mut String, report: &Report) {
    let latency = &report.latency_ms;
    let failed = if report.not_accepted == 0 { "good" } else { "bad" };
    let _ = writeln!(
        body,
        "<div class=\"cards\">{}{}{}{}</div>",
        card(&format!("{}/s", number(report.achieved_rate)), "accepted", ""),
        card(&format!("{} ms", number(latency.p50)), "p50 latency", ""),
        card(&format!("{} ms", number(latency.p99)), "p99 latency", ""),
        card(&report.not_accepted.to_string(), &format!("of {} events not accepted", report.sent), failed)
    );
    for plot in plots(report) {
        body.push_str(&plot.render());
    }
    body.push_str("<h2>Figures</h2>\n");
    body.push_str(&table(&results(report)));
    body.push_str("<h2>What was asked for</h2>\n");
    body.push_str(&table(&asked(report)));
    body.push_str("<h2>Where</h2>\n");
    body.push_str(&table(&place(report)));
}

fn series(name: &'static str, class: &'static str, style: Style, points: Vec<(f64, f64)>) -> Series {
    Series { name, class, style, points }
}

fn plots(report: &Report) -> Vec<Plot> {
    let over_time = |value: fn(&Interval) -> f64| -> Vec<(f64, f64)> {
        report.intervals.iter().map(|interval| (interval.second + interval.seconds / 2.0, value(interval))).collect()
    };
    let of = |title, y, series| Plot { title, x: "seconds since the warm-up", y, across: Across::Number, series };
    let mut rates = Vec::new();
    if report.target_rate > 0.0 {
        rates.push(series("offered", "b", Style::Dashed, over_time(|interval| interval.offered)));
    }
    rates.push(series("accepted", "a", Style::Line, over_time(|interval| interval.accepted)));
    let latencies = vec![
        series("max", "e", Style::Line, over_time(|interval| interval.max_ms)),
        series("p99", "d", Style::Line, over_time(|interval| interval.p99_ms)),
        series("p50", "c", Style::Line, over_time(|interval| interval.p50_ms)),
    ];
    let curve = report.latency_curve.iter().map(|&(share, ms)| (-(1.0 - share).log10(), ms)).collect();
    let mut plots = vec![
        of("Rate over time", "events per second", rates),
        of("Latency over time", "ms", latencies),
        Plot {
            title: "Latency by percentile",
            x: "share of the events accepted within",
            y: "ms",
            across: Across::Nines,
            series: vec![series("latency", "a", Style::Line, curve)],
        },
    ];
    if report.intervals.iter().any(|interval| interval.failed > 0) {
        #[expect(clippy::cast_precision_loss, reason = "a picture")]
        let failed = over_time(|interval| interval.failed as f64);
        plots.push(of("Failures over time", "requests", vec![series("not accepted", "no", Style::Bars, failed)]));
    }
    plots
}

fn results(report: &Report) -> Vec<(&'static str, String)> {
    let (latency, lag) = (&report.latency_ms, &report.generator.lag_ms);
    let mut rows = vec![
        ("sent", format!("{} events in {:.1} s", report.sent, report.elapsed_seconds)),
        ("accepted", format!("{} events, {}/s after the warm-up", report.accepted, events(report.achieved_rate))),
        ("sent again", format!("{} requests", report.retries)),
        (
            "latency, ms",
            format!(
                "p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}, of {} events, counted from when each was \
                 meant to be sent",
                latency.p50, latency.p90, latency.p99, latency.p999, latency.max, latency.samples
            ),
        ),
    ];
    let failures = report.rejected.iter().map(|(status, count)| format!("{count} answered {status}"));
    let failures: Vec<String> =
        failures.chain(report.errors.iter().map(|(kind, count)| format!("{count} {kind}"))).collect();
    rows.push(("failures", if failures.is_empty() { "none".to_owned() } else { failures.join(", ") }));
    if report.target_rate > 0.0 {
        rows.push((
            "the generator's own lag, ms",
            format!("p50 {:.2}, p99 {:.2}, max {:.2}", lag.p50, lag.p99, lag.max),
        ));
    }
    rows.push((
        "the generator's CPU",
        format!(
            "{:.1} us an event, {:.1} s in all",
            report.generator.cpu_micros_per_event, report.generator.cpu_seconds
        ),
    ));
    rows.push(("connections busy", format!("{:.0} % of the time", report.generator.connections_busy * 100.0)));
    if report.ended_early {
        rows.push(("ended early", "yes: not everything was sent".to_owned()));
    }
    rows
}

fn asked(report: &Report) -> Vec<(&'static str, String)> {
    let wanted = &report.parameters;
    let tls = if wanted.tls { " with TLS" } else { "" };
    let at_once =
        if wanted.streams > 1 { format!(", {} requests at once on each", wanted.streams) } else { String::new() };
    vec![
        ("target", wanted.target.clone()),
        ("schedule", wanted.schedule.clone()),
        ("events", format!("{} bytes of data, {:?} mode, {} a request", wanted.size, wanted.mode, wanted.batch)),
        ("keys", wanted.keys.to_string()),
        ("connections", format!("{} of HTTP/{}{tls}{at_once}", wanted.connections, wanted.http)),
        ("source", report.source.clone()),
    ]
}

fn place(report: &Report) -> Vec<(&'static str, String)> {
    let here = &report.environment;
    let near = "yes, by its address: it and the generator took from each other";
    let mut rows = vec![
        ("processor", format!("{}, {} threads", here.cpu, here.cores)),
        ("kernel", here.kernel.clone()),
        ("generator", here.version.clone()),
        ("target on this machine", if here.co_located { near } else { "not by its address" }.to_owned()),
    ];
    if here.debug_build {
        rows.push(("note", "the generator is a debug build: figures say little".to_owned()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::report::tests::imagined;
    use super::super::search::{Search, Trial, judge};
    use super::{of_run, of_search};

    /// Fails unless every element that is opened is closed, in order.
    fn well_formed(page: &str) {
        let page = page.strip_prefix("<!DOCTYPE html>").unwrap();
        let mut open = Vec::new();
        let mut rest = page;
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "a stray > before {:.80}", &rest[at..]);
            let end = at + rest[at..].find('>').unwrap();
            let tag = &rest[at + 1..end];
            let name: String = tag.trim_start_matches('/').chars().take_while(|c| c.is_alphanumeric()).collect();
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "at {:.80}", &rest[at..]);
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "not closed: {open:?}");
    }

    /// Fails if a browser would load anything, or run anything.
    fn self_contained(page: &str) {
        for word in ["<script", "<link", "<img", "<iframe", "@import", "url(", "src=", "href=", "onload", "NaN", "inf"]
        {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn the_page_of_a_run_is_well_formed_and_needs_nothing_else() {
        for events in [0, 1, 1000] {
            let page = of_run(&imagined(events));
            well_formed(&page);
            self_contained(&page);
            assert!(page.contains("http://target/?a=&lt;b&gt;&amp;c") && page.contains("<svg"));
            assert_eq!(page.contains("Failures over time"), events == 1000);
        }
    }

    #[test]
    fn the_page_of_a_search_has_every_trial_and_the_answer() {
        let objective = "p99=20ms".parse().unwrap();
        let (mut search, mut trials) = (Search::new(100.0), Vec::new());
        let mut good = imagined(500);
        (good.not_accepted, good.rejected) = (0, BTreeMap::default());
        for (rate, report) in [(100.0, good), (200.0, imagined(1000))] {
            let verdict = judge(objective, &report);
            search.tried(rate, verdict);
            trials.push(Trial { rate, verdict, report });
        }
        let found = search.found(objective, trials, true);
        let page = of_search(&found);
        well_formed(&page);
        self_contained(&page);
        for words in ["At 100/s", "<td>errors</td>", "ran out of time", "Latency by rate"] {
            assert!(page.contains(words), "{words}");
        }
        assert!(found.to_string().contains("lacking"));
        well_formed(&of_search(&Search::new(1.0).found(objective, Vec::new(), true)));
    }
}
