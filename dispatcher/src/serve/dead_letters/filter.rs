//! Which letters are meant: the parameters of a query, and whether a letter is one of them. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reason;
use super::letter::{LetterHead, LetterKey};

/// The names of a filter's parameters, as a sentence shows them.
const NAMES: &str = "id, sink, type, source, subject, key, eventId, reason, deadAfter, deadBefore";

/// A query that cannot be used. One sentence that says what to write instead: 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadQuery(pub(super) String);

/// Letters that have all of these. What is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Filter {
    /// The letter's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sink: Option<String>,
    /// What the event's type begins with.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// What the event's source begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// What the event is ordered by.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// Dead at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_after: Option<Timestamp>,
    /// Dead before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_before: Option<Timestamp>,
}

impl Filter {
    /// The one letter that it can mean, if it names one.
    pub(super) fn letter(&self) -> Option<LetterKey> {
        self.id.as_deref().and_then(LetterKey::of_id)
    }

    /// Whether this letter is meant.
    pub(super) fn matches(&self, key: &LetterKey, head: &LetterHead) -> bool {
        let event = head.event.as_ref();
        let is = |wanted: &Option<String>, value: Option<&str>| match wanted {
            None => true,
            Some(wanted) => value == Some(wanted),
        };
        let begins = |wanted: &Option<String>, value: Option<&str>| match wanted {
            None => true,
            Some(wanted) => value.is_some_and(|value| value.starts_with(wanted)),
        };
        is(&self.sink, Some(&key.sink))
            && self.id.as_ref().is_none_or(|id| *id == key.id())
            && self.reason.is_none_or(|reason| reason == head.reason)
            && self.dead_after.is_none_or(|after| head.dead_at_us >= after.as_microsecond())
            && self.dead_before.is_none_or(|before| head.dead_at_us < before.as_microsecond())
            && begins(&self.kind, event.map(|event| event.kind.as_str()))
            && begins(&self.source, event.map(|event| event.source.as_str()))
            && is(&self.subject, event.and_then(|event| event.subject.as_deref()))
            && is(&self.key, event.and_then(|event| event.key.as_deref()))
            && is(&self.event_id, event.map(|event| event.id.as_str()))
    }
}

