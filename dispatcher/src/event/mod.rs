//! A `CloudEvents` 1.0 event and its three spellings: HTTP binary mode, HTTP structured mode (JSON), and the
//! record in the log.
//!
//! ```text
//! request head + body --parse--> Event --encode--> bytes in the log --decode--> Event --to_request--> sink
//! ```
//!
//! Pure: no clock, socket or file. May import nothing of this crate. Whatever bytes come in, the answer is an
//! [`Event`] or a sentence, never a panic.

mod attributes;
mod percent;
mod record;
mod request;
mod structured;
mod to_structured;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

pub use record::{BadRecord, decode, encode};
pub use request::to_request;
pub use to_structured::to_structured;

/// Media type of structured mode with the JSON format, without parameters.
pub const STRUCTURED_JSON: &str = "application/cloudevents+json";

/// One event: attributes in the order they came, and the payload as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Name and value of every context attribute, `datacontenttype` included. Names are unique.
    pub attributes: Vec<(String, String)>,
    /// The payload. Empty when the event has none.
    pub data: Bytes,
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
    /// The value of attribute `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// What this event is ordered by: `partitionkey`, else `subject`, else nothing. An empty value counts as none.
    pub fn key(&self) -> Option<&str> {
        ["partitionkey", "subject"].into_iter().find_map(|name| self.get(name).filter(|value| !value.is_empty()))
    }
}

/// Decodes percent-encoded text, as header values and query parameters have it. The error says what is wrong.
pub fn percent_decode(value: &[u8]) -> Result<String, &'static str> {
    percent::decode(value)
}

/// Reads the event in a request, in whichever mode its `Content-Type` names.
pub fn parse(headers: &HeaderMap, body: Bytes) -> Result<Event, Refusal> {
    let content_type = match headers.get(CONTENT_TYPE) {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| {
            Refusal::Malformed("the Content-Type header is not ASCII text: send a media type".to_owned())
        })?),
    };
    let media_type = content_type.map(|value| value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase());
    let event = match media_type.as_deref() {
        Some(STRUCTURED_JSON) => structured::parse(&body)?,
        Some(other) if other.starts_with("application/cloudevents-batch") => {
            return Err(Refusal::Unsupported(format!(
                "{other} is not accepted: send one event per request, as {STRUCTURED_JSON} or with ce-* headers"
            )));
        }
        Some(other) if other.starts_with("application/cloudevents") => {
            return Err(Refusal::Unsupported(format!(
                "{other} is not accepted: send {STRUCTURED_JSON}, or the attributes as ce-* headers"
            )));
        }
        _ if headers.keys().any(|name| name.as_str().starts_with("ce-")) => {
            Event { attributes: request::attributes(headers, content_type)?, data: body }
        }
        _ => {
            return Err(Refusal::Unsupported(format!(
                "the request is not a CloudEvent: send ce-id, ce-source, ce-specversion and ce-type headers, \
                 or a body of type {STRUCTURED_JSON}"
            )));
        }
    };
    attributes::check(&event)?;
    Ok(event)
}

#[cfg(test)]
mod tests;
