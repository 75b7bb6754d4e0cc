//! What is an event and what is not, and that its spellings mean the same.

use super::*;
use bytes::Bytes;
use futures::FutureExt as _;
use http::Uri;
use http::header::{HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (HeaderName::try_from(*n).unwrap(), HeaderValue::try_from(*v).unwrap())).fold(
        HeaderMap::new(),
        |mut map, (n, v)| {
            map.append(n, v);
            map
        },
    )
}

const REQUIRED: [(&str, &str); 4] =
    [("ce-id", "1"), ("ce-source", "/test"), ("ce-specversion", "1.0"), ("ce-type", "t")];

fn with(extra: &[(&str, &str)]) -> HeaderMap {
    headers(&[REQUIRED.as_slice(), extra].concat())
}

fn structured(json: &str) -> Result<Event, Refusal> {
    parse(&headers(&[("content-type", STRUCTURED_JSON)]), json.as_bytes())
}

fn refusal(result: Result<Event, Refusal>) -> String {
    match result {
        Err(Refusal::Malformed(reason)) => reason,
        other => panic!("expected a malformed event, got {other:?}"),
    }
}

#[test]
fn a_binary_event_keeps_its_attributes_and_its_body() {
    let event = parse(&with(&[("content-type", "text/plain"), ("ce-subject", "a%20b")]), b"hello").unwrap();
    assert_eq!(event.get("id"), Some("1"));
    assert_eq!(event.get("subject"), Some("a b"));
    assert_eq!(event.get("datacontenttype"), Some("text/plain"));
    assert_eq!(event.data(), "hello");
}

#[test]
fn the_key_is_the_partition_key_else_the_subject_else_none() {
    let key = |extra: &[(&str, &str)]| parse(&with(extra), b"").unwrap().key().map(str::to_owned);
    assert_eq!(key(&[("ce-partitionkey", "p"), ("ce-subject", "s")]).as_deref(), Some("p"));
    assert_eq!(key(&[("ce-subject", "s")]).as_deref(), Some("s"));
    assert_eq!(key(&[("ce-partitionkey", "")]), None);
    assert_eq!(key(&[]), None);
}

#[test]
fn a_missing_or_wrong_attribute_is_named_in_the_reason() {
    for (missing, _) in REQUIRED {
        let rest: Vec<_> = REQUIRED.into_iter().filter(|(name, _)| *name != missing).collect();
        let reason = refusal(parse(&headers(&rest), b""));
        assert!(reason.contains(missing.strip_prefix("ce-").unwrap()), "{reason}");
    }
    for (name, value) in [
        ("ce-time", "yesterday"),
        ("ce-dataschema", "relative"),
        ("ce-my_attribute", "x"),
        ("ce-subject", ""),
        ("ce-comment", "100%"),
        ("ce-datacontenttype", "a/b"),
        ("ce-data", "x"),
        ("content-type", "nonsense"),
        ("ce-id", "again"),
        ("ce-comment", "line%0Abreak"),
    ] {
        refusal(parse(&with(&[(name, value)]), b""));
    }
}

#[test]
fn other_forms_are_unsupported_and_the_reason_says_what_to_send() {
    for content_type in [
        "application/cloudevents+xml",
        "application/cloudevents",
        "application/cloudevents-batch+json",
        "application/json",
    ] {
        match parse(&headers(&[("content-type", content_type)]), b"{}") {
            Err(Refusal::Unsupported(reason)) => assert!(reason.contains("send"), "{reason}"),
            other => panic!("{content_type}: {other:?}"),
        }
    }
    assert!(matches!(parse(&HeaderMap::new(), b""), Err(Refusal::Unsupported(_))));
}

