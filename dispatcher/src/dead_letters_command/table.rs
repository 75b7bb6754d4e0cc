//! Answers of a shard as people read them. Pure: JSON in, text out; what is missing or odd is shown as `-`.

use std::fmt::Write as _;

use serde_json::Value;

/// Longest text of one cell.
const CELL: usize = 48;

/// A list of letters, and what all of them come to.
pub(super) fn list(page: &Value) -> String {
    let letters = page["letters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = String::new();
    if letters.is_empty() {
        out.push_str("no dead letters");
    } else {
        out.push_str(&rows(letters));
    }
    if page["next"].is_string() {
        out.push_str("\nThere are more: raise --limit, or filter.");
    }
    let _ = write!(out, "\n{}", totals(&page["totals"]));
    out
}

/// What a dry run found.
pub(super) fn dry_run(answer: &Value) -> String {
    let mut out = format!("{} would be replayed", letters(&answer["matched"]));
    if answer["orphaned"].as_u64().is_some_and(|orphaned| orphaned > 0) {
        let _ = write!(out, "; {} left, as their sinks are not configured", number(&answer["orphaned"]));
    }
    if let Some(first) = answer["first"].as_array().filter(|first| !first.is_empty()) {
        let _ = write!(out, ". The first:\n{}", rows(first));
    }
    out
}

/// One replay in a line.
pub(super) fn replay(replay: &Value) -> String {
    let mut out = format!(
        "{}: {}, {} of {} replayed at up to {}/s",
        text(&replay["id"]),
        text(&replay["state"]).to_lowercase(),
        number(&replay["replayed"]),
        letters(&replay["matched"]),
        number(&replay["rate"]),
    );
    for (member, words) in [("failed", "cannot be read"), ("orphaned", "of sinks that are not configured")] {
        if replay[member].as_u64().is_some_and(|count| count > 0) {
            let _ = write!(out, ", {} {words}", number(&replay[member]));
        }
    }
    if replay["waitingFor"].is_string() {
        let _ = write!(out, "; waiting for {}", text(&replay["waitingFor"]));
    }
    out
}

/// Totals by sink, and the replays.
pub(super) fn status(status: &Value) -> String {
    let mut table = vec![["SINK", "LETTERS", "BYTES", "REASONS"].map(str::to_owned).to_vec()];
    for (sink, of) in status["totals"]["sinks"].as_object().into_iter().flatten() {
        let reasons = of["reasons"].as_object().into_iter().flatten();
        let reasons: Vec<String> = reasons.map(|(reason, count)| format!("{reason} {}", number(count))).collect();
        let name = if of["configured"] == false { format!("{sink} (not configured)") } else { sink.clone() };
        table.push(vec![clean(&name), number(&of["letters"]), number(&of["bytes"]), reasons.join(", ")]);
    }
    let mut out = totals(&status["totals"]);
    if table.len() > 1 {
        let _ = write!(out, "\n{}", columns(&table));
    }
    for one in status["replays"].as_array().into_iter().flatten() {
        let _ = write!(out, "\n{}", replay(one));
    }
    out
}

/// One letter, a line for each thing that is known of it.
pub(super) fn letter(letter: &Value) -> String {
    let lines = [
        ("letter", text(&letter["id"])),
        ("sink", text(&letter["sink"])),
        ("reason", text(&letter["reason"])),
        ("attempts", number(&letter["attempts"])),
        ("last answer", text(&letter["lastAnswer"])),
        ("accepted at", text(&letter["acceptedAt"])),
        ("dead at", text(&letter["deadAt"])),
    ];
    lines.map(|(name, value)| format!("{name:<12} {value}")).join("\n")
}

/// A count of letters.
pub(super) fn letters(count: &Value) -> String {
    if count == 1 { "1 letter".to_owned() } else { format!("{} letters", number(count)) }
}

fn totals(totals: &Value) -> String {
    let mut out = format!("{} in all", letters(&totals["letters"]));
    match totals["limitBytes"].as_u64() {
        Some(0) => out.push_str("; the limit is 0, so none are kept: set deadLetterLimitBytes"),
        _ => {
            let _ = write!(out, ", {} of {} bytes", number(&totals["bytes"]), number(&totals["limitBytes"]));
        }
    }
    if totals["orphaned"].as_u64().is_some_and(|orphaned| orphaned > 0) {
        let _ = write!(out, "; {} of sinks that are not configured", number(&totals["orphaned"]));
    }
    out
}

fn rows(letters: &[Value]) -> String {
    let head = ["LETTER", "EVENT", "TYPE", "SOURCE", "KEY", "REASON", "ATTEMPTS", "DEAD AT", "LAST ANSWER"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for letter in letters {
        let event = &letter["event"];
        // To the second: a list is not for measuring.
        let dead_at = text(&letter["deadAt"]);
        let dead_at = dead_at.split_once('.').map_or(dead_at.clone(), |(seconds, _)| format!("{seconds}Z"));
        table.push(vec![
            // Whole: people copy it.
            clean(letter["id"].as_str().unwrap_or("-")),
            short(&text(&event["id"])),
            short(&text(&event["type"])),
            short(&text(&event["source"])),
            short(&text(&event["key"])),
            text(&letter["reason"]),
            number(&letter["attempts"]),
            dead_at,
            short(&text(&letter["lastAnswer"])),
        ]);
    }
    columns(&table)
}

/// Columns as wide as their widest cell.
fn columns(table: &[Vec<String>]) -> String {
    let mut widths = Vec::<usize>::new();
    for row in table {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let lines: Vec<String> = table.iter().map(line).collect();
    lines.join("\n")
}

fn text(value: &Value) -> String {
    clean(value.as_str().filter(|text| !text.is_empty()).unwrap_or("-"))
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Without what would confuse a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn short(text: &str) -> String {
    if text.chars().count() <= CELL {
        return text.to_owned();
    }
    text.chars().take(CELL - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{dry_run, list, replay, status};
    use serde_json::json;

    #[test]
    fn a_list_is_a_table_that_fits_a_terminal_and_does_not_confuse_it() {
        let page = json!({
            "letters": [
                {"id": "a.1", "event": {"id": "e-1", "type": "order.created", "source": "/shop"}, "reason": "AttemptsExhausted",
                 "attempts": 8, "deadAt": "2026-01-31T12:00:00.123456Z", "lastAnswer": "x".repeat(100)},
                {"id": "a.20", "reason": "Unreadable", "attempts": 0, "lastAnswer": "\u{1b}[31m"},
            ],
            "next": "c",
            "totals": {"letters": 2, "bytes": 300, "limitBytes": 1000, "orphaned": 1},
        });
        let text = list(&page);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("LETTER  EVENT  TYPE"), "{text}");
        assert!(lines[1].starts_with("a.1     e-1    order.created  /shop   -    AttemptsExhausted"), "{text}");
        assert!(lines[1].contains("2026-01-31T12:00:00Z") && lines[1].ends_with("x…"), "{text}");
        assert!(lines[2].ends_with("?[31m"), "{text}");
        assert!(lines[3].contains("--limit"), "{text}");
        assert_eq!(lines[4], "2 letters in all, 300 of 1000 bytes; 1 of sinks that are not configured");
    }

    #[test]
    fn a_long_list_takes_no_longer_a_letter_than_a_short_one() {
        let letter = json!({"id": "a.1", "event": {"id": "e-1"}, "reason": "Unreadable", "attempts": 0});
        let page = json!({"letters": vec![letter; 50_000], "totals": {}});
        let started = std::time::Instant::now();
        assert_eq!(list(&page).lines().count(), 50_002);
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
    }

    #[test]
    fn nothing_is_said_as_plainly_as_something() {
        let totals = json!({"letters": 0, "bytes": 0, "limitBytes": 0, "orphaned": 0});
        let text = list(&json!({"letters": [], "totals": totals}));
        assert!(text.starts_with("no dead letters\n") && text.contains("set deadLetterLimitBytes"), "{text}");
        assert_eq!(dry_run(&json!({"matched": 1, "orphaned": 0, "first": []})), "1 letter would be replayed");
        assert!(list(&json!({})).contains("- letters in all"));
    }

    #[test]
    fn a_replay_is_one_line() {
        let mut one = json!({"id": "replay-3", "state": "Running", "replayed": 4, "matched": 10, "rate": 100,
            "failed": 1, "orphaned": 0, "waitingFor": "room"});
        let line = "replay-3: running, 4 of 10 letters replayed at up to 100/s, 1 cannot be read; waiting for room";
        assert_eq!(replay(&one), line);
        one["state"] = json!("Done");
        let sinks = json!({"a": {"letters": 2, "bytes": 9, "reasons": {"Unreadable": 2}, "configured": false}});
        let text =
            status(&json!({"totals": {"letters": 2, "bytes": 9, "limitBytes": 10, "sinks": sinks}, "replays": [one]}));
        assert!(text.contains("a (not configured)  2        9      Unreadable 2") && text.contains("done"), "{text}");
    }
}
