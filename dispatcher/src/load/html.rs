//! The parts of a page that stands for itself: no script, no font, no picture from elsewhere. Pure.

use std::fmt::Write as _;

const STYLE: &str = "
:root{--page:#f7f8fa;--card:#fff;--ink:#16202e;--soft:#5b6879;--rule:#e3e7ed;--a:#2563eb;--b:#8592a3;--c:#0f9b8e;\
--d:#d97706;--e:#d6336c;--good:#12805c;--bad:#c92a2a}
@media(prefers-color-scheme:dark){:root{--page:#10151c;--card:#19202a;--ink:#e6ebf2;--soft:#9aa7b8;--rule:#2c3643;\
--a:#6ea8fe;--b:#7d8a9c;--c:#3dd6c4;--d:#f5b04c;--e:#ff7aa8;--good:#4fd1a1;--bad:#ff8787}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:860px;margin:0 auto;padding:32px 20px 56px}
h1{font-size:24px;margin:0 0 4px}
h2{font-size:17px;margin:32px 0 10px}
p{margin:0 0 12px}
.soft{color:var(--soft)}
code{font:13px ui-monospace,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:20px 0}
.card,figure,table{background:var(--card);border:1px solid var(--rule);border-radius:10px}
.card{padding:12px 16px}
.card b{display:block;font-size:23px;font-weight:650;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:13px}
.good b,.good td:last-child{color:var(--good)}
.bad b,.bad td:last-child{color:var(--bad)}
figure{margin:0 0 14px;padding:14px 16px 6px}
figcaption{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:baseline;margin-bottom:4px}
figcaption strong{font-weight:600;margin-right:auto}
.key{font-size:13px;color:var(--soft)}
.key:before{content:'';display:inline-block;width:14px;height:3px;border-radius:2px;margin:0 6px 4px 0;background:var(--k)}
svg{display:block;width:100%;height:auto}
.a{--k:var(--a)}.b{--k:var(--b)}.c{--k:var(--c)}.d{--k:var(--d)}.e{--k:var(--e)}.ok{--k:var(--good)}.no{--k:var(--bad)}
.line{fill:none;stroke:var(--k);stroke-width:2;stroke-linejoin:round}
.dashed{stroke-dasharray:6 5}
.dot,.bar{fill:var(--k)}
.grid{stroke:var(--rule)}
.axis{stroke:var(--soft)}
.tick,.label{fill:var(--soft);font-size:12px}
table{border-collapse:separate;border-spacing:0;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:6px 14px;border-top:1px solid var(--rule);text-align:right;font-weight:400}
tr:first-child *{border-top:0}
th{color:var(--soft);text-align:left}
.plain td{text-align:left}
thead th{text-align:right}
thead th:first-child,thead th:last-child,.trials td:last-child{text-align:left}
.trials td:first-child{text-align:left}
";

/// Text as it may stand in a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A whole page.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta name=\"color-scheme\" content=\"light dark\"/><title>{}</title><style>{STYLE}</style></head>\n\
         <body><main>\n{body}</main></body></html>\n",
        escape(title)
    )
}

/// A figure that is meant to be seen first.
pub(super) fn card(value: &str, what: &str, class: &str) -> String {
    format!(r#"<div class="card {class}"><b>{}</b><span>{}</span></div>"#, escape(value), escape(what))
}

/// Names and values.
pub(super) fn table(rows: &[(&str, String)]) -> String {
    let mut out = String::from("<table class=\"plain\"><tbody>\n");
    for (name, value) in rows {
        let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    out.push_str("</tbody></table>\n");
    out
}
