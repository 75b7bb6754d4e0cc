//! What the admin port shows of letters: JSON, with times that people can read. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Serialize;

use super::Reason;
use super::letter::{EventHead, LetterHead, LetterKey};
use super::totals::Totals;

/// One letter.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LetterView {
    id: String,
    sink: String,
    /// Absent when the record cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventHead>,
    reason: Reason,
    attempts: u32,
    last_answer: String,
    accepted_at: Timestamp,
    dead_at: Timestamp,
    /// Bytes of the encoded event.
    size: u64,
}

impl LetterView {
    /// The letter as it is shown.
    pub(super) fn new(key: &LetterKey, head: LetterHead) -> Self {
        Self {
            id: key.id(),
            sink: key.sink.clone(),
            event: head.event,
            reason: head.reason,
            attempts: head.attempts,
            last_answer: head.last_answer,
            accepted_at: timestamp(head.accepted_at_us),
            dead_at: timestamp(head.dead_at_us),
            size: head.record_bytes,
        }
    }
}

/// What all letters come to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TotalsView {
    letters: u64,
    bytes: u64,
    limit_bytes: u64,
    /// Letters of sinks that are not configured any more. They stay until they are deleted.
    orphaned: u64,
    sinks: BTreeMap<String, SinkView>,
}

/// What the letters of one sink come to.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SinkView {
    letters: u64,
    bytes: u64,
    reasons: BTreeMap<&'static str, u64>,
    configured: bool,
}

impl TotalsView {
    /// The totals as they are shown, for a shard with these sinks.
    pub(super) fn new(totals: &Totals, limit_bytes: u64, configured: &[String]) -> Self {
        let mut sinks = BTreeMap::<String, SinkView>::new();
        for (sink, reason, count) in totals.iter().filter(|(_, _, count)| count.letters > 0) {
            let view = sinks.entry(sink.to_owned()).or_default();
            view.letters += count.letters;
            view.bytes += count.bytes;
            view.reasons.insert(reason.name(), count.letters);
            view.configured = configured.iter().any(|name| name == sink);
        }
        let orphaned = sinks.values().filter(|view| !view.configured).map(|view| view.letters).sum();
        Self { letters: totals.letters(), bytes: totals.bytes(), limit_bytes, orphaned, sinks }
    }
}

/// The moment, or the nearest one that the calendar has.
fn timestamp(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(if us < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Where a list goes on after this letter. Nobody needs to know how it is made.
pub(super) fn cursor(key: &LetterKey) -> String {
    URL_SAFE_NO_PAD.encode(key.bytes())
}

/// Reads what [`cursor`] wrote.
pub(super) fn of_cursor(text: &str) -> Option<LetterKey> {
    LetterKey::read(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{TotalsView, cursor, of_cursor, timestamp};
    use crate::serve::dead_letters::Reason;
    use crate::serve::dead_letters::letter::LetterKey;
    use crate::serve::dead_letters::totals::Totals;

    #[test]
    fn odd_times_are_shown_as_the_nearest_that_the_calendar_has() {
        assert_eq!(timestamp(0).to_string(), "1970-01-01T00:00:00Z");
        assert!(timestamp(i64::MIN) < timestamp(-1) && timestamp(i64::MAX) > timestamp(1));
    }

    #[test]
    fn a_cursor_is_read_again_and_anything_else_is_not() {
        let key = LetterKey { sink: "a/b".to_owned(), position: 9 };
        assert_eq!(of_cursor(&cursor(&key)), Some(key));
        for text in ["", "?", "YQ", "a.9"] {
            assert_eq!(of_cursor(text), None, "{text}");
        }
    }

    #[test]
    fn letters_of_a_sink_that_is_gone_are_orphaned() {
        let mut totals = Totals::default();
        totals.add("a", Reason::AttemptsExhausted, 10);
        totals.add("gone", Reason::AttemptsExhausted, 10);
        totals.add("gone", Reason::Unreadable, 10);
        let view = serde_json::to_value(TotalsView::new(&totals, 100, &["a".to_owned()])).unwrap();
        assert_eq!((&view["letters"], &view["bytes"], &view["orphaned"]), (&3.into(), &30.into(), &2.into()));
        assert_eq!(view["sinks"]["gone"]["reasons"]["Unreadable"], 1);
    }
}
