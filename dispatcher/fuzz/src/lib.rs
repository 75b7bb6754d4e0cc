//! What must hold of every event, however it came in. Shared by the fuzz targets.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use signalbox_dispatcher::event::{self, Event};
use signalbox_dispatcher::serve::bodies::{Kind, rewritten};

/// Panics unless `event` survives the log and delivery, and can be hashed and ordered.
pub fn check(event: &Event) {
    assert_eq!(event::decode(event.record().clone()).as_ref(), Ok(event), "the log changes it");
    assert_ne!(event::identity(event), 0);
    assert_ne!(event.key(), Some(""));

    let uri = Uri::from_static("http://sink/");
    let request = event::to_request(event, &uri).expect("an event that was taken cannot be delivered");
    let again = event::parse(request.headers(), &event.data()).expect("an event that was delivered is not taken");
    assert_eq!(sorted(&again), sorted(event), "delivery changes it");
}

/// Whether a body of shards is understood: what its first byte says that it is. Panics unless what was read of it is read
/// again as it was. No more than that: a head may have what its reader ignores, and be written otherwise.
pub fn check_body(kind: u8, body: &Bytes) -> bool {
    let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
    let Some(written) = rewritten(kind, body.clone()) else { return false };
    assert_eq!(rewritten(kind, written.clone()).as_ref(), Some(&written), "{kind:?}: it is not written as it was read");
    true
}

/// A request from bytes: lines of headers, an empty line, a body.
pub fn request(input: &[u8]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let mut rest = input;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
        let (line, after) = rest.split_at(at);
        rest = after.get(1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, Bytes::copy_from_slice(rest))
}

fn sorted(event: &Event) -> (Vec<(&str, &str)>, Bytes) {
    let mut attributes: Vec<_> = event.attributes().collect();
    attributes.sort_unstable();
    (attributes, event.data())
}
