//! The `CloudEvents` SDK for Rust as an oracle, in both directions: what it writes is read here as it was meant, and
//! what is delivered from here is read by it as it came in.
//!
//! Left out is what the SDK itself does not do by the specification: it neither encodes nor decodes `%XX` in headers.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloudevents::binding::http::to_event;
use cloudevents::event::ExtensionValue;
use cloudevents::message::BinaryDeserializer as _;
use cloudevents::{AttributesReader as _, Data, EventBuilder as _, EventBuilderV10};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Uri};
use proptest::prelude::*;
use serde_json::json;
use signalbox_dispatcher::event::{self, BATCH_JSON, Event, STRUCTURED_JSON};

/// An event of the SDK. With `plain`, values can stand in a header as they are.
fn any_event(plain: bool) -> impl Strategy<Value = cloudevents::Event> {
    let text = if plain { "[!#$&-~]{1,20}" } else { "[^\\p{Cc}]{1,20}" };
    let extension = prop_oneof![
        text.prop_map(ExtensionValue::String),
        any::<bool>().prop_map(ExtensionValue::Boolean),
        any::<i32>().prop_map(|number| ExtensionValue::Integer(number.into())),
    ];
    let data = prop_oneof![
        Just(None),
        proptest::collection::vec(any::<u8>(), 1..60)
            .prop_map(|bytes| Some(("application/octet-stream", Data::Binary(bytes)))),
        "\\PC{1,40}".prop_map(|text| Some(("text/plain; charset=utf-8", Data::String(text)))),
        ("[a-z]{0,5}", any::<i64>(), any::<bool>(), "\\PC{0,20}")
            .prop_map(|(name, number, flag, text)| json!({name: [number, flag, null, {"text": text}]}))
            .prop_map(|value| Some(("application/json", Data::Json(value)))),
        "\\PC{0,20}".prop_map(|text| Some(("application/vnd.x+json", Data::Json(json!(text))))),
    ];
    (
        text,
        "[a-z]{1,8}(/[a-z0-9]{1,8}){0,3}",
        text,
        proptest::option::of(text),
        proptest::option::of(0..253_402_300_800_i64),
        proptest::option::of("[a-z]{1,9}"),
        proptest::collection::btree_map("x[a-z0-9]{1,10}", extension, 0..5),
        data,
    )
        .prop_map(|(id, source, kind, subject, time, schema, extensions, data)| {
            let mut builder = EventBuilderV10::new().id(id).source(source).ty(kind);
            if let Some(subject) = subject {
                builder = builder.subject(subject);
            }
            if let Some(seconds) = time {
                builder = builder.time(rfc3339(seconds));
            }
            for (name, value) in extensions {
                builder = builder.extension(&name, value);
            }
            builder = match (data, schema) {
                (Some((kind, data)), Some(schema)) => {
                    builder.data_with_schema(kind, format!("https://example.com/{schema}").as_str(), data)
                }
                (Some((kind, data)), None) => builder.data(kind, data),
                (None, _) => builder,
            };
            builder.build().unwrap()
        })
}

/// RFC 3339 of seconds since 1970 (days by Howard Hinnant's `civil_from_days`).
fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// What the SDK says the attributes are.
fn attributes_of_sdk(event: &cloudevents::Event) -> BTreeMap<String, String> {
    let spelled = |name: &str, value: String| if name == "time" { value.replace("+00:00", "Z") } else { value };
    event.iter().map(|(name, value)| (name.to_owned(), spelled(name, value.to_string()))).collect()
}

/// What we say they are.
fn attributes(event: &Event) -> BTreeMap<String, String> {
    let spelled = |name: &str, value: &str| {
        if name == "time" { value.replace("+00:00", "Z") } else { value.to_owned() }
    };
    event.attributes().map(|(name, value)| (name.to_owned(), spelled(name, value))).collect()
}

/// Compares data as what its type says: JSON as values, all else as bytes.
fn same_data(event: &Event, sdk: Option<&Data>) -> Result<(), TestCaseError> {
    match sdk {
        None => prop_assert!(event.data().is_empty()),
        Some(Data::Binary(bytes)) => prop_assert_eq!(event.data(), bytes),
        Some(Data::String(text)) => prop_assert_eq!(event.data(), text),
        Some(Data::Json(value)) => {
            prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&event.data()).unwrap(), value);
        }
    }
    Ok(())
}

fn same(event: &Event, sdk: &cloudevents::Event) -> Result<(), TestCaseError> {
    prop_assert_eq!(attributes(event), attributes_of_sdk(sdk));
    same_data(event, sdk.data())
}

fn of(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
}

proptest! {
    #[test]
    fn a_structured_event_of_the_sdk_is_read_as_it_was_meant(sdk in any_event(false)) {
        let body = serde_json::to_vec(&sdk).unwrap();
        same(&event::parse(&of(STRUCTURED_JSON), &body).unwrap(), &sdk)?;
    }

    #[test]
    fn a_batch_of_the_sdk_is_read_as_it_was_meant(batch in proptest::collection::vec(any_event(false), 0..8)) {
        let body = serde_json::to_vec(&batch).unwrap();
        let events = event::parse_all(&of(BATCH_JSON), &body).unwrap();
        prop_assert_eq!(events.len(), batch.len());
        for (event, sdk) in events.iter().zip(&batch) {
            same(event, sdk)?;
        }
    }

    #[test]
    fn a_binary_event_of_the_sdk_is_read_as_it_was_meant(sdk in any_event(true)) {
        let request: Request<Option<Vec<u8>>> =
            sdk.clone().deserialize_binary(http::request::Builder::new()).unwrap();
        let (mut head, body) = request.into_parts();
        // The SDK writes this attribute as a header of its own, which the specification does not have.
        if let Some(kind) = head.headers.remove("ce-datacontenttype") {
            head.headers.insert(CONTENT_TYPE, kind);
        }
        same(&event::parse(&head.headers, &body.unwrap_or_default()).unwrap(), &sdk)?;
    }

    #[test]
    fn what_is_delivered_is_read_by_the_sdk_as_it_came_in(sdk in any_event(true), structured in any::<bool>()) {
        let event = if structured {
            event::parse(&of(STRUCTURED_JSON), &serde_json::to_vec(&sdk).unwrap()).unwrap()
        } else {
            let mut headers = HeaderMap::new();
            for (name, value) in attributes_of_sdk(&sdk) {
                let header = if name == "datacontenttype" { "content-type".to_owned() } else { format!("ce-{name}") };
                headers.insert(http::HeaderName::try_from(header).unwrap(), HeaderValue::try_from(value).unwrap());
            }
            let body: Vec<u8> = sdk.data().cloned().map_or(Vec::new(), |data| data.try_into().unwrap());
            event::parse(&headers, &body).unwrap()
        };
        let request = event::to_request(&event, &Uri::from_static("http://sink/")).unwrap();
        let data: Bytes = event.data();
        let read = to_event(request.headers(), data.to_vec()).unwrap();
        prop_assert_eq!(attributes_of_sdk(&read), attributes_of_sdk(&sdk));
        prop_assert_eq!(read.id(), sdk.id());
        let bytes: Vec<u8> = read.data().cloned().map_or(Vec::new(), |data| data.try_into().unwrap());
        prop_assert_eq!(bytes, data);
        same_data(&event, sdk.data())?;
    }
}
