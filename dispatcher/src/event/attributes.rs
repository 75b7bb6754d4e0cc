//! The rules of the `CloudEvents` 1.0 specification for context attributes. Pure.

use super::{Event, Refusal};

/// Most attributes of one event.
const MAX_ATTRIBUTES: usize = 64;

/// Most bytes that the names and values of one event's attributes may take together. They are sent on as
/// headers, and servers commonly refuse more than 16 KiB of those even before the encoding has grown them.
const MAX_ATTRIBUTE_BYTES: usize = 8 * 1024;

/// Longest attribute name. The specification asks for 20 at most and does not insist.
const MAX_NAME_BYTES: usize = 64;

/// Checks everything that does not depend on the mode the event came in.
pub(super) fn check(event: &Event) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::Malformed(reason));
    if event.attributes.len() > MAX_ATTRIBUTES {
        return refuse(format!("the event has more than {MAX_ATTRIBUTES} attributes: put the rest in its data"));
    }
    let bytes: usize = event.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_ATTRIBUTE_BYTES {
        return refuse(format!(
            "the attributes take {bytes} bytes and may take {MAX_ATTRIBUTE_BYTES}: put the rest in the data"
        ));
    }
    match event.get("specversion") {
        Some("1.0") => {}
        Some(_) => return refuse("specversion is not supported: send 1.0".to_owned()),
        None => return refuse("specversion is missing: send 1.0".to_owned()),
    }
    for (name, hint) in [
        ("id", "a string that is unique within the source"),
        ("source", "a URI-reference such as /orders or urn:shop:orders"),
        ("type", "a name such as com.example.order.created"),
    ] {
        match event.get(name) {
            None => return refuse(format!("{name} is missing: send {hint}")),
            Some("") => return refuse(format!("{name} is empty: send {hint}")),
            Some(_) => {}
        }
    }
    for (name, value) in &event.attributes {
        check_one(name, value)?;
    }
    Ok(())
}

fn check_one(name: &str, value: &str) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::Malformed(reason));
    check_name(name)?;
    if value.chars().any(char::is_control) {
        return refuse(format!("{name} contains a control character: leave it out"));
    }
    match name {
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
        _ => Ok(()),
    }
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

/// The grammar of RFC 3339 section 5.6, then the calendar. (The calendar's own parser takes more than RFC 3339.)
fn is_rfc3339(value: &str) -> bool {
    let bytes = value.as_bytes();
    let digits = |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    let shape = digits(0, 4)
        && is(4, b"-")
        && digits(5, 7)
        && is(7, b"-")
        && digits(8, 10)
        && is(10, b"Tt")
        && digits(11, 13)
        && is(13, b":")
        && digits(14, 16)
        && is(16, b":")
        && digits(17, 19);
    if !shape {
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
    let offset = (is(at, b"Zz") && bytes.len() == at + 1)
        || (is(at, b"+-")
            && digits(at + 1, at + 3)
            && is(at + 3, b":")
            && digits(at + 4, at + 6)
            && bytes.len() == at + 6);
    // More than nanoseconds is allowed by the grammar, and not by the calendar: check without the fraction.
    let whole = [value.get(..19), value.get(at..)].into_iter().flatten().collect::<String>();
    offset && whole.parse::<jiff::Timestamp>().is_ok()
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
        for good in ["2026-01-31T12:00:00Z", "2026-01-31t12:00:00.123456789012z", "1985-04-12T23:20:50.52+02:00"] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "2026-01-31",
            "2026-01-31 12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-01-31T25:00:00Z",
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
