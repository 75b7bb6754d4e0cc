//! Binary mode: attributes are headers, the body is the data. Pure.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

use super::draft::Draft;
use super::{Event, Refusal, percent};

/// Room for attributes in a record besides their data.
const ATTRIBUTES_ROOM: usize = 512;

/// The headers of the attributes that most events have, so that their names are not made anew each time.
static KNOWN: [(&str, HeaderName); 7] = [
    ("id", HeaderName::from_static("ce-id")),
    ("source", HeaderName::from_static("ce-source")),
    ("specversion", HeaderName::from_static("ce-specversion")),
    ("type", HeaderName::from_static("ce-type")),
    ("time", HeaderName::from_static("ce-time")),
    ("subject", HeaderName::from_static("ce-subject")),
    ("partitionkey", HeaderName::from_static("ce-partitionkey")),
];

/// Reads the event of a request whose attributes are in the `ce-*` headers, and `datacontenttype` in `Content-Type`.
pub(super) fn parse(headers: &HeaderMap, content_type: Option<&str>, body: &[u8]) -> Result<Event, Refusal> {
    let mut draft = Draft::with_capacity(ATTRIBUTES_ROOM + body.len());
    // As many names as values: then none is repeated.
    let repeated = headers.keys_len() != headers.len();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        if name == "datacontenttype" {
            return Err(Refusal::Malformed(
                "ce-datacontenttype is not a header of binary mode: send Content-Type".to_owned(),
            ));
        }
        if repeated && headers.get_all(header).iter().nth(1).is_some() {
            return Err(Refusal::Malformed(format!("{header} is given more than once: send it once")));
        }
        let value =
            percent::decode(value.as_bytes()).map_err(|reason| Refusal::Malformed(format!("{header} {reason}")))?;
        draft.attribute(name, &value)?;
    }
    if let Some(content_type) = content_type {
        draft.attribute("datacontenttype", content_type)?;
    }
    draft.finish(body)
}

/// The request that delivers `event` to `uri`. Fails only for an event that [`super::parse`] would have refused.
pub fn to_request(event: &Event, uri: &Uri) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::new(Full::new(event.data()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.reserve(8);
    for (name, value) in event.attributes() {
        // Most values can stand in a header as they are, and share the bytes of the record.
        let shared = || HeaderValue::from_maybe_shared(event.share(value));
        if name == "datacontenttype" {
            headers.insert(CONTENT_TYPE, shared()?);
        } else {
            let known = KNOWN.iter().find(|(known, _)| *known == name);
            let header = match known {
                Some((_, header)) => header.clone(),
                None => HeaderName::try_from(format!("ce-{name}"))?,
            };
            let value =
                if percent::is_plain(value) { shared()? } else { HeaderValue::try_from(percent::encode(value))? };
            headers.insert(header, value);
        }
    }
    Ok(request)
}
