//! Standard Webhooks signatures: a sink that knows the secret can tell that an event comes from here, is whole, and is
//! no repetition of an old one.
//!
//! ```text
//! webhook-id         the same for every attempt to deliver an event, and for no other event
//! webhook-timestamp  seconds since 1970, of this attempt
//! webhook-signature  v1,<HMAC-SHA256 of "id.timestamp.body", in base64>, once for each secret, with spaces between
//! ```
//!
//! To change a secret without a gap: write the new one above the old one, teach it to the sink, remove the old one.
//! The file is looked at again about once a second while events are sent. What it says must make sense when the
//! process starts. When it makes none later, the last that did is used, and a line in the log says so, once.
//! Pure but for reading that file. May import nothing of this crate.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::{digest, hmac};

/// How often the file is looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// Bytes of a secret, as the specification has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The secrets of one sink.
#[derive(Clone, Debug)]
struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// One secret a line. The error says what is wrong, and nothing of what is there.
    fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let bytes = line.strip_prefix(PREFIX).and_then(|secret| BASE64_STANDARD.decode(secret).ok());
            match bytes {
                Some(bytes) if SECRET_BYTES.contains(&bytes.len()) => {
                    keys.push(hmac::Key::new(hmac::HMAC_SHA256, &bytes));
                }
                Some(bytes) => {
                    return Err(format!("line {number} has {} bytes instead of 24 to 64", bytes.len()));
                }
                None => return Err(format!("line {number} is not {PREFIX} and base64")),
            }
        }
        if keys.is_empty() { Err("it is empty".to_owned()) } else { Ok(Self(keys)) }
    }

    /// The value of `webhook-signature`.
    fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut value = String::with_capacity(self.0.len() * 48);
        for key in &self.0 {
            let mut context = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                context.update(part);
            }
            if !value.is_empty() {
                value.push(' ');
            }
            value.push_str("v1,");
            BASE64_STANDARD.encode_string(context.sign(), &mut value);
        }
        value
    }
}

/// The `webhook-id` of an event: from its `source` and `id`, so that it is the same after a restart.
pub(super) fn message_id(source: &str, id: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [source, id] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().iter().take(16).fold("msg_".to_owned(), |mut id, byte| {
        id.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
        id
    })
}

/// What tells one state of a file from another. A Secret that is mounted changes by a new file.
type Stamp = (SystemTime, u64, u64);

#[derive(Debug)]
struct State {
    secrets: Secrets,
    seen: Option<Stamp>,
    looked: Instant,
}

/// Signs with what is in a file.
#[derive(Debug)]
pub(super) struct Signer {
    path: PathBuf,
    state: Mutex<State>,
}

impl Signer {
    /// Reads the secrets of `sink`. The error is a sentence that says what to write.
    pub(super) fn open(path: &Path, sink: &str) -> Result<Self, String> {
        let seen = stamp(path);
        let secrets = read(path).map_err(|why| {
            format!(
                "the signing secrets of sink {sink} in {} cannot be used ({why}): write one secret a line, each \
                 {PREFIX} and 24 to 64 random bytes in base64",
                path.display()
            )
        })?;
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { secrets, seen, looked: Instant::now() }) })
    }

    /// Adds the headers to a request with this body.
    pub(super) fn sign(&self, headers: &mut HeaderMap, id: &str, timestamp: i64, body: &[u8], now: Instant) {
        let timestamp = timestamp.to_string();
        let signature = self.secrets(now).sign(id, &timestamp, body);
        for (name, value) in [(ID, id), (TIMESTAMP, &timestamp), (SIGNATURE, &signature)] {
            // Hexadecimal, decimal and base64: all of it may stand in a header.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }

    fn secrets(&self, now: Instant) -> Secrets {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) >= LOOK_AGAIN {
            state.looked = now;
            let seen = stamp(&self.path);
            if seen != state.seen {
                state.seen = seen;
                match read(&self.path) {
                    Ok(secrets) => {
                        state.secrets = secrets;
                        tracing::info!(path = %self.path.display(), "signing with new secrets");
                    }
                    Err(why) => tracing::warn!(
                        path = %self.path.display(),
                        reason = why,
                        "the signing secrets cannot be used: signing goes on with the last that could"
                    ),
                }
            }
        }
        state.secrets.clone()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn read(path: &Path) -> Result<Secrets, String> {
    Secrets::parse(&std::fs::read_to_string(path).map_err(|e| e.to_string())?)
}

#[cfg(test)]
mod tests {
    use super::{LOOK_AGAIN, Secrets, Signer, message_id};
    use http::HeaderMap;
    use std::time::Instant;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// Of the reference implementations' own tests.
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

    #[test]
    fn the_known_message_has_the_known_signature() {
        assert_eq!(Secrets::parse(SECRET).unwrap().sign(ID, "1614265330", BODY), SIGNATURE);
    }

    #[test]
    fn every_secret_signs_in_the_order_of_the_file() {
        let both = Secrets::parse(&format!("{OTHER}\n\n  {SECRET}\n")).unwrap().sign(ID, "1614265330", BODY);
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(second, SIGNATURE);
        assert_eq!(first, Secrets::parse(OTHER).unwrap().sign(ID, "1614265330", BODY));
        assert_ne!(first, second);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        for (text, why) in [
            ("", "empty"),
            ("\n \n", "empty"),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 1"),
            ("whsec_%%%", "line 1"),
            ("whsec_c2hvcnQ=", "5 bytes"),
            (&format!("{SECRET}\nwhsec_"), "line 2"),
        ] {
            let said = Secrets::parse(text).unwrap_err();
            assert!(said.contains(why) && !said.contains("MfKQ"), "{said}");
        }
    }

    #[test]
    fn the_id_of_a_message_is_of_source_and_id_and_of_nothing_else() {
        assert_eq!(message_id("/a", "1"), message_id("/a", "1"));
        assert_ne!(message_id("/a", "11"), message_id("/a1", "1"));
        assert_eq!(message_id("/a", "1").len(), 36);
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_one_that_makes_no_sense_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("secrets");
        let missing = Signer::open(&path, "orders").unwrap_err();
        assert!(missing.contains("orders") && missing.contains("write one secret a line"), "{missing}");
        std::fs::write(&path, SECRET).unwrap();
        let signer = Signer::open(&path, "orders").unwrap();
        let mut now = Instant::now();
        let mut signature = || {
            let mut headers = HeaderMap::new();
            now += LOOK_AGAIN;
            signer.sign(&mut headers, ID, 1_614_265_330, BODY, now);
            assert_eq!(
                (&headers["webhook-id"], &headers["webhook-timestamp"]),
                (&ID.parse().unwrap(), &"1614265330".parse().unwrap())
            );
            headers["webhook-signature"].to_str().unwrap().to_owned()
        };
        assert_eq!(signature(), SIGNATURE);
        std::fs::write(&path, format!("{OTHER}\n{SECRET}")).unwrap();
        assert!(signature().ends_with(&format!(" {SIGNATURE}")));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(signature().ends_with(&format!(" {SIGNATURE}")));
        std::fs::write(&path, OTHER).unwrap();
        assert!(!signature().contains(SIGNATURE));
        std::fs::remove_file(&path).unwrap();
        assert!(!signature().contains(SIGNATURE));
    }
}
