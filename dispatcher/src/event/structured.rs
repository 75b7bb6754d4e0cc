//! Structured and batched mode with the JSON event format: one object holds attributes and data. Pure.
//!
//! One pass: attributes go from the text into the record, and data, which may be large, is kept as its producer
//! wrote it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::attributes::{check_name, is_string_only};
use super::draft::Draft;
use super::{Event, MAX_BATCH_EVENTS, Refusal};

/// Room for what a record has that its JSON may not.
const SLACK_BYTES: usize = 64;

/// Reads one event from a JSON object.
pub(super) fn parse(body: &[u8]) -> Result<Event, Refusal> {
    let (mut draft, mut refusal) = (Draft::with_capacity(body.len() + SLACK_BYTES), None);
    let mut json = serde_json::Deserializer::from_str(text(body)?);
    let object = Object { draft: &mut draft, refusal: &mut refusal };
    let event = object.deserialize(&mut json).and_then(|event| json.end().map(|()| event));
    event.map_err(|e| {
        refusal.unwrap_or_else(|| {
            Refusal::Malformed(format!("the body is not an event in JSON ({e}): send one JSON object"))
        })
    })
}

/// The body as text. Looked at once and as a whole: the parser would look at each string again.
fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body)
        .map_err(|e| Refusal::Malformed(format!("the body is not UTF-8 from byte {} on: send JSON", e.valid_up_to())))
}

/// Reads the events of a JSON array: all of them, or the reason why one is none, with its index.
pub(super) fn parse_batch(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let (mut draft, mut refusal) = (Draft::with_capacity(body.len() + SLACK_BYTES), None);
    let mut events = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text(body)?);
    let array = Array { draft: &mut draft, refusal: &mut refusal, events: &mut events };
    match array.deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => Ok(events),
        Err(e) => Err(match refusal {
            Some(Refusal::Malformed(reason)) => {
                Refusal::Malformed(format!("event {} of the batch, counted from 0: {reason}", events.len()))
            }
            Some(other) => other,
            None => Refusal::Malformed(format!(
                "the body is not a batch of events in JSON ({e}, in event {} of the batch, counted from 0): send a \
                 JSON array of objects",
                events.len()
            )),
        }),
    }
}

/// Keeps the reason aside, because an error of the JSON reader would add a line and a column to it.
fn stop<E: Error>(refusal: &mut Option<Refusal>, reason: Refusal) -> E {
    *refusal = Some(reason);
    E::custom("not an event")
}

struct Array<'a> {
    draft: &'a mut Draft,
    refusal: &'a mut Option<Refusal>,
    events: &'a mut Vec<Event>,
}

impl<'de> DeserializeSeed<'de> for Array<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { draft, refusal, events } = self;
        while let Some(event) = seq.next_element_seed(Object { draft, refusal })? {
            if events.len() == MAX_BATCH_EVENTS {
                let reason = format!("a batch may have {MAX_BATCH_EVENTS} events: send the rest in another");
                return Err(stop(refusal, Refusal::Malformed(reason)));
            }
            events.push(event);
        }
        Ok(())
    }
}

struct Object<'a> {
    draft: &'a mut Draft,
    refusal: &'a mut Option<Refusal>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let Self { draft, refusal } = self;
        let (mut json, mut base64): (Option<&'de RawValue>, Option<&'de RawValue>) = (None, None);
        while let Some(Name(name)) = map.next_key()? {
            let again = match &*name {
                "data" => json.replace(map.next_value()?).is_some(),
                "data_base64" => base64.replace(map.next_value()?).is_some(),
                name => {
                    if let Err(reason) = check_name(name) {
                        return Err(stop(refusal, reason));
                    }
                    let again = draft.get(name).is_some();
                    map.next_value_seed(Attribute { name, draft, refusal })?;
                    again
                }
            };
            if again {
                return Err(stop(refusal, Refusal::Malformed(format!("member {name:?} is given more than once"))));
            }
        }
        finish(draft, json, base64).map_err(|reason| stop(refusal, reason))
    }
}

/// The name of a member, borrowed unless it has escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a member")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Puts the value of an attribute into the draft: its canonical string, or nothing for `null`, which means "not set".
struct Attribute<'a> {
    name: &'a str,
    draft: &'a mut Draft,
    refusal: &'a mut Option<Refusal>,
}

impl Attribute<'_> {
    fn add<E: Error>(self, value: &str) -> Result<(), E> {
        self.draft.attribute(self.name, value).map_err(|reason| stop(self.refusal, reason))
    }

    /// Adds what is not a string, if the attribute may be something else.
    fn add_other<E: Error>(self, value: &str) -> Result<(), E> {
        if is_string_only(self.name) {
            return self.refuse("is not a string: send it in quotes");
        }
        self.add(value)
    }

    fn refuse<E: Error>(self, what: &str) -> Result<(), E> {
        Err(stop(self.refusal, Refusal::Malformed(format!("{} {what}", self.name))))
    }
}

impl<'de> DeserializeSeed<'de> for Attribute<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Attribute<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of an attribute")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.add(text)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.add_other(if flag { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        match i32::try_from(number) {
            Ok(number) => self.add_other(&number.to_string()),
            Err(_) => self.refuse("is not a whole number of 32 bits: send it as a string if it must be an attribute"),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.refuse("is not a whole number of 32 bits: send it as a string if it must be an attribute")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.refuse("is an array: attributes are strings, whole numbers or booleans; put it in data")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.refuse("is an object: attributes are strings, whole numbers or booleans; put it in data")
    }
}

/// Adds the data in the form that binary mode would carry.
fn finish(draft: &mut Draft, json: Option<&RawValue>, base64: Option<&RawValue>) -> Result<Event, Refusal> {
    let refuse = |reason: String| Err(Refusal::Malformed(reason));
    match (json, base64) {
        (Some(_), Some(_)) => refuse("both data and data_base64 are given: send one of them".to_owned()),
        (None, None) => draft.finish(&[]),
        (None, Some(raw)) => {
            let Ok(Name(text)) = serde_json::from_str(raw.get()) else {
                return refuse("data_base64 is not a string: send the bytes in Base64".to_owned());
            };
            match STANDARD.decode(&*text) {
                Ok(data) => draft.finish(&data),
                Err(e) => refuse(format!("data_base64 is not Base64 ({e}): use the standard alphabet, with padding")),
            }
        }
        (Some(raw), None) => {
            let json = draft.get("datacontenttype").map(is_json);
            if json.is_none() {
                // Binary mode has no default type, so what structured mode leaves unsaid is said there.
                draft.attribute("datacontenttype", "application/json")?;
            }
            match serde_json::from_str(raw.get()) {
                Ok(Name(text)) if json == Some(false) => draft.finish(text.as_bytes()),
                _ => draft.finish(raw.get().as_bytes()),
            }
        }
    }
}

/// Whether data of this type is JSON: `*/json` or `*/*+json`.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or(content_type).trim();
    essence.split_once('/').is_some_and(|(_, subtype)| {
        let suffix = subtype.len().checked_sub(5).and_then(|at| subtype.get(at..));
        subtype.eq_ignore_ascii_case("json") || suffix.is_some_and(|end| end.eq_ignore_ascii_case("+json"))
    })
}
