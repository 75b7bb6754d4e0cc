//! How events are spelled in a request. Pure.
//!
//! Event `i` of `K` keys has `id` `i`, `partitionkey` `key-<i mod K>`, `sequence` `i / K`, and in `intendedtime` the
//! microsecond since 1970 at which it is meant to be sent.

use std::fmt::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;
use serde::Serialize;

/// `type` of the events.
const EVENT_TYPE: &str = "dev.signalbox.load";

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Attributes as headers.
    #[default]
    Binary,
    /// Attributes and data as JSON.
    Structured,
}

/// Writes requests. What all of them share is made once.
#[derive(Debug)]
pub(super) struct Spelling {
    mode: Mode,
    batched: bool,
    uri: Uri,
    headers: HeaderMap,
    keys: u64,
    data: Bytes,
    /// The beginning and the end of every event as JSON.
    json: (String, String),
}

impl Spelling {
    /// Of events to `target` with these bytes of data.
    pub(super) fn new(
        target: &Uri,
        http2: bool,
        mode: Mode,
        batched: bool,
        source: &str,
        keys: u64,
        size: usize,
    ) -> anyhow::Result<Self> {
        let host = target.authority().context("--target has no host")?.as_str();
        let mut headers = HeaderMap::new();
        if !http2 {
            headers.insert(HOST, HeaderValue::from_str(host)?);
        }
        let media_type = match (batched, mode) {
            (true, _) => "application/cloudevents-batch+json",
            (false, Mode::Structured) => "application/cloudevents+json",
            (false, Mode::Binary) => "application/octet-stream",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let header = HeaderValue::from_str(source).context("--source cannot stand in a header")?;
        if mode == Mode::Binary && !batched {
            headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
            headers.insert("ce-type", HeaderValue::from_static(EVENT_TYPE));
            headers.insert("ce-source", header);
        }
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        let uri = if http2 { target.clone() } else { path.parse()? };
        let data = "x".repeat(size);
        let begin = format!(
            r#"{{"specversion":"1.0","type":"{EVENT_TYPE}","source":{},"datacontenttype":"text/plain""#,
            serde_json::to_string(source)?
        );
        // The data is all x: nothing in it needs escaping.
        let json = (begin, format!(r#","data":"{data}"}}"#));
        Ok(Self { mode, batched, uri, headers, keys, data: Bytes::from(data), json })
    }

    /// The request with these events. Without batches, `indices` is one.
    pub(super) fn request(&self, indices: &[u64], intended_us: i64) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut headers = self.headers.clone();
        let body = match (self.batched, self.mode, indices) {
            (false, Mode::Binary, &[index]) => {
                headers.insert(HeaderName::from_static("ce-id"), HeaderValue::from(index));
                headers.insert(HeaderName::from_static("ce-intendedtime"), HeaderValue::from(intended_us));
                if self.keys > 0 {
                    let key = HeaderValue::from_maybe_shared(Bytes::from(format!("key-{}", index % self.keys)))?;
                    headers.insert(HeaderName::from_static("ce-partitionkey"), key);
                    headers.insert(HeaderName::from_static("ce-sequence"), HeaderValue::from(index / self.keys));
                }
                self.data.clone()
            }
            (false, _, &[index]) => {
                let mut body = String::with_capacity(self.data.len() + 256);
                self.json(&mut body, index, intended_us)?;
                Bytes::from(body)
            }
            _ => {
                let mut body = String::with_capacity((self.data.len() + 256) * indices.len());
                for &index in indices {
                    body.push(if body.is_empty() { '[' } else { ',' });
                    self.json(&mut body, index, intended_us)?;
                }
                body.push(']');
                Bytes::from(body)
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn json(&self, out: &mut String, index: u64, intended_us: i64) -> std::fmt::Result {
        out.push_str(&self.json.0);
        write!(out, r#","id":"{index}","intendedtime":"{intended_us}""#)?;
        if self.keys > 0 {
            let (key, sequence) = (index % self.keys, index / self.keys);
            write!(out, r#","partitionkey":"key-{key}","sequence":"{sequence}""#)?;
        }
        out.push_str(&self.json.1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, Spelling};
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt as _, Full};
    use serde_json::{Value, json};

    fn spelled(mode: Mode, batched: bool, http2: bool, indices: &[u64]) -> Request<Full<Bytes>> {
        let target = "http://host:1/path?x=y".parse().unwrap();
        Spelling::new(&target, http2, mode, batched, "/s\"", 10, 3).unwrap().request(indices, 77).unwrap()
    }

    async fn body(request: Request<Full<Bytes>>) -> Value {
        serde_json::from_slice(&request.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn every_spelling_says_the_same() {
        let binary = spelled(Mode::Binary, false, false, &[23]);
        for (name, value) in [
            ("ce-id", "23"),
            ("ce-source", "/s\""),
            ("ce-partitionkey", "key-3"),
            ("ce-sequence", "2"),
            ("ce-intendedtime", "77"),
            ("host", "host:1"),
        ] {
            assert_eq!(binary.headers()[name], value);
        }
        assert_eq!(binary.uri(), "/path?x=y");
        let event = json!({
            "specversion": "1.0", "id": "23", "type": "dev.signalbox.load", "source": "/s\"", "intendedtime": "77",
            "datacontenttype": "text/plain", "partitionkey": "key-3", "sequence": "2", "data": "xxx",
        });
        let structured = spelled(Mode::Structured, false, false, &[23]);
        assert_eq!(structured.headers()["content-type"], "application/cloudevents+json");
        assert_eq!(body(structured).await, event);
        let batch = spelled(Mode::Binary, true, true, &[23, 24]);
        assert_eq!(batch.headers()["content-type"], "application/cloudevents-batch+json");
        assert_eq!((batch.uri().to_string().as_str(), batch.headers().get("host")), ("http://host:1/path?x=y", None));
        let batch = body(batch).await;
        assert_eq!((&batch[0], &batch[1]["id"]), (&event, &json!("24")));
    }
}
