//! Binary mode: attributes are headers, the body is the data. Pure.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

use super::attributes::check_name;
use super::{Event, Refusal, percent};

/// The attributes in the `ce-*` headers, with `datacontenttype` from `Content-Type`.
pub(super) fn attributes(headers: &HeaderMap, content_type: Option<&str>) -> Result<Vec<(String, String)>, Refusal> {
    let mut attributes = Vec::with_capacity(headers.len());
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        check_name(name)?;
        if name == "datacontenttype" {
            return Err(Refusal::Malformed(
                "ce-datacontenttype is not a header of binary mode: send Content-Type".to_owned(),
            ));
        }
        if headers.get_all(header).iter().nth(1).is_some() {
            return Err(Refusal::Malformed(format!("{header} is given more than once: send it once")));
        }
        let value =
            percent::decode(value.as_bytes()).map_err(|reason| Refusal::Malformed(format!("{header} {reason}")))?;
        attributes.push((name.to_owned(), value));
    }
    if let Some(content_type) = content_type {
        attributes.push(("datacontenttype".to_owned(), content_type.to_owned()));
    }
    Ok(attributes)
}

/// The request that delivers `event` to `uri`. Fails only for an event that [`super::parse`] would have refused.
pub fn to_request(event: Event, uri: &Uri) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::new(Full::new(event.data));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.reserve(event.attributes.len());
    for (name, value) in &event.attributes {
        if name == "datacontenttype" {
            headers.insert(CONTENT_TYPE, HeaderValue::try_from(value)?);
        } else {
            let header = HeaderName::try_from(format!("ce-{name}"))?;
            headers.insert(header, HeaderValue::try_from(percent::encode(value))?);
        }
    }
    Ok(request)
}