/// The parameters of a query, taken out one by one.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Parameters as they came, decoded.
    pub(super) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The value of `name`, if it is given.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, BadQuery> {
        let mut value = None;
        while let Some(at) = self.0.iter().position(|(given, _)| given == name) {
            if value.replace(self.0.remove(at).1).is_some() {
                return Err(BadQuery(format!("{name} is given more than once: give it once")));
            }
        }
        if value.as_deref() == Some("") {
            return Err(BadQuery(format!("{name} is empty: give it a value, or leave it out")));
        }
        Ok(value)
    }

    /// The number `name`, which must be in the range.
    pub(super) fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u32>) -> Result<Option<u32>, BadQuery> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            BadQuery(format!("{name} is {text:?}: write a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// The switch `name`.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, BadQuery> {
        match self.take(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(BadQuery(format!("{name} is {other:?}: write true or false"))),
        }
    }

    /// The filter.
    pub(super) fn filter(&mut self) -> Result<Filter, BadQuery> {
        let reason = self.take("reason")?.map(|name| {
            Reason::named(&name).ok_or_else(|| {
                let names = Reason::ALL.map(Reason::name).join(" or ");
                BadQuery(format!("reason is {name:?}: write {names}"))
            })
        });
        let id = self.take("id")?;
        if let Some(id) = id.as_deref().filter(|id| LetterKey::of_id(id).is_none()) {
            return Err(BadQuery(format!(
                "id is {id:?}, which is not the id of a dead letter: take one from the list, or use eventId for the \
                 id of an event"
            )));
        }
        Ok(Filter {
            id,
            sink: self.take("sink")?,
            kind: self.take("type")?,
            source: self.take("source")?,
            subject: self.take("subject")?,
            key: self.take("key")?,
            event_id: self.take("eventId")?,
            reason: reason.transpose()?,
            dead_after: self.time("deadAfter")?,
            dead_before: self.time("deadBefore")?,
        })
    }

    fn time(&mut self, name: &str) -> Result<Option<Timestamp>, BadQuery> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            BadQuery(format!("{name} is {text:?}: write an RFC 3339 time in UTC, such as 2026-01-31T12:00:00Z"))
        })
    }

    /// Makes sure that nothing is left: a filter that is misspelt must not mean everything.
    pub(super) fn finish(self, others: &str) -> Result<(), BadQuery> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(BadQuery(format!("{name:?} is not a parameter here: write {NAMES}{others}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BadQuery, Filter, Params};
    use crate::serve::dead_letters::Reason;
    use crate::serve::dead_letters::letter::{EventHead, LetterHead, LetterKey};

    fn parse(pairs: &[(&str, &str)]) -> Result<Filter, BadQuery> {
        let pairs = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut params = Params::new(pairs);
        let filter = params.filter()?;
        params.finish("")?;
        Ok(filter)
    }

    fn letter(dead_at_us: i64) -> (LetterKey, LetterHead) {
        let event = EventHead {
            id: "e-1".to_owned(),
            source: "/shop/eu".to_owned(),
            kind: "order.created".to_owned(),
            subject: Some("42".to_owned()),
            key: Some("customer-7".to_owned()),
        };
        let head = LetterHead {
            serial: 0,
            reason: Reason::AttemptsExhausted,
            attempts: 3,
            last_answer: String::new(),
            accepted_at_us: 0,
            dead_at_us,
            key: None,
            record_bytes: 0,
            event: Some(event),
        };
        (LetterKey { sink: "a".to_owned(), position: 5 }, head)
    }

    #[test]
    fn a_letter_is_meant_when_all_parameters_agree() {
        // 2026-01-31T12:00:00Z
        let (key, head) = letter(1_769_860_800_000_000);
        for (name, right, wrong) in [
            ("id", "a.5", "a.6"),
            ("sink", "a", "b"),
            ("type", "order.", "created"),
            ("source", "/shop", "shop"),
            ("subject", "42", "4"),
            ("key", "customer-7", "42"),
            ("eventId", "e-1", "e"),
            ("reason", "AttemptsExhausted", "Unreadable"),
            ("deadAfter", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000001Z"),
            ("deadBefore", "2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:00Z"),
        ] {
            assert!(parse(&[(name, right)]).unwrap().matches(&key, &head), "{name}={right}");
            assert!(!parse(&[(name, wrong)]).unwrap().matches(&key, &head), "{name}={wrong}");
        }
        assert!(Filter::default().matches(&key, &head));
        let unreadable = LetterHead { event: None, ..head };
        assert!(!parse(&[("type", "order.")]).unwrap().matches(&key, &unreadable));
        assert!(parse(&[("sink", "a")]).unwrap().matches(&key, &unreadable));
    }

    #[test]
    fn times_beyond_the_calendar_are_compared_and_do_not_panic() {
        for (dead_at_us, late) in [(i64::MIN, false), (-1, false), (i64::MAX, true)] {
            let (key, head) = letter(dead_at_us);
            assert_eq!(parse(&[("deadAfter", "9999-12-30T00:00:00Z")]).unwrap().matches(&key, &head), late);
            assert_eq!(parse(&[("deadBefore", "0001-01-01T00:00:00Z")]).unwrap().matches(&key, &head), dead_at_us < -1);
        }
    }

    #[test]
    fn a_query_that_cannot_be_used_is_answered_with_what_to_write() {
        for (name, value, words) in [
            ("sinks", "a", "write id, sink"),
            ("sink", "", "leave it out"),
            ("reason", "bored", "write AttemptsExhausted or Unreadable"),
            ("id", "e-1", "use eventId"),
            ("deadAfter", "yesterday", "such as 2026-01-31T12:00:00Z"),
            ("deadBefore", "99999-01-01T00:00:00Z", "such as 2026-01-31T12:00:00Z"),
        ] {
            let sentence = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(sentence.contains(words) && sentence.contains(name), "{sentence}");
        }
        assert!(parse(&[("sink", "a"), ("sink", "b")]).unwrap_err().to_string().contains("once"));
        let mut params = Params::new(vec![("rate".to_owned(), "0".to_owned()), ("all".to_owned(), "yes".to_owned())]);
        assert!(params.number("rate", 1..=10).unwrap_err().to_string().contains("from 1 to 10"));
        assert!(params.flag("all").unwrap_err().to_string().contains("true or false"));
    }
}
