//! One request to one shard. Knows HTTP, and nothing of when.

use std::net::IpAddr;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::tls::Identity;

/// Longest answer read: a sentence.
const MAX_BYTES: usize = 4 << 10;

/// Why a shard does not have a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It said so, and why.
    Refused(String),
    /// It is of an image that knows no such tables.
    Unknown,
    /// It did not answer.
    Unreachable(String),
}

/// Gives a shard a table, at a path. Without an identity, in the clear: for tests.
pub(super) async fn put(
    ip: &str,
    port: u16,
    identity: Option<&Identity>,
    path: &'static str,
    table: Vec<u8>,
) -> Result<(), NotTaken> {
    let unreachable = |why: String| NotTaken::Unreachable(why);
    let ip: IpAddr = ip.parse().map_err(|_| unreachable(format!("{ip} is no address")))?;
    let stream = TcpStream::connect((ip, port)).await.map_err(|e| unreachable(format!("port {port}: {e}")))?;
    match identity {
        None => ask(stream, port, path, table).await,
        Some(identity) => {
            let secured = identity.secure(stream).await;
            ask(secured.map_err(|e| unreachable(format!("port {port} is not to be trusted: {e}")))?, port, path, table)
                .await
        }
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    port: u16,
    path: &'static str,
    table: Vec<u8>,
) -> Result<(), NotTaken> {
    let broken = |e: &dyn std::fmt::Display| NotTaken::Unreachable(format!("port {port}: {e}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    // Ends with this.
    let mut task = JoinSet::new();
    task.spawn(async move {
        // How it ended shows in the answer.
        let _ = connection.await;
    });
    let request = Request::put(path)
        .header(HOST, format!("shard:{port}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(table)))
        .map_err(|e| broken(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    if status == StatusCode::NOT_FOUND {
        return Err(NotTaken::Unknown);
    }
    let said = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    let said = said.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    Err(NotTaken::Refused(if said.is_empty() { format!("answers {}", status.as_u16()) } else { said }))
}