#[test]
fn structured_data_becomes_the_body_that_binary_mode_would_carry() {
    let common = r#""id":"1","source":"/s","specversion":"1.0","type":"t""#;
    let event = structured(&format!(r#"{{{common},"data":{{"a": 1}}}}"#)).unwrap();
    assert_eq!((&*event.data(), event.get("datacontenttype")), (&br#"{"a": 1}"#[..], Some("application/json")));
    let event = structured(&format!(r#"{{{common},"datacontenttype":"text/plain","data":"a\nb"}}"#)).unwrap();
    assert_eq!(event.data(), "a\nb");
    let event = structured(&format!(r#"{{{common},"datacontenttype":"a/x+json","data":"a"}}"#)).unwrap();
    assert_eq!(event.data(), "\"a\"");
    let event = structured(&format!(r#"{{{common},"data_base64":"aGk="}}"#)).unwrap();
    assert_eq!((&*event.data(), event.get("datacontenttype")), (&b"hi"[..], None));
    let event = structured(&format!(r#"{{{common},"flag":true,"n":-7,"gone":null}}"#)).unwrap();
    assert_eq!((event.get("flag"), event.get("n"), event.get("gone")), (Some("true"), Some("-7"), None));
}

#[test]
fn structured_mistakes_are_named() {
    let common = r#""id":"1","source":"/s","specversion":"1.0","type":"t""#;
    for (rest, word) in [
        (r#","data":1,"data_base64":"aGk=""#, "both"),
        (r#","data_base64":"?""#, "Base64"),
        (r#","data_base64":5"#, "data_base64"),
        (r#","list":[]"#, "list"),
        (r#","half":0.5"#, "half"),
        (r#","big":4294967296"#, "big"),
        (r#","Upper":"x""#, "Upper"),
        (r#","id":"2""#, "more than once"),
        (r#","datacontenttype":"Application/CloudEvents+json","data":{}"#, "whole events"),
        (r#","subject":5"#, "subject"),
        (r#","time":true"#, "time"),
    ] {
        let reason = refusal(structured(&format!("{{{common}{rest}}}")));
        assert!(reason.contains(word), "{rest}: {reason}");
    }
    for body in ["", "[]", "null", "{", "\u{0}"] {
        refusal(structured(body));
    }
    refusal(structured(&format!(r#"{{{common},"deep":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000))));
}

#[test]
fn attributes_that_no_sink_would_take_as_headers_are_refused() {
    refusal(parse(&with(&[("ce-big", &"x".repeat(9000))]), b""));
    let many: Vec<(String, String)> = (0..80).map(|n| (format!("ce-a{n}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    refusal(parse(&with(&many), b""));
}

#[test]
fn json_that_is_no_text_is_refused_with_the_byte_at_which_it_ends_to_be() {
    for content_type in [STRUCTURED_JSON, BATCH_JSON] {
        let headers = headers(&[("content-type", content_type)]);
        let said = parse_all(&headers, b"[{\"id\": \"\xff\"}]").unwrap_err().to_string();
        assert_eq!(said, "the body is not UTF-8 from byte 9 on: send JSON");
    }
}

fn batch(json: &str) -> Result<Vec<Event>, Refusal> {
    parse_all(&headers(&[("content-type", "Application/CloudEvents-Batch+JSON; charset=utf-8")]), json.as_bytes())
}

#[test]
fn a_batch_is_every_event_of_it_in_order() {
    let common = r#""source":"/s","specversion":"1.0","type":"t""#;
    let events = batch(&format!(
        r#"[{{"data":{{"a": 1}},"id":"1",{common}}}, {{{common},"id":"2","data_base64":"aGk=","subject":"k"}}]"#
    ))
    .unwrap();
    let seen: Vec<_> = events.iter().map(|event| (event.get("id"), event.key(), event.data())).collect();
    assert_eq!(seen, [(Some("1"), None, Bytes::from(r#"{"a": 1}"#)), (Some("2"), Some("k"), Bytes::from("hi"))]);
    for event in &events {
        assert_eq!(&decode(event.record().clone()).unwrap(), event);
    }
    assert_eq!(batch("[]").unwrap(), []);
}

#[test]
fn one_bad_event_refuses_the_batch_and_is_named() {
    let good = r#"{"id":"1","source":"/s","specversion":"1.0","type":"t"}"#;
    for (bad, word) in [
        (r#"{"id":"1","source":"/s","specversion":"1.0"}"#, "type is missing"),
        (r#"{"id":"1","source":"/s","specversion":"1.0","type":"t","time":"now"}"#, "time"),
        (r#"{"id":"1","id":"1"}"#, "more than once"),
        ("5", "object"),
        ("{", "JSON"),
    ] {
        let reason = refusal(batch(&format!("[{good},{good},{bad}]")).map(|mut events| events.remove(0)));
        assert!(reason.contains("event 2 of the batch") && reason.contains(word), "{bad}: {reason}");
    }
    for body in ["", "{}", "null", good, "[", &format!("[{good}] {good}")] {
        assert!(batch(body).is_err(), "{body}");
    }
    let many = format!("[{good}{}]", format!(",{good}").repeat(MAX_BATCH_EVENTS));
    assert!(refusal(batch(&many).map(|mut events| events.remove(0))).contains("10000 events"));
}

fn any_event() -> impl Strategy<Value = Event> {
    let value = "[^\\p{Cc}]{0,40}";
    let extensions = proptest::collection::btree_map("x[a-z0-9]{1,10}", value, 0..6);
    ("[^\\p{Cc}]{1,20}", "[a-z]{1,8}(/[a-z0-9]{1,8}){0,3}", extensions, proptest::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(id, source, extensions, data)| {
            let mut attributes = vec![("id", &*id), ("source", &*source), ("specversion", "1.0"), ("type", "t")];
            attributes.extend(extensions.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            attributes.push(("datacontenttype", "application/octet-stream"));
            Event::unchecked(&attributes, &data).unwrap()
        })
}

/// An event without the order of its attributes.
fn sorted(event: &Event) -> (BTreeMap<&str, &str>, Bytes) {
    (event.attributes().collect(), event.data())
}

proptest! {
    #[test]
    fn an_event_survives_the_log(event in any_event()) {
        prop_assert_eq!(decode(event.record().clone()).unwrap(), event);
    }

    #[test]
    fn an_event_survives_delivery_and_being_accepted_again(event in any_event()) {
        let request = to_request(&event, &Uri::from_static("http://sink/")).unwrap();
        let (head, body) = request.into_parts();
        let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
        let again = parse(&head.headers, &body).unwrap();
        prop_assert_eq!(sorted(&again), sorted(&event));
    }

    #[test]
    fn no_record_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(Bytes::from(bytes));
    }

    #[test]
    fn no_request_makes_the_parser_panic(
        pairs in proptest::collection::vec(("(ce-)?[a-z]{1,12}", proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        structured in any::<bool>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut map = if structured { headers(&[("content-type", STRUCTURED_JSON)]) } else { with(&[]) };
        for (name, value) in pairs {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        let _ = parse_all(&map, &body);
    }

    #[test]
    fn no_json_makes_the_structured_parser_panic(body in "[\\[\\]{}\",:a-z0-9\\\\ ]{0,80}") {
        let _ = structured(&body);
        let _ = batch(&body);
        let _ = batch(&format!("[{body}]"));
    }
}
