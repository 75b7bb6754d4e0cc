//! The event as one JSON object: structured mode, written. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use super::Event;
use super::structured::is_json;

/// An event that is written as the JSON event format has it.
struct Object<'a>(&'a Event);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event { attributes, data } = self.0;
        let mut object = serializer.serialize_map(None)?;
        for (name, value) in attributes {
            object.serialize_entry(name, value)?;
        }
        // Without a content type, `data` would be read as JSON: those bytes are left as they are.
        let content_type = self.0.get("datacontenttype").unwrap_or_default();
        let text = std::str::from_utf8(data).ok();
        if data.is_empty() {
            return object.end();
        }
        if is_json(content_type)
            && let Some(raw) = text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
        {
            object.serialize_entry("data", raw)?;
        } else if let Some(text) = text.filter(|_| is_text(content_type)) {
            object.serialize_entry("data", text)?;
        } else {
            object.serialize_entry("data_base64", &STANDARD.encode(data))?;
        }
        object.end()
    }
}

/// Writes `event` as one JSON object. Data that is JSON stays JSON, text stays text, all else is Base64.
pub fn to_structured(event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Object(event))
}

/// Whether data of this type is for people to read.
fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or(content_type).trim().to_ascii_lowercase();
    essence.starts_with("text/") || essence.ends_with("/xml") || essence.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use super::to_structured;
    use crate::event::{Event, STRUCTURED_JSON, parse};
    use bytes::Bytes;
    use http::HeaderMap;

    fn event(content_type: Option<&str>, data: &'static [u8]) -> Event {
        let attributes = [("id", "1"), ("source", "/s"), ("specversion", "1.0"), ("type", "t")];
        let content_type = content_type.map(|value| ("datacontenttype", value));
        let attributes = attributes.into_iter().chain(content_type);
        Event {
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            data: Bytes::from_static(data),
        }
    }

    #[test]
    fn what_is_written_is_read_again_as_the_same_event() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", STRUCTURED_JSON.parse().unwrap());
        for (content_type, data, member) in [
            (None, &b""[..], None),
            (None, b"{}", Some("data_base64")),
            (Some("application/json"), br#"{"a": [1, 2.50]}"#, Some("data")),
            (Some("application/json"), br#""text""#, Some("data")),
            (Some("application/json; charset=utf-8"), b"{torn", Some("data_base64")),
            (Some("application/vnd.x+json"), b"null", Some("data")),
            (Some("text/plain"), "grüße \"\n".as_bytes(), Some("data")),
            (Some("text/plain"), b"\xff", Some("data_base64")),
            (Some("application/soap+xml"), b"<a/>", Some("data")),
            (Some("application/octet-stream"), b"abc", Some("data_base64")),
        ] {
            let event = event(content_type, data);
            let json = to_structured(&event).unwrap();
            let object: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let members = ["data", "data_base64"].into_iter().find(|name| object.get(name).is_some());
            assert_eq!(members, member, "{content_type:?}");
            assert_eq!(parse(&headers, Bytes::from(json)).unwrap(), event);
        }
    }
}
