//! Questions to the admin port of a shard. May import nothing of this crate.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use signalbox_contract::DEAD_LETTERS_PATH;
use tokio::net::TcpStream;

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long an answer may take. A million letters are gone through in seconds.
const ANSWER_TIME: Duration = Duration::from_mins(2);

/// A shard, by its admin port.
pub(super) struct Shard {
    admin: String,
    authority: String,
    address: String,
}

impl Shard {
    /// The shard at this URL.
    pub(super) fn new(admin: &str) -> anyhow::Result<Self> {
        let uri: Option<Uri> = admin.parse().ok();
        let authority = uri.filter(|uri| uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/"));
        let authority = authority.and_then(|uri| uri.authority().cloned());
        let authority = authority.with_context(|| {
            format!("--admin is {admin:?}: write the http URL of a shard's admin port, such as http://127.0.0.1:9090")
        })?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            admin: admin.to_owned(),
            authority: authority.to_string(),
            address: format!("{}:{port}", authority.host()),
        })
    }

    /// Asks, and returns the JSON of the answer. A refusal is an error with the shard's own sentence.
    pub(super) async fn ask(&self, method: &str, rest: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut path = format!("{DEAD_LETTERS_PATH}{rest}");
        for (n, (name, value)) in query.iter().enumerate() {
            let _ = write!(path, "{}{name}={}", if n == 0 { '?' } else { '&' }, encode(value));
        }
        let request = Request::builder().method(method).uri(path).header("host", &self.authority);
        let request = request.body(Empty::<Bytes>::new())?;
        let connecting = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(&self.address)).await;
        let stream = match connecting {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(self.away(&e.to_string())),
            Err(_) => return Err(self.away(&format!("no connection within {} s", CONNECT_TIME.as_secs()))),
        };
        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            connection.abort();
            Ok::<_, hyper::Error>((status, body))
        };
        let (status, body) = match tokio::time::timeout(ANSWER_TIME, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => return Err(self.away(&e.to_string())),
            Err(_) => return Err(self.away(&format!("no answer within {} s", ANSWER_TIME.as_secs()))),
        };
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        if !status.is_success() {
            // These are there on every admin port, unless it is of an older version.
            let wrong_place = status == StatusCode::NOT_FOUND && matches!(rest, "" | "/replay" | "/replays");
            match answer.as_ref().and_then(|answer| answer["error"].as_str()) {
                Some(sentence) if !wrong_place => bail!("{sentence}"),
                _ => bail!(
                    "{} answered {status}, which no shard with dead letters does: give a shard's admin port with \
                     --admin",
                    self.admin
                ),
            }
        }
        answer.with_context(|| {
            format!("{} did not answer in JSON: give a shard's admin port with --admin, not another", self.admin)
        })
    }

    fn away(&self, why: &str) -> anyhow::Error {
        anyhow!(
            "no shard answers at {} ({why}): give the URL of its admin port with --admin, and see that it is running",
            self.admin
        )
    }
}

/// Text as a part of a path or a query.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Shard, encode};

    #[test]
    fn text_is_encoded_for_any_place_of_a_url() {
        assert_eq!(encode("a.B-9_~"), "a.B-9_~");
        assert_eq!(encode("/ä b&c=+%"), "%2F%C3%A4%20b%26c%3D%2B%25");
    }

    #[test]
    fn only_the_url_of_an_admin_port_is_one() {
        assert_eq!(Shard::new("http://127.0.0.1:9090").unwrap().address, "127.0.0.1:9090");
        assert_eq!(Shard::new("http://orders-0.shop/").unwrap().address, "orders-0.shop:80");
        assert_eq!(Shard::new("http://[::1]:9090").unwrap().address, "[::1]:9090");
        for admin in ["127.0.0.1:9090", "https://a:9090", "http://", "a", "http://a/v1/report", ""] {
            let sentence = Shard::new(admin).err().unwrap().to_string();
            assert!(sentence.contains("such as http://127.0.0.1:9090"), "{sentence}");
        }
    }
}
