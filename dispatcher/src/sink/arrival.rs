//! What a sink looks at in an event. Pure.
//!
//! Binary mode is read where it lies, only the attributes that are counted by, and without a copy: a sink stands
//! beside what it measures and must not cost much. Structured mode is read by [`crate::event`].

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::event::{self, Event};

/// What is counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// `id`, if that is a decimal number.
    pub id: Option<u64>,
    /// `source`.
    pub source: Cow<'a, str>,
    /// `type`.
    pub event_type: Cow<'a, str>,
    /// `partitionkey`.
    pub key: Option<Cow<'a, str>>,
    /// `sequence`, if that is a decimal number.
    pub sequence: Option<u64>,
    /// `intendedtime`, if that is a number: when the event was meant to be sent, in microseconds since 1970.
    pub intended_us: Option<i64>,
}

/// Whether a request must be read whole to know its events.
pub(super) fn is_in_the_body(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/cloudevents"))
}

/// The event in these headers. The error says what is wrong.
pub(super) fn of_headers(headers: &HeaderMap) -> Result<Arrival<'_>, String> {
    if headers.get("ce-specversion").is_none_or(|version| version != "1.0") {
        return Err("ce-specversion is not 1.0: send a CloudEvent 1.0".to_owned());
    }
    let required = |name: &'static str| {
        text(headers, name)?.filter(|value| !value.is_empty()).ok_or_else(|| format!("{name} is missing: send it"))
    };
    Ok(Arrival {
        id: number(&required("ce-id")?),
        source: required("ce-source")?,
        event_type: required("ce-type")?,
        key: text(headers, "ce-partitionkey")?,
        sequence: text(headers, "ce-sequence")?.as_deref().and_then(number),
        intended_us: text(headers, "ce-intendedtime")?.as_deref().and_then(number),
    })
}

/// The events in this body: one, or a batch of them. The error says what is wrong.
pub(super) fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Arrival<'static>>, String> {
    let events = event::parse_all(headers, body).map_err(|refusal| refusal.to_string())?;
    Ok(events.iter().map(of_event).collect())
}

fn of_event(event: &Event) -> Arrival<'static> {
    let own = |name| event.get(name).unwrap_or_default().to_owned().into();
    Arrival {
        id: event.get("id").and_then(number),
        source: own("source"),
        event_type: own("type"),
        key: event.get("partitionkey").map(|key| key.to_owned().into()),
        sequence: event.get("sequence").and_then(number),
        intended_us: event.get("intendedtime").and_then(number),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Cow<'a, str>>, String> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if !text.contains(['%', '"']) => Ok(Some(text.into())),
        _ => {
            let text = event::percent_decode(value.as_bytes()).map_err(|reason| format!("{name} {reason}"))?;
            Ok(Some(text.into()))
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Arrival, of_body, of_headers};
    use crate::event::BATCH_JSON;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        values.iter().map(header).collect()
    }

    const WHOLE: [(&str, &str); 4] =
        [("ce-id", "7"), ("ce-source", "/s"), ("ce-type", "a%20b"), ("ce-specversion", "1.0")];

    #[test]
    fn all_three_modes_say_the_same() {
        let mut binary = WHOLE.to_vec();
        binary.extend([("ce-partitionkey", "k"), ("ce-sequence", "3"), ("ce-intendedtime", "99"), ("ce-more", "x")]);
        let expected = Arrival {
            id: Some(7),
            source: "/s".into(),
            event_type: "a b".into(),
            key: Some("k".into()),
            sequence: Some(3),
            intended_us: Some(99),
        };
        let binary = headers(&binary);
        assert_eq!(of_headers(&binary).unwrap(), expected);
        let json = r#"{"specversion":"1.0","id":"7","source":"/s","type":"a b","partitionkey":"k","sequence":"3",
            "intendedtime":"99","data":{"a":[1]}}"#;
        let one = of_body(&headers(&[("content-type", "application/cloudevents+json")]), json.as_bytes());
        assert_eq!(one.unwrap(), std::slice::from_ref(&expected));
        let batch = format!("[{json},{json}]");
        assert_eq!(
            of_body(&headers(&[("content-type", BATCH_JSON)]), batch.as_bytes()).unwrap(),
            [expected.clone(), expected]
        );
    }

    #[test]
    fn what_is_not_an_event_is_refused() {
        for (lacking, _) in WHOLE {
            let values: Vec<_> = WHOLE.into_iter().filter(|(name, _)| *name != lacking).collect();
            assert!(of_headers(&headers(&values)).is_err(), "without {lacking}");
        }
        for body in ["", "{}", "[1]", "[{}]"] {
            let batch = of_body(&headers(&[("content-type", BATCH_JSON)]), body.as_bytes());
            assert!(batch.is_err(), "{body}");
        }
    }
}
