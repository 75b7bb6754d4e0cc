//! Percent-encoding of attribute values in HTTP headers, as section 3.1.3.2 of the `CloudEvents` HTTP binding has
//! it. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether `value` can stand in a header as it is.
pub(super) fn is_plain(value: &str) -> bool {
    value.bytes().all(is_plain_byte)
}

fn is_plain_byte(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%'
}

/// Encodes what may not stand in a header value: everything but U+0021 to U+007E, and `"` and `%`.
pub(super) fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if is_plain_byte(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Takes off the quotes of a quoted value, then decodes once. The error says what is wrong and what to send.
pub(super) fn decode(value: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    const NOT_UTF8: &str = "is not UTF-8 once percent-decoded: encode its UTF-8 bytes as %XX";
    if value.first() != Some(&b'"') && !value.contains(&b'%') {
        return std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| NOT_UTF8);
    }
    let value = unquote(value)?;
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                return Err("has a % that two hex digits do not follow: write %25 for a percent sign");
            };
            out.push(high * 16 + low);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| NOT_UTF8)
}

/// A value in double quotes may hold `\"` and `\\`.
fn unquote(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let Some(inner) = value.strip_prefix(b"\"") else { return Ok(value.to_vec()) };
    let unclosed = "opens a double quote and does not close it: write %22 for a quote";
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    loop {
        match bytes.next() {
            None => return Err(unclosed),
            Some(b'"') => break,
            Some(b'\\') => out.push(bytes.next().ok_or(unclosed)?),
            Some(byte) => out.push(byte),
        }
    }
    if bytes.next().is_some() { Err("goes on after its closing double quote: write %22 for a quote") } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_specification_is_encoded_as_it_says() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
    }

    #[test]
    fn a_quoted_value_is_unquoted_before_it_is_decoded() {
        assert_eq!(decode(br#""a \"b\" %41""#).unwrap(), r#"a "b" A"#);
        assert!(decode(b"\"open").is_err());
        assert!(decode(b"\"a\"b").is_err());
    }

    #[test]
    fn a_stray_percent_sign_and_bad_utf8_are_refused() {
        assert!(decode(b"100%").is_err());
        assert!(decode(b"%zz").is_err());
        assert!(decode(b"%ff").is_err());
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(value in any::<String>()) {
            let encoded = encode(&value);
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), value);
        }

        #[test]
        fn decoding_never_panics(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&value);
        }
    }
}
