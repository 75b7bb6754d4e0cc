//! Verifies signatures as Standard Webhooks has them. Pure.
//!
//! `webhook-signature` holds, separated by spaces, `v1,<base64 of HMAC-SHA-256>` of `<webhook-id>.<webhook-timestamp>.`
//! and the body. One that fits is enough: a sender that changes its secret sends two.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use ring::hmac;

/// How far the sender's clock may be from ours, in seconds.
const TOLERANCE_SECONDS: i64 = 300;

/// What there is to say about a request's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Signed with one of the secrets, not long ago.
    Valid,
    /// Signed by someone else, or something else, or too long ago.
    Invalid,
    /// Not signed.
    Missing,
}

/// The secrets that signatures are checked with.
#[derive(Clone, Debug)]
pub struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// Reads secrets, one a line, each `whsec_` and base64. The error says what to write, and nothing of the secret.
    pub fn read(text: &str) -> Result<Self, String> {
        let keys = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
            let key = line.strip_prefix("whsec_").and_then(|secret| BASE64_STANDARD.decode(secret).ok());
            key.filter(|key| !key.is_empty())
                .map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key))
                .ok_or_else(|| "a signing secret is not valid: write whsec_ and then base64, one a line".to_owned())
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err("there is no signing secret: write whsec_ and then base64, one a line".to_owned());
        }
        Ok(Self(keys))
    }

    /// Checks a request at a time in seconds since 1970.
    pub fn check(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Verdict {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(id), Some(timestamp), Some(signatures)) =
            (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"))
        else {
            return Verdict::Missing;
        };
        if timestamp.parse::<i64>().map_or(true, |then| then.abs_diff(now) > TOLERANCE_SECONDS.unsigned_abs()) {
            return Verdict::Invalid;
        }
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let fits = |signature: &str| {
            let tag = signature.strip_prefix("v1,").and_then(|tag| BASE64_STANDARD.decode(tag).ok());
            tag.is_some_and(|tag| self.0.iter().any(|key| hmac::verify(key, &signed, &tag).is_ok()))
        };
        if signatures.split(' ').any(fits) { Verdict::Valid } else { Verdict::Invalid }
    }
}

#[cfg(test)]
mod tests {
    use super::{Secrets, Verdict};
    use http::{HeaderMap, HeaderValue};

    /// The example of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signed(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_static(ID));
        headers.insert("webhook-timestamp", HeaderValue::from(TIME));
        headers.insert("webhook-signature", HeaderValue::from_str(signature).unwrap());
        headers
    }

    #[test]
    fn the_known_example_is_valid_and_everything_near_it_is_not() {
        let secrets = Secrets::read(&format!("{SECRET}\n")).unwrap();
        let headers = signed(SIGNATURE);
        assert_eq!(secrets.check(&headers, BODY, TIME + 10), Verdict::Valid);
        assert_eq!(secrets.check(&headers, b"{}", TIME), Verdict::Invalid);
        assert_eq!(secrets.check(&headers, BODY, TIME + 301), Verdict::Invalid);
        assert_eq!(secrets.check(&signed("v1,AAAA"), BODY, TIME), Verdict::Invalid);
        assert_eq!(secrets.check(&signed(&format!("v1,AAAA {SIGNATURE}")), BODY, TIME), Verdict::Valid);
        assert_eq!(secrets.check(&HeaderMap::new(), BODY, TIME), Verdict::Missing);
        let other = Secrets::read("whsec_AAAA").unwrap();
        assert_eq!(other.check(&headers, BODY, TIME), Verdict::Invalid);
        assert_eq!(
            Secrets::read(&format!("whsec_AAAA\n{SECRET}")).unwrap().check(&headers, BODY, TIME),
            Verdict::Valid
        );
    }

    #[test]
    fn a_secret_that_is_none_is_refused_without_being_told() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_%%%"] {
            let error = Secrets::read(text).unwrap_err();
            assert!(error.contains("write whsec_") && !error.contains("MfKQ"), "{error}");
        }
    }
}
