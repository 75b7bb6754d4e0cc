//! A timeline as a page that stands for itself: no script, no font, no picture from elsewhere. Pure.

use std::fmt::Write as _;

use super::plot::{Plot, Series};
use super::run::{Sample, Timeline};
use super::summary::Summary;
use super::text::clock;
use crate::fleet::approximate_count;

const STYLE: &str = "
:root{--page:#f7f8fa;--card:#fff;--ink:#16202e;--soft:#5b6879;--rule:#e3e7ed;--a:#2563eb;--b:#8592a3;--c:#0f9b8e;--d:#d97706}
@media(prefers-color-scheme:dark){:root{--page:#10151c;--card:#19202a;--ink:#e6ebf2;--soft:#9aa7b8;--rule:#2c3643;\
--a:#6ea8fe;--b:#7d8a9c;--c:#3dd6c4;--d:#f5b04c}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:860px;margin:0 auto;padding:32px 20px 56px}
h1{font-size:24px;margin:0 0 4px}
h2{font-size:17px;margin:32px 0 10px}
.soft{color:var(--soft)}
figure,.scroll{background:var(--card);border:1px solid var(--rule);border-radius:10px;margin:0 0 14px}
figure{padding:14px 16px 6px}
.scroll{overflow-x:auto}
figcaption{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:baseline;margin-bottom:4px}
figcaption strong{font-weight:600;margin-right:auto}
.key{font-size:13px;color:var(--soft)}
.key:before{content:'';display:inline-block;width:14px;height:3px;border-radius:2px;margin:0 6px 4px 0;background:var(--k)}
svg{display:block;width:100%;height:auto}
.a{--k:var(--a)}.b{--k:var(--b)}.c{--k:var(--c)}.d{--k:var(--d)}
.line{fill:none;stroke:var(--k);stroke-width:2;stroke-linejoin:round}
.grid{stroke:var(--rule)}
.axis{stroke:var(--soft)}
.tick,.label{fill:var(--soft);font-size:12px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:6px 12px;border-top:1px solid var(--rule);text-align:right;font-weight:400;white-space:nowrap}
thead th{border-top:0;color:var(--soft)}
.word{text-align:left}
";

/// The page.
pub(super) fn page(title: &str, timeline: &Timeline, summary: &Summary) -> String {
    let mut body = format!("<h1>{}</h1>\n<p class=\"soft\">", escape(title));
    let _ = writeln!(body, "{} simulated, {} decisions</p>", clock(summary.seconds), timeline.decisions);
    for note in &summary.notes {
        let _ = writeln!(body, "<p>{}</p>", escape(note));
    }
    for region in &summary.regions {
        let _ = writeln!(
            body,
            "<h2>Region {}</h2>\n<p>{} to {} shards, {} changes, {} turns; backlog at most {} events, at the end {}.</p>",
            escape(&region.name),
            region.least_shards,
            region.most_shards,
            region.changes,
            region.turns,
            approximate_count(region.most_backlog_events),
            approximate_count(region.last_backlog_events),
        );
        for plot in plots(timeline, &region.name) {
            body.push_str(&plot.render());
        }
        body.push_str(&table(timeline, &region.name));
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta name=\"color-scheme\" content=\"light dark\"/><title>{}</title><style>{STYLE}</style></head>\n\
         <body><main>\n{body}</main></body></html>\n",
        escape(title)
    )
}

fn plots(timeline: &Timeline, region: &str) -> [Plot; 3] {
    let over_time = |value: fn(&Sample) -> f64| -> Vec<(f64, f64)> {
        let samples = timeline.samples.iter().filter(|sample| sample.region == region);
        #[expect(clippy::cast_precision_loss, reason = "a picture")]
        samples.map(|sample| (sample.second as f64 / 60.0, value(sample))).collect()
    };
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let backlog = over_time(|sample| sample.backlog_events as f64);
    let series = |name, class, steps, points| Series { name, class, steps, points };
    [
        Plot {
            title: "Shards",
            y: "shards",
            series: vec![
                series("wanted", "d", true, over_time(|sample| sample.wanted_shards.into())),
                series("ready", "a", true, over_time(|sample| sample.ready_shards.into())),
            ],
        },
        Plot {
            title: "Load",
            y: "events per second",
            series: vec![
                series("arrives", "b", false, over_time(|sample| sample.arrival_per_second)),
                series("settled", "c", false, over_time(|sample| sample.settled_per_second)),
            ],
        },
        Plot { title: "Backlog", y: "events", series: vec![series("waits", "a", false, backlog)] },
    ]
}

fn table(timeline: &Timeline, region: &str) -> String {
    let mut out = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>time</th><th>shards</th><th class=\"word\">reason</th>\
         <th>arrival /s</th><th>backlog</th><th>a shard /s</th><th>needed</th><th class=\"word\">bound</th></tr></thead>\
         <tbody>\n",
    );
    for change in timeline.changes.iter().filter(|change| change.region == region) {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{} &rarr; {}</td><td class=\"word\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"word\">{}</td></tr>",
            clock(change.second),
            change.from,
            change.to,
            change.reason,
            approximate_count(change.arrival_per_second),
            approximate_count(change.backlog_events),
            change.shard_capacity_per_second.map_or("?".to_owned(), approximate_count),
            change.needed_shards.map_or("?".to_owned(), |needed| needed.to_string()),
            change.bound.unwrap_or_default(),
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Text as it may stand in a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
