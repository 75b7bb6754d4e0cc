//! A `CloudEvents` 1.0 event and its spellings: HTTP binary, structured and batched mode, and the record in the log.
//!
//! ```text
//! request head + body --parse--> Event --record--> bytes in the log --decode--> Event --to_request--> sink
//! ```
//!
//! In memory an event is its record, so what is read from a request is written down once. Pure: no clock, socket or file. May import nothing of this crate. Whatever bytes come in, the answer is an
//! [`Event`] or a sentence, never a panic.

mod attributes;
mod draft;
mod identity;
mod percent;
mod record;
mod request;
mod structured;
mod to_structured;

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

pub use identity::identity;
pub use record::{Attributes, BadRecord, decode};
pub use request::to_request;
pub use to_structured::to_structured;

/// Media type of structured mode with the JSON format, without parameters.
pub const STRUCTURED_JSON: &str = "application/cloudevents+json";

/// Media type of batched mode with the JSON format, without parameters.
pub const BATCH_JSON: &str = "application/cloudevents-batch+json";

/// Most events of one batch.
pub const MAX_BATCH_EVENTS: usize = 10_000;

/// One event: attributes in the order they came, and the payload as it came. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    record: Bytes,
    data_at: usize,
}

/// Why a request is not an event. The sentence names the attribute and says what to send instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It means to be an event, and is not a valid one: 400.
    #[error("{0}")]
    Malformed(String),
    /// It is in a form that is not taken here: 415.
    #[error("{0}")]
    Unsupported(String),
}

impl Event {
    /// An event of these attributes, which nobody checks. Fails when they do not fit into a record.
    pub fn unchecked(attributes: &[(&str, &str)], data: &[u8]) -> Result<Self, BadRecord> {
        let mut out = BytesMut::new();
        record::put_head(&mut out);
        record::set_count(&mut out, attributes.len());
        for (name, value) in attributes {
            record::put_attribute(&mut out, name, value)?;
        }
        let data_at = out.len();
        out.extend_from_slice(data);
        Ok(Self::of_record(out.freeze(), data_at))
    }

    /// The event of a record that is known to be whole, with its data from `data_at` on.
    fn of_record(record: Bytes, data_at: usize) -> Self {
        Self { record, data_at }
    }

    /// How the event is kept in the log, for [`decode`] to read.
    pub fn record(&self) -> &Bytes {
        &self.record
    }

    /// The payload. Empty when the event has none.
    pub fn data(&self) -> Bytes {
        self.record.slice(self.data_at..)
    }

    /// Name and value of every context attribute, `datacontenttype` included. Names are unique.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::of(self.record.get(record::HEAD_BYTES..self.data_at).unwrap_or_default())
    }

    /// The value of attribute `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// What this event is ordered by: `partitionkey`, else `subject`, else nothing. An empty value counts as none.
    pub fn key(&self) -> Option<&str> {
        ["partitionkey", "subject"].into_iter().find_map(|name| self.get(name).filter(|value| !value.is_empty()))
    }

    /// The bytes of a value of this event, without a copy.
    fn share(&self, value: &str) -> Bytes {
        if value.is_empty() { Bytes::new() } else { self.record.slice_ref(value.as_bytes()) }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.attributes()).entry(&"(data)", &self.data()).finish()
    }
}

/// Whether an attribute may be called `name`.
pub fn is_attribute_name(name: &str) -> bool {
    attributes::check_name(name).is_ok()
}

/// Decodes percent-encoded text, as header values and query parameters have it. The error says what is wrong.
pub fn percent_decode(value: &[u8]) -> Result<String, &'static str> {
    percent::decode(value).map(std::borrow::Cow::into_owned)
}

/// Reads the event in a request, in whichever mode its `Content-Type` names. A batch is refused.
pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Event, Refusal> {
    match form(headers)? {
        Form::Binary(content_type) => request::parse(headers, content_type, body),
        Form::Structured => structured::parse(body),
        Form::Batch => Err(Refusal::Unsupported(format!(
            "{BATCH_JSON} is not accepted here: send one event per request, as {STRUCTURED_JSON} or with ce-* headers"
        ))),
    }
}

/// Reads the events in a request, in whichever mode its `Content-Type` names: all of them, or none. Only a batch can
/// have another number than one, and may be empty.
pub fn parse_all(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Event>, Refusal> {
    match form(headers)? {
        Form::Binary(content_type) => request::parse(headers, content_type, body).map(|event| vec![event]),
        Form::Structured => structured::parse(body).map(|event| vec![event]),
        Form::Batch => structured::parse_batch(body),
    }
}

/// How a request spells its events.
enum Form<'a> {
    /// With the value of `Content-Type`.
    Binary(Option<&'a str>),
    Structured,
    Batch,
}

fn form(headers: &HeaderMap) -> Result<Form<'_>, Refusal> {
    let content_type = match headers.get(CONTENT_TYPE) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| {
            Refusal::Malformed("the Content-Type header is not ASCII text: send a media type".to_owned())
        })?),
    };
    let media_type = content_type.map(|value| value.split(';').next().unwrap_or(value).trim()).unwrap_or_default();
    if attributes::is_event_form(media_type) {
        return if media_type.eq_ignore_ascii_case(STRUCTURED_JSON) {
            Ok(Form::Structured)
        } else if media_type.eq_ignore_ascii_case(BATCH_JSON) {
            Ok(Form::Batch)
        } else {
            Err(Refusal::Unsupported(format!(
                "{media_type} is not accepted: send {STRUCTURED_JSON} or {BATCH_JSON}, or the attributes as ce-* headers"
            )))
        };
    }
    if headers.keys().any(|name| name.as_str().starts_with("ce-")) {
        return Ok(Form::Binary(content_type));
    }
    Err(Refusal::Unsupported(format!(
        "the request is not a CloudEvent: send ce-id, ce-source, ce-specversion and ce-type headers, or a body of type \
         {STRUCTURED_JSON}"
    )))
}

#[cfg(test)]
mod tests;
