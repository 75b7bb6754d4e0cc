//! The rules of the `CloudEvents` 1.0 specification for context attributes. Pure.

use super::Refusal;

/// Most attributes of one event.
pub(super) const MAX_ATTRIBUTES: usize = 64;

/// Most bytes that the names and values of one event's attributes may take together. They are sent on as
/// headers, and servers commonly refuse more than 16 KiB of those even before the encoding has grown them.
pub(super) const MAX_ATTRIBUTE_BYTES: usize = 8 * 1024;

/// Longest attribute name. The specification asks for 20 at most and does not insist.
const MAX_NAME_BYTES: usize = 64;

/// Attributes that every event has, each with what to send.
pub(super) const REQUIRED: [(&str, &str); 4] = [
    ("specversion", "1.0"),
    ("id", "a string that is unique within the source"),
    ("source", "a URI-reference such as /orders or urn:shop:orders"),
    ("type", "a name such as com.example.order.created"),
];

/// Whether the specification says that this attribute is a string, so that JSON may hold nothing else.
pub(super) fn is_string_only(name: &str) -> bool {
    REQUIRED.iter().any(|(required, _)| *required == name)
        || matches!(name, "datacontenttype" | "dataschema" | "subject" | "time")
}

/// Checks one attribute.
pub(super) fn check_one(name: &str, value: &str) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::Malformed(reason));
    check_name(name)?;
    let plain = value.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !plain && value.chars().any(char::is_control) {
        return refuse(format!("{name} contains a control character: leave it out"));
    }
    if value.is_empty()
        && let Some((_, hint)) = REQUIRED.iter().find(|(required, _)| *required == name)
    {
        return refuse(format!("{name} is empty: send {hint}"));
    }
    match name {
        "specversion" if value != "1.0" => refuse("specversion is not supported: send 1.0".to_owned()),
        "source" if !is_uri_reference(value) => {
            refuse("source is not a URI-reference: send one such as /orders, with spaces as %20".to_owned())
        }
        "dataschema" if !(is_uri_reference(value) && scheme(value).is_some()) => {
            refuse("dataschema is not a URI: send one with a scheme, such as https://example.com/schema".to_owned())
        }
        "time" if !is_rfc3339(value) => {
            refuse("time is not an RFC 3339 timestamp: send one such as 2026-01-31T12:00:00Z".to_owned())
        }
        "subject" if value.is_empty() => refuse("subject is empty: send a value, or leave it out".to_owned()),
        "datacontenttype" if !is_media_type(value) => refuse(
            "datacontenttype is not a media type: send one such as application/json, in visible ASCII".to_owned(),
        ),
        "datacontenttype" if is_event_form(value) => refuse(
            "datacontenttype is a form of whole events, so sinks would misread the data: send the type of the data \
             itself"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// Whether this `Content-Type` says that the body is one event or more, and not the data of one.
pub(super) fn is_event_form(content_type: &str) -> bool {
    const PREFIX: &str = "application/cloudevents";
    content_type.trim_start().get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Names are lower-case letters and digits. Anything else is a mistake that a sink would read in its own way.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let refuse = |reason: &str| Err(Refusal::Malformed(format!("attribute name {name:?} {reason}")));
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return refuse(&format!("is empty or too long: use 1 to {MAX_NAME_BYTES} characters"));
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return refuse("is not allowed: use only a-z and 0-9");
    }
    if name == "data" || name == "database64" {
        return refuse("is reserved for the payload: send the payload as the body");
    }
    Ok(())
}

/// RFC 3986, loosely: only its characters, whole percent triplets, and a well-formed scheme if there is one.
fn is_uri_reference(value: &str) -> bool {
    let bytes = value.as_bytes();
    let characters = bytes.iter().enumerate().all(|(at, &b)| match b {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        _ => b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&b),
    });
    let colon_in_first_segment = value.split(['/', '?', '#']).next().is_some_and(|segment| segment.contains(':'));
    characters && (!colon_in_first_segment || scheme(value).is_some())
}

fn scheme(value: &str) -> Option<&str> {
    let (scheme, _) = value.split_once(':')?;
    let mut bytes = scheme.bytes();
    let ok = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    ok.then_some(scheme)
}

/// A `type/subtype` that can stand in a `Content-Type` header as it is.
fn is_media_type(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or(value).trim();
    value.bytes().all(|b| (0x20..=0x7e).contains(&b))
        && essence.split_once('/').is_some_and(|(kind, sub)| {
            let token = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
            };
            token(kind) && token(sub)
        })
}

/// The grammar of RFC 3339 section 5.6, and the calendar. (The calendar's own parser takes more than RFC 3339.)
fn is_rfc3339(value: &str) -> bool {
    let bytes = value.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to).filter(|part| part.iter().all(u8::is_ascii_digit))?;
        Some(digits.iter().fold(0_i16, |number, digit| number * 10 + i16::from(digit - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    let below = |from: usize, limit: i16| number(from, from + 2).is_some_and(|number| number < limit);
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else { return false };
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else { return false };
    let date = is(4, b"-") && is(7, b"-") && jiff::civil::Date::new(year, month, day).is_ok();
    // A minute may have a leap second.
    let time = below(11, 24) && is(13, b":") && below(14, 60) && is(16, b":") && below(17, 61);
    if !(date && is(10, b"Tt") && time) {
        return false;
    }
    let mut at = 19;
    if is(at, b".") {
        let from = at + 1;
        at = from + bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
        if at == from {
            return false;
        }
    }
    (is(at, b"Zz") && bytes.len() == at + 1)
        || (is(at, b"+-") && below(at + 1, 24) && is(at + 3, b":") && below(at + 4, 60) && bytes.len() == at + 6)
}

#[cfg(test)]
mod tests {
    use super::{is_media_type, is_rfc3339, is_uri_reference};

    #[test]
    fn uri_references_are_told_from_other_text() {
        for good in ["/orders", "orders", "urn:shop:1", "https://a.b/c?d=e#f", "a%20b", "./a:b", "//host/x"] {
            assert!(is_uri_reference(good), "{good}");
        }
        for bad in ["a b", "a%2", "1a:b", ":x", "ü", "<x>", "a\\b", "a\"b"] {
            assert!(!is_uri_reference(bad), "{bad}");
        }
    }

    #[test]
    fn timestamps_follow_rfc_3339_and_the_calendar() {
        for good in [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00.123456789012z",
            "1985-04-12T23:20:50.52+02:00",
            "1990-12-31T23:59:60Z",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "2026-01-31",
            "2026-01-31 12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-01-31T25:00:00Z",
            "2026-01-31T12:60:00Z",
            "2026-01-31T12:00:61Z",
            "2026-01-31T12:00:00+24:00",
            "2026-13-01T12:00:00Z",
            "2026-01-31T12:00:00+0100",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00Z[UTC]",
            "now",
            "",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }

    #[test]
    fn media_types_can_stand_in_a_header() {
        assert!(is_media_type("application/json; charset=utf-8"));
        for bad in ["", "json", "a/", "/b", "a/b\n", "text/ü"] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }
}
