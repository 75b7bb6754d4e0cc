//! Structured mode with the JSON event format: one object holds attributes and data. Pure.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::attributes::check_name;
use super::{Event, Refusal};

/// The members of the object in order, values unread: data may be large and is kept as its producer wrote it.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                let mut seen = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if !seen.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!("member {name:?} is given more than once")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Reads one event from a JSON object.
pub(super) fn parse(body: &Bytes) -> Result<Event, Refusal> {
    let refuse = |reason: String| Refusal::Malformed(reason);
    let Members(members) = serde_json::from_slice(body)
        .map_err(|e| refuse(format!("the body is not an event in JSON ({e}): send one JSON object")))?;
    let mut attributes = Vec::with_capacity(members.len());
    let mut json = None;
    let mut base64 = None;
    for (name, raw) in members {
        match name.as_str() {
            "data" => json = Some(raw),
            "data_base64" => base64 = Some(raw),
            _ => {
                check_name(&name)?;
                let value: Value = serde_json::from_str(raw.get())
                    .map_err(|e| refuse(format!("{name} is not a JSON value that can be read ({e})")))?;
                if let Some(value) = attribute_value(&name, value)? {
                    attributes.push((name, value));
                }
            }
        }
    }
    let content_type = attributes.iter().find(|(name, _)| name == "datacontenttype").map(|(_, value)| value.clone());
    let data = match (json, base64) {
        (Some(_), Some(_)) => return Err(refuse("both data and data_base64 are given: send one of them".to_owned())),
        (None, None) => Bytes::new(),
        (None, Some(raw)) => {
            let text: String = serde_json::from_str(raw.get())
                .map_err(|_| refuse("data_base64 is not a string: send the bytes in Base64".to_owned()))?;
            Bytes::from(STANDARD.decode(text).map_err(|e| {
                refuse(format!("data_base64 is not Base64 ({e}): use the standard alphabet, with padding"))
            })?)
        }
        (Some(raw), None) => {
            // Binary mode has no default type, so what structured mode leaves unsaid is said there.
            if content_type.is_none() {
                attributes.push(("datacontenttype".to_owned(), "application/json".to_owned()));
            }
            match serde_json::from_str::<String>(raw.get()) {
                Ok(text) if !content_type.as_deref().is_none_or(is_json) => Bytes::from(text),
                _ => body.slice_ref(raw.get().as_bytes()),
            }
        }
    };
    Ok(Event { attributes, data })
}

/// The canonical string of an attribute, or nothing for `null`, which means "not set".
fn attribute_value(name: &str, value: Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Bool(flag) => Ok(Some(flag.to_string())),
        Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
            Ok(Some(number.to_string()))
        }
        Value::Number(_) => Err(Refusal::Malformed(format!(
            "{name} is not a whole number of 32 bits: send it as a string if it must be an attribute"
        ))),
        Value::Array(_) | Value::Object(_) => Err(Refusal::Malformed(format!(
            "{name} is an array or an object: attributes are strings, whole numbers or booleans; put it in data"
        ))),
    }
}

/// Whether data of this type is JSON: `*/json` or `*/*+json`.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or(content_type).trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}
