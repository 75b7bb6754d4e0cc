//! A dead letter on disk: its key, and what is written about it. Pure.
//!
//! ```text
//! letters  sink name, 0 u8, position u64  -> version u8 = 1, LetterHead in JSON
//! records  the same key                   -> the encoded event
//! ```
//!
//! The head has all that a list shows, so listing and filtering read no payload. Numbers of keys are big-endian: the
//! letters of one sink are in the order of the log.

use serde::{Deserialize, Serialize};

use super::{NewDeadLetter, OVERHEAD_BYTES, Reason, StoreError};
use crate::event;
use crate::serve::log::Position;

/// Longest text that is kept of what a sink answered.
pub(super) const MAX_ANSWER_BYTES: usize = 512;

const VERSION: u8 = 1;

/// What tells one letter from another: an event, and the sink that did not take it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct LetterKey {
    pub(super) sink: String,
    pub(super) position: Position,
}

impl LetterKey {
    /// The key on disk.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Self::prefix(&self.sink);
        bytes.extend_from_slice(&self.position.to_be_bytes());
        bytes
    }

    /// What the keys of all letters of `sink` begin with.
    pub(super) fn prefix(sink: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(sink.len() + 9);
        bytes.extend_from_slice(sink.as_bytes());
        bytes.push(0);
        bytes
    }

    /// Reads what [`LetterKey::bytes`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let foreign = || StoreError("it holds a key that this version cannot read".to_owned());
        let (rest, position) = bytes.split_last_chunk::<8>().ok_or_else(foreign)?;
        let sink = rest.strip_suffix(&[0]).ok_or_else(foreign)?;
        let sink = String::from_utf8(sink.to_vec()).map_err(|_| foreign())?;
        Ok(Self { sink, position: Position::from_be_bytes(*position) })
    }

    /// The letter's id, as people see it: the same for as long as the letter is kept.
    pub(super) fn id(&self) -> String {
        format!("{}.{}", self.sink, self.position)
    }

    /// Reads what [`LetterKey::id`] wrote.
    pub(super) fn of_id(id: &str) -> Option<Self> {
        let (sink, position) = id.rsplit_once('.')?;
        let key = Self { sink: sink.to_owned(), position: position.parse().ok()? };
        (key.id() == id && !sink.is_empty()).then_some(key)
    }
}

/// The attributes of an event that lists show and filters look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventHead {
    pub(super) id: String,
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    /// What it is ordered by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
}

/// All that is kept of a letter, but for its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LetterHead {
    /// Counts letters of this store: what was buried later has a higher one, whatever the clock says.
    pub(super) serial: u64,
    pub(super) reason: Reason,
    pub(super) attempts: u32,
    pub(super) last_answer: String,
    pub(super) accepted_at_us: i64,
    pub(super) dead_at_us: i64,
    /// Hash of the key, as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<u64>,
    pub(super) record_bytes: u64,
    /// Absent when the record cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<EventHead>,
}

impl LetterHead {
    /// The head of a letter that is buried now.
    pub(super) fn new(letter: &NewDeadLetter, serial: u64, now_us: i64) -> Self {
        let event = event::decode(letter.record.clone()).ok();
        let event = event.map(|event| {
            let get = |name: &str| event.get(name).map(str::to_owned);
            EventHead {
                id: get("id").unwrap_or_default(),
                source: get("source").unwrap_or_default(),
                kind: get("type").unwrap_or_default(),
                subject: get("subject"),
                key: event.key().map(str::to_owned),
            }
        });
        Self {
            serial,
            reason: letter.reason,
            attempts: letter.attempts,
            last_answer: cut(&letter.last_answer),
            accepted_at_us: letter.accepted_at_us,
            dead_at_us: now_us,
            key: letter.key,
            record_bytes: letter.record.len() as u64,
            event,
        }
    }

    /// The head on disk.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![VERSION];
        serde_json::to_writer(&mut bytes, self).map_err(|e| StoreError(e.to_string()))?;
        Ok(bytes)
    }

    /// Reads what [`LetterHead::bytes`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let foreign = || StoreError("it holds a letter that this version cannot read".to_owned());
        let json = bytes.strip_prefix(&[VERSION]).ok_or_else(foreign)?;
        serde_json::from_slice(json).map_err(|_| foreign())
    }
}

/// What a letter counts for against the limit.
pub(super) fn letter_bytes(key: &[u8], head: &[u8], record_bytes: u64) -> u64 {
    (2 * key.len() + head.len()) as u64 + record_bytes + OVERHEAD_BYTES
}

/// The beginning of `text`, in whole characters.
fn cut(text: &str) -> String {
    if text.len() <= MAX_ANSWER_BYTES {
        return text.to_owned();
    }
    let dots = "…";
    let end = (0..=MAX_ANSWER_BYTES - dots.len()).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}{dots}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{LetterHead, LetterKey, MAX_ANSWER_BYTES, cut};
    use crate::serve::dead_letters::Reason;

    #[test]
    fn keys_sort_as_the_log_and_an_id_names_exactly_one() {
        let key = |sink: &str, position| LetterKey { sink: sink.to_owned(), position };
        assert!(key("a", 255).bytes() < key("a", 256).bytes());
        for key in [key("orders.v2", 7), key("a", u64::MAX), key("ä/ö", 0)] {
            assert_eq!(LetterKey::read(&key.bytes()).unwrap(), key);
            assert_eq!(LetterKey::of_id(&key.id()), Some(key));
        }
        for id in ["", "a", "a.", ".1", "a.+1", "a.01", "a.-1", "a.1x", "a.18446744073709551616"] {
            assert_eq!(LetterKey::of_id(id), None, "{id}");
        }
        assert!(LetterKey::read(b"short").is_err());
        assert!(LetterKey::read(b"no separator").is_err());
    }

    #[test]
    fn a_head_of_another_version_is_refused_and_a_field_that_is_new_is_not() {
        let head = LetterHead {
            serial: 3,
            reason: Reason::AttemptsExhausted,
            attempts: 8,
            last_answer: "answered 400".to_owned(),
            accepted_at_us: i64::MIN,
            dead_at_us: i64::MAX,
            key: None,
            record_bytes: 0,
            event: None,
        };
        let mut bytes = head.bytes().unwrap();
        assert_eq!(LetterHead::read(&bytes).unwrap(), head);
        let mut newer = bytes.clone();
        newer.pop();
        newer.extend_from_slice(br#","colour":"red"}"#);
        assert_eq!(LetterHead::read(&newer).unwrap(), head);
        bytes[0] = 2;
        assert!(LetterHead::read(&bytes).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        for text in ["x".repeat(2000), "ä".repeat(1000), "…".repeat(1000)] {
            let short = cut(&text);
            assert!(short.len() <= MAX_ANSWER_BYTES && short.len() > MAX_ANSWER_BYTES - 8, "{}", short.len());
            assert!(short.ends_with('…'));
        }
        assert_eq!(cut("answered 400"), "answered 400");
    }
}
